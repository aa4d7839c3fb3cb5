import pytest
from hypothesis import given
from hypothesis import strategies as st

from r4t.errors import InputError
from r4t.fanout.formats import Expand, Full, JsonList, Lines, load_format

WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), max_size=12
)


@given(WORDS)
def test_json_list_reads_what_it_writes(entries):
    assert JsonList().read(JsonList().write(entries)) == entries


@given(st.lists(st.from_regex(r"[a-z]{1,8}( [a-z]{1,8})?", fullmatch=True), max_size=12))
def test_lines_read_what_they_write(entries):
    assert Lines().read(Lines().write(entries)) == entries


def test_expand_and_full_agree_on_the_meaning_of_an_addition():
    additions = ["linen shirt", "straw hat"]
    for form in (Expand(), Full(), Expand(JsonList()), Full(JsonList())):
        completion = form.completion("beach day", additions)
        assert form.parse("beach day", completion) == [
            "beach day linen shirt",
            "beach day straw hat",
        ]


def test_more_than_k_subqueries_are_cut():
    assert Full(set_size=2).parse("x", "a\nb\nc\n") == ["a", "b"]


def test_formats_survive_saving():
    form = load_format(Expand(JsonList("wscr"), 4).spec())
    assert (form.entry, form.set_size, form.list_format.task) == ("expand", 4, "wscr")


def test_the_anchor_is_saved_with_the_format():
    assert load_format(Expand(set_size=4, words=2, anchor=0.3).spec()).anchor == 0.3
    assert load_format(Full(anchor=0.25).spec()).anchor == 0.25
    assert Full().anchor == 0
    with pytest.raises(InputError, match=r"anchor.* 0 .* below 1 .*found 1\.5"):
        Full(anchor=1.5)


def test_what_cannot_be_a_format_is_refused():
    with pytest.raises(InputError, match="set_size.*at least 1.*found 0"):
        Full(set_size=0)
    with pytest.raises(InputError, match="words.*at least 1.*found 0"):
        Expand(words=0)
    with pytest.raises(
        InputError, match=r"among full, expand, Lines, JsonList, but found 'full' and 'Tabs'"
    ):
        load_format({"format": "full", "set_size": 3, "list_format": {"name": "Tabs"}})
