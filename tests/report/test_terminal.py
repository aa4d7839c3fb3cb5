import io

import pytest
from rich.console import Console

from r4t.report.answers import Answer, AnswerItem
from r4t.report.comparison import Comparison
from r4t.report.terminal import print_comparison, print_set
from r4t.retriever import RetrievedItem, RetrievedSet


def test_a_set_is_a_table(capsys):
    items = [
        RetrievedItem("i1", "red linen shirt", 0.98765, 0.5, "beach shirt"),
        RetrievedItem("i2", "straw hat", -0.25, 0.12349),
    ]
    print_set(RetrievedSet("beach day", items))
    printed = capsys.readouterr().out
    assert "beach day" in printed
    first = next(line for line in printed.splitlines() if "red linen shirt" in line)
    assert [cell.strip() for cell in first.split("│")[1:-1]] == [
        "1",
        "red linen shirt",
        "0.988",
        "0.500",
        "beach shirt",
    ]
    assert "-0.250" in printed
    assert "0.123" in printed


def test_directions_without_words_have_no_column(capsys):
    print_set(RetrievedSet("beach day", [RetrievedItem("i1", "straw hat", 0.5, 0.5)]), "my title")
    printed = capsys.readouterr().out
    assert "my title" in printed
    assert "sub-query" not in printed


@pytest.fixture
def shown():
    """Prints answers on a console of some width → the lines."""

    def call(width, *answers, **more):
        console = Console(width=width, record=True, file=io.StringIO())
        print_comparison(console, Comparison("", answers, **more))
        return console.export_text().splitlines()

    return call


ITEMS = [
    AnswerItem(f"i{n}", f"[red] hat {n}", 0.5, 1, "x", n == 1, {"kind": "hat", "note": None})
    for n in (1, 2)
]
FOLM = Answer("q", "hats", "R4T-FOLM", 2, ["hats red", "straw"], ITEMS, {"items/vendi": 1.5})
MMR = Answer("q", "hats", "MMR", 0, [], [AnswerItem("i3", "a cap", -0.001)], {"items/vendi": 2.0})


@pytest.mark.parametrize(("width", "side_by_side"), [(80, True), (72, True), (71, False)])
def test_methods_are_side_by_side_where_they_fit(shown, width, side_by_side):
    lines = shown(width, FOLM, MMR, about={"MMR": "re-ranked"}, notes=["[a note]"])
    (hat,) = (line for line in lines if "[red] hat 1" in line)
    assert ("a cap" in hat) == side_by_side
    text = "\n".join(lines)
    for words in ("(1) … red", "(2) straw", "re-ranked", "[a note]"):
        assert words in text  # words in brackets are not markup
    assert "(1) · hat · in the reference set" in text
    assert "(1) · hat · 0.50" in text
    assert "0.00" in text  # and not −0.00
    (vendi,) = (line for line in lines if "vendi" in line)
    assert vendi.split() == ["vendi", "1.500", "2.000"]
    assert max(map(len, lines)) <= width


def test_more_methods_than_fit_go_to_further_tables(shown):
    lines = shown(80, FOLM, MMR, Answer("q", "hats", "DPP", 0, [], [], {}))
    headings = [line for line in lines if line.startswith("┃")]
    assert [line.strip("┃").split("┃") for line in headings] == [
        [f" {'R4T-FOLM':<38}", f" {'MMR':<37}"], [f" {'DPP':<77}"]
    ]  # fmt: skip


def test_directions_without_words_and_sets_without_items(shown):
    text = "\n".join(shown(80, Answer("q", "hats", "R4T-Diffusion", 7, [], [], {})))
    assert "7 directions without words" in text
    assert text.count("nothing was found") == 1
    text = "\n".join(shown(80, FOLM, Answer("q", "hats", "MMR", 0, [], [], {})))
    assert text.count("nothing was found") == 1


def test_control_characters_of_models_do_nothing(shown):
    evil = "red\x1b[2J\that"
    answer = Answer("q", evil, evil, 1, [evil], [AnswerItem("i", evil, 0.5)], {f"items/{evil}": 1})
    text = "\n".join(shown(80, answer, notes=[evil]))
    assert "\x1b[2J" not in text
    assert text.count("red�[2J hat") == 7
