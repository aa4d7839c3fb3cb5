from r4t.report.answers import Answer, AnswerItem
from r4t.report.comparison import Comparison
from r4t.report.sections import readable, sections


def answer(method, scores, *ids, query="beach day"):
    items = [AnswerItem(name, f"title {name}", 0.5) for name in ids]
    return Answer("q1", query, method, 0, [], items, scores)


FOLM = answer("R4T-FOLM", {"directions/a": -0.5, "directions/b": 0.75, "items/v": 1.5}, "i", "j")
MMR = answer("MMR", {"directions/a": None, "directions/b": None, "items/v": 2.0}, "i", "k")


def test_a_section_by_hand():
    comparison = Comparison("", [FOLM, MMR], scales={"directions/a": (-1.0, 1.0)})
    assert comparison.methods == ["R4T-FOLM", "MMR"]
    (section,) = sections(comparison)
    assert (section.query, section.answers) == ("beach day", [FOLM, MMR])
    assert section.unique == {"j", "k"}
    assert list(section.scores) == ["Directions searched with", "Items returned"]
    a, b = section.scores["Directions searched with"]
    (v,) = section.scores["Items returned"]
    assert [row.name for row in (a, b, v)] == ["a", "b", "v"]
    # By default, a scale is 0 … 1, wider if values are outside.
    assert [(row.low, row.high) for row in (a, b, v)] == [(-1, 1), (0, 1), (0, 2)]
    assert [[cell.number for cell in row.cells] for row in (a, b, v)] == [
        ["−0.500", "–"], ["0.750", "–"], ["1.500", "2.000"]
    ]  # fmt: skip
    # A value without another to compare is not the best.
    assert [[cell.is_best for cell in row.cells] for row in (a, b, v)] == [
        [False, False], [False, False], [False, True]
    ]  # fmt: skip
    # −0.5 on −1 … 1 is a bar from a quarter to the middle.
    assert [cell.bar for cell in a.cells] == [(25.0, 25.0), None]
    assert [cell.bar for cell in v.cells] == [(0.0, 75.0), (0.0, 100.0)]


def test_equal_values_have_no_best():
    (section,) = sections(Comparison("", [MMR, MMR]))
    (row,) = section.scores["Items returned"]
    assert [cell.is_best for cell in row.cells] == [False, False]


def test_one_answer_has_no_unique_items_and_no_empty_block():
    (section,) = sections(Comparison("", [MMR]))
    assert section.unique == set()
    assert list(section.scores) == ["Items returned"]


def test_texts_of_models_are_made_readable():
    assert readable("red\x1b[2J\that\n") == "red�[2J hat"
    assert readable("  Größe 42 — naïve 👗 ") == "Größe 42 — naïve 👗"
