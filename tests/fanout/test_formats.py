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
        InputError,
        match=r"among full, expand, Lines, JsonList, FewShot, but found 'full' and 'Tabs'",
    ):
        load_format({"format": "full", "set_size": 3, "list_format": {"name": "Tabs"}})


MINE = 'Write {set_size} searches for {query} as JSON, {"like": 1}, inside <queries>.\n'


@pytest.mark.parametrize("task", ["oar", "wscr"])
@pytest.mark.parametrize("form", [Full, Expand])
def test_the_papers_prompt_names_query_count_and_tags(task, form):
    prompt = form(JsonList(task), 7).prompt("bohemian festival style")
    assert "<broad_query>bohemian festival style</broad_query>" in prompt
    assert "up to 7 " in prompt
    assert "JSON list of strings inside <queries>...</queries>" in prompt
    assert "You may think inside <think>...</think> first. Return the " in prompt
    silent = form(JsonList(task, think=False), 7).prompt("bohemian festival style")
    assert silent == prompt.replace("You may think inside <think>...</think> first. ", "")


def test_the_two_tasks_ask_for_different_things():
    assert "one to three words" in Full(JsonList("oar")).prompt("x")
    assert "the items of that set" in Full(JsonList("wscr")).prompt("x")


def test_a_template_of_ones_own_is_filled_and_saved_with_the_model(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(MINE, encoding="utf-8")
    form = Full(JsonList(str(path)), 4)
    prompt = 'Write 4 searches for {set_size} {query} as JSON, {"like": 1}, inside <queries>.\n'
    assert form.prompt("{set_size} {query}") == prompt  # braces of a query stay
    spec = form.spec()
    path.unlink()
    assert load_format(spec).prompt("{set_size} {query}") == prompt


def test_a_saved_prompt_does_not_change():
    spec = Expand(JsonList("wscr", think=False), 4).spec()
    assert load_format(spec).prompt("x") == Expand(JsonList("wscr", think=False), 4).prompt("x")
    spec["list_format"]["template"] = "Old words: {query} <queries>"
    assert load_format(spec).prompt("x") == "Old words: x <queries>"


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "no slot <queries>",
            r"prompt with \{query\}, but found none in '.*mine.txt'\. Write it where the broad query",
        ),
        (
            "{query} {set_sise} <queries>",
            r"slots but query, set_size, think, but found \{set_sise\} in .*Did you mean 'set_size'\?",
        ),
        (
            "{query}",
            r"prompt with <queries>, but found none in '.*mine.txt'\. Ask for the list inside",
        ),
    ],
)
def test_a_template_that_cannot_work_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        JsonList(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(
        InputError, match=r"task of oar, wscr, or .*found 'wsrc'\. Correct.*Did you mean 'wscr'"
    ):
        JsonList("wsrc")
