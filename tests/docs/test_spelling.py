"""Every word of the pages is in the dictionary or in docs/site/words.txt; spelling is American."""

import re
import subprocess
import sys

import pytest

from tests.docs.blocks import FENCE, PAGES, ROOT

SpellChecker = pytest.importorskip("spellchecker", reason="make docs-test installs it").SpellChecker
pytestmark = pytest.mark.docs

NO_PROSE = re.compile(
    r"`[^`]*`|<!--.*?-->|<[^>]+>|\]\([^)]*\)|\{[^}]*\}|https?://\S+|&\w+;|<[^>\s]+>", re.S
)
# Each part of a hyphenated word is a word.
WORD = re.compile(r"(?<![\w@/.])[A-Za-z][a-z]+(?:['’][a-z]+)?(?![\w@/])")
FIELD_WORDS = ROOT / "docs" / "site" / "words.txt"


def words_of(text: str) -> set[str]:
    """Lower-cased words of a page's prose, without names such as TinyQwen3 and DDP."""
    prose = NO_PROSE.sub(" ", FENCE.sub(" ", text))
    words = {word.lower().replace("’", "'") for word in WORD.findall(prose)}
    return {word.removesuffix("'s") for word in words}


@pytest.fixture(scope="module")
def checker():
    """The English dictionary with the words of this field."""
    checker = SpellChecker(language="en")
    checker.word_frequency.load_words(FIELD_WORDS.read_text(encoding="utf-8").split())
    return checker


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_word_is_known(page, checker):
    assert checker.unknown(words_of(page.read_text(encoding="utf-8"))) == set()


def test_a_wrong_word_is_found(checker):
    assert checker.unknown(words_of("A retreiver of `setz` and [sets](setz.md)")) == {"retreiver"}
    assert checker.unknown(words_of("a well-knwon re-use")) == {"knwon"}


def test_every_listed_word_is_needed():
    listed = FIELD_WORDS.read_text(encoding="utf-8").split()
    plain = SpellChecker(language="en")
    used = set().union(*(words_of(page.read_text(encoding="utf-8")) for page in PAGES))
    assert listed == sorted(set(listed))
    assert [word for word in listed if word not in used or word in plain] == []


def test_american_spelling_everywhere():
    command = [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare,en-GB_to_en-US"]
    command += [
        "--regex",
        r"[\w'’]+",  # its default treats a hyphenated word as one
        "--ignore-words-list",
        "atmost,womens,grey,brunch,recal,colour,colours,ochre,eror",
        "--skip",
        "*.json,*.jsonl,*.csv,*.svg,*.ipynb,*.png",
    ]
    folders = ["r4t", "objectives", "configs", "docs", "tests", "benchmarks", "README.md"]
    done = subprocess.run([*command, *folders], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == ""
