import pytest

from r4t.errors import InputError
from r4t.fanout.formats import Expand, Full, JsonList, load_format

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
            r"prompt with the slot \{query\}, but found none in '.*mine.txt'\. Put",
        ),
        (
            "{query} {set_sise} <queries>",
            r"slots but query, set_size, think, but found \{set_sise\} in .*Did you mean 'set_size'\?",
        ),
        ("{query}", r"list inside <queries>...</queries>, but found no such tag in '.*'\. Add"),
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
