"""Which texts count as the same, in many scripts."""

import unicodedata

import pytest

from r4t.support.text import normalize_text

DIFFERENT = [
    ["दिन", "दान", "दीन"],  # vowel signs are marks, not letters
    ["วัน", "วิน", "วีน"],
    ["C++", "C#", "C"],
    ["👟", "🎩", "👟👟"],
    ["resume", "résumé"],
    ["50", "5 0"],
]
SAME = [
    ["Beach-day,  LINEN!", "beach day linen", "¡Beach day: linen?"],
    ["résumé", unicodedata.normalize("NFD", "RÉSUMÉ")],
    ["ＣＡＦＥ", "cafe"],
    ["STRASSE", "straße"],
    ["beach 👟", "beach", "🎩 Beach"],  # decoration
    ["❤️", "❤"],  # with and without the variation selector for color
    ["می‌روم", "میروم"],  # with and without a zero-width joiner
    ["shoes\u200b", "sho\u00ades", "shoes\n"],
    ["C++ books", "c++, books", "C++: books"],
    ["C# and F#", "c#, and f#!"],
    ["#shoes", "shoes", "+ shoes"],
    ["...", "", "-", "_", " \t"],  # no word
]


@pytest.mark.parametrize("texts", DIFFERENT, ids=str)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_different_words_stay_different(texts, form):
    assert len({normalize_text(unicodedata.normalize(form, text)) for text in texts}) == len(texts)


@pytest.mark.parametrize("texts", SAME, ids=ascii)
def test_texts_that_say_the_same_are_equal(texts):
    assert len({normalize_text(text) for text in texts}) == 1


@pytest.mark.parametrize("text", [text for texts in DIFFERENT + SAME for text in texts], ids=ascii)
def test_normalizing_twice_changes_nothing(text):
    assert normalize_text(normalize_text(text)) == normalize_text(text)
