import unicodedata

import pytest
import torch

from r4t.objective import load_objective


def test_prompt_format_by_hand(sets_from):
    texts = [
        ["linen shirt", "straw hat", "sandals", "sunglasses"],
        ["linen shirt", "straw hat"],
        ["linen shirt", "Linen-shirt!", "straw hat", "sandals"],
        ["Beach  day.", "linen shirt", "beach day", "straw hat"],
        ["", " ", "straw hat"],
        [],
    ]
    rows = [[[1, 0]] * 4] * 6
    sets = sets_from(rows, rows, texts=texts, query_texts=["beach day"] * 6)
    objective = load_objective("prompt_format")
    expected = [
        1,  # 1, 4/4, 4/4, 4/4
        (1 + 2 / 4 + 1 + 1) / 4,  # half of the sub-queries asked for
        (1 + 1 + 3 / 4 + 1) / 4,  # one written twice
        (1 + 1 + 3 / 4 + 2 / 4) / 4,  # the query itself, twice
        (1 + 1 / 4 + 1 + 1) / 4,  # blank ones do not count as written
        0,  # nothing was parsed
    ]
    assert objective(sets).tolist() == pytest.approx(expected)
    assert objective.name == "prompt_format"


def test_prompt_format_reads_only_texts_and_only_k_of_them(sets_from):
    rows = [[[1, 0], [1, 0]]]
    texts = [["straw hat", "linen shirt", "straw hat", "straw hat"]]
    sets = sets_from(rows, rows, [[False, True]], texts=texts, query_texts=["beach day"])
    # The first sub-query has no item, because its words are unknown; its form is still right.
    assert load_objective("prompt_format")(sets).item() == 1


def test_an_expansion_that_repeats_a_word_is_not_a_copy(sets_from):
    rows = [[[1, 0]]]
    sets = sets_from(rows, rows, texts=[["beach day day"]], query_texts=["beach day"])
    assert load_objective("prompt_format")(sets).item() == 1


@pytest.mark.parametrize(
    "texts", [["दिन", "दान", "दीन"], ["วัน", "วิน", "วีน"], ["C++", "C#", "C"], ["👟", "🎩", "☂️"]]
)
def test_different_words_in_any_script_are_distinct(texts):
    assert load_objective("prompt_format").of(texts, "beach day", 3) == 1


def test_a_copy_counts_however_its_accents_are_typed():
    objective = load_objective("prompt_format")
    apart = unicodedata.normalize("NFD", "Café")
    # 1, 2/2, 1/2 and 2/2; then 1, 1/1, 1/1 and 0/1.
    assert objective.of(["café", apart], "beach", 2) == pytest.approx(3.5 / 4)
    assert objective.of([apart], "café", 1) == pytest.approx(3 / 4)


def test_punctuation_alone_does_not_count_as_written():
    # 1, 1/3, 1/1 and 1/1.
    score = load_objective("prompt_format").of(["...", "-", "straw hat"], "beach", 3)
    assert score == pytest.approx((3 + 1 / 3) / 4)


def test_scores_have_the_type_of_the_query(sets_from):
    rows = [[[1, 0]]]
    sets = sets_from(rows, rows, texts=[["hat"]], query_texts=["beach"])
    doubled = sets.extended(query=sets.query.double())
    assert load_objective("prompt_format")(doubled).dtype == torch.float64
