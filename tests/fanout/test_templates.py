import pytest

from r4t.errors import InputError
from r4t.fanout.formats import Expand, Full, JsonList, load_format

MINE = 'Write {set_size} searches for {query} as JSON, {"like": 1}, inside <queries>.\n'


@pytest.mark.parametrize("task", ["oar", "wscr"])
@pytest.mark.parametrize("form", [Full, Expand])
def test_the_paper_contract_names_query_count_and_tags(task, form):
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


def test_an_own_template_is_filled_in_and_goes_along_with_the_model(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(MINE, encoding="utf-8")
    form = Full(JsonList(str(path)), 4)
    said = 'Write 4 searches for {set_size} {query} as JSON, {"like": 1}, inside <queries>.\n'
    assert form.prompt("{set_size} {query}") == said  # braces of a query are left alone
    spec = form.spec()
    path.unlink()
    assert load_format(spec).prompt("{set_size} {query}") == said


def test_a_saved_prompt_stays_as_it_was():
    spec = Expand(JsonList("wscr", think=False), 4).spec()
    assert load_format(spec).prompt("x") == Expand(JsonList("wscr", think=False), 4).prompt("x")
    spec["contract"]["template"] = "Old words: {query} <queries>"
    assert load_format(spec).prompt("x") == "Old words: x <queries>"
    # What was saved before templates went along.
    old = {"format": "full", "set_size": 3, "contract": {"name": "JsonList", "task": "oar"}}
    assert load_format(old).prompt("x") == Full(JsonList(), 3).prompt("x")


@pytest.mark.parametrize(
    "text, said",
    [
        ("no slot <queries>", r"must contain the slot \{query\}, found none in '.*mine.txt'; put"),
        (
            "{query} {set_sise} <queries>",
            r"slots query, set_size, think, found \{set_sise\} in .*Did you mean 'set_size'\?",
        ),
        ("{query}", r"list inside <queries>...</queries>, found no such tag in '.*'; nothing"),
    ],
)
def test_a_template_that_cannot_work_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        JsonList(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"one of \['oar', 'wscr'\].*Did you mean 'wscr'"):
        JsonList("wsrc")
