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


@pytest.mark.parametrize(
    "completion, entries",
    [
        ('<queries>["a b", "c"]</queries>', ["a b", "c"]),
        ('<think>["no"]</think>\n<queries>\n["a"]\n</queries> bye', ["a"]),
        ('<queries>```json\n["a", "c",]\n```</queries>', ["a", "c"]),
        ('<queries>["a", 3, " ", "c"]', ["a", "c"]),
        ('<think>never ends <queries>["a"]</queries>', []),
        ('["a"]', []),
        ("<queries>a, b</queries>", []),
        ('<queries>["a", "b</queries>', []),
        ("", []),
    ],
)
def test_json_list_reads_what_models_write(completion, entries):
    assert JsonList().read(completion) == entries


def test_expand_and_full_agree_on_what_a_taught_addition_means():
    additions = ["linen shirt", "straw hat"]
    for form in (Expand(), Full(), Expand(JsonList()), Full(JsonList())):
        completion = form.complete("beach day", additions)
        assert form.parse("beach day", completion) == [
            "beach day linen shirt",
            "beach day straw hat",
        ]


def test_more_than_k_subqueries_are_cut():
    assert Full(set_size=2).parse("x", "a\nb\nc\n") == ["a", "b"]


@pytest.mark.parametrize("task", ["oar", "wscr"])
def test_the_paper_contract_names_query_count_and_tags(task):
    for form in (Full(JsonList(task), 7), Expand(JsonList(task), 7)):
        prompt = form.prompt("bohemian festival style")
        assert "<broad_query>bohemian festival style</broad_query>" in prompt
        assert "up to 7" in prompt
        assert "<queries>...</queries>" in prompt
        assert "<think>" in prompt


def test_formats_survive_saving():
    form = load_format(Expand(JsonList("wscr"), 4).spec())
    assert (form.entry, form.set_size, form.contract.task) == ("expand", 4, "wscr")


def test_a_missing_prompt_is_named(tmp_path):
    with pytest.raises(InputError, match=r"one of \['oar', 'wscr'\].*Did you mean 'wscr'"):
        JsonList("wsrc")
    path = tmp_path / "mine.txt"
    path.write_text("no field")
    with pytest.raises(InputError, match=r"must contain the field \{query\}"):
        JsonList(str(path))
    with pytest.raises(InputError, match="set_size must be at least 1, found 0"):
        Full(set_size=0)
    with pytest.raises(InputError, match=r"contract of .* found 'Tabs'"):
        load_format({"format": "full", "set_size": 3, "contract": {"name": "Tabs"}})
