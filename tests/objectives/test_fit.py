"""Grades of single items: their mean, what they cost, and what a budget does."""

import copy
import json
import math

import pytest
import torch
from r4t_objectives.fit import Fit
from r4t_objectives.judge import Judge
from r4t_objectives.shopper import Shopper

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.testing import check_objective
from tests.chat_server import Reply, replies, retry_at_once, serving
from tests.objectives.wardrobe_sets import drawn, sets_of

pytest.importorskip("openai", reason="the extra eval is not installed")


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    retry_at_once(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # the default cache is below it
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "R4T_JUDGE_MODEL"):
        monkeypatch.delenv(name, raising=False)


class Table:
    """A judge with given grades by catalog row, None for no answer; each costs one."""

    partial, costly, identity = True, True, {"table": 1}

    def __init__(self, *grades):
        self.values, self.paid, self.asked = grades, 0, []

    def grades(self, query_texts, catalog, items):
        rows = [
            (text, row) for text, members in zip(query_texts, items.tolist()) for row in members
        ]
        self.asked += [pair for pair in rows if pair[1] >= 0]
        found = [self.values[row] if row >= 0 else None for _, row in rows]
        self.paid += sum(grade is not None for grade in found)
        return torch.tensor([math.nan if g is None else g for g in found]).view(items.shape)

    def accepts(self, sets):
        return True

    def facts(self):
        return {"judge": "a table"}


def score(number):
    return json.dumps({"reason": "because", "score": number})


def judge(url, **arguments):
    return Judge("fit", "tiny", url, **{"cache": None, "retries": 0, "concurrency": 1, **arguments})


def test_it_is_the_mean_grade_of_the_members(closet):
    sets = sets_of(closet, ["punk looks"] * 4, [[0, 1, 3], [2, -1, 2], [3, 4, -1], [-1, -1, -1]])
    assert Fit(Shopper(error=0))(sets).tolist() == pytest.approx([2 / 3, 1, 0, 0])
    graded = Fit(Table(0.25, 0.5, None, 1.0, None))
    # (.25 + .5 + 1) / 3; no grade for item 2; one of two has a grade; no member.
    scores = graded(sets).nan_to_num(-1).tolist()
    assert scores == pytest.approx([1.75 / 3, -1, 1, 0])
    assert graded.partial
    assert graded.costly
    assert not Fit(Table(0.0), budget=1).costly
    assert not Fit().costly
    assert Fit.averages


def test_it_keeps_the_contract(wardrobe, shop):
    sets = drawn(wardrobe, shop, 12, 10)
    items = sets.items.clone()
    items[1] = -1
    items[2, 1:] = -1
    sets = sets_of(shop, sets.query_texts, items)
    check_objective("fit", sets=sets)
    spent = Fit(budget=20, spread=1)
    with pytest.warns(UserWarning, match="The budget of 20 grades is spent"):
        spent(sets)
    check_objective(spent, sets=sets)


def test_it_applies_where_its_judge_does(closet, catalog_of):
    sets = sets_of(closet, ["punk looks"], [[0, 1]])
    other = sets.extended(catalog=catalog_of(torch.eye(5)))
    assert Fit().accepts(sets)
    assert not Fit().accepts(other)
    assert Fit(Table(1.0, 0.0)).accepts(other)
    with pytest.raises(InputError, match="the truth of an embedded wardrobe"):
        Fit()(other)
    with pytest.raises(InputError, match="found the test query 'secret looks'"):
        Fit()(sets.extended(query_texts=["secret looks"]))
    assert Fit(budget=3).facts()["note"].startswith("a simulated judge")


def test_a_language_model_grades_each_pair_once(closet, tmp_path):
    texts = closet.texts
    marks = {texts[0]: 5, texts[1]: 4, texts[2]: 1}

    def reply(number, text):
        return Reply(score(next(mark for item, mark in marks.items() if f'"{item}"' in text)))

    with serving(reply) as seen:
        fit = Fit(judge(seen.url, cache=str(tmp_path)))
        sets = sets_of(closet, ["punk looks", "glam looks"], [[0, 1, 1], [0, 2, -1]])
        # 5, 4 and 1 of 5 are the grades 1, .75 and 0.
        assert fit(sets).tolist() == pytest.approx([(1 + 0.75 + 0.75) / 3, 0.5])
        assert len(seen.asked) == 4  # the repeated item once, the same item for each query
        shown = [f'"{texts[0]}"', "punk looks", f'"{texts[1]}"', "punk looks"]
        assert all(word in prompt for word, prompt in zip(shown, [seen.prompts[0]] * 2))
        assert all(f'"{texts[1]}"' not in prompt for prompt in (seen.prompts[0], seen.prompts[3]))
        assert "1. " in seen.prompts[0]
        assert "2. " not in seen.prompts[0]
        # Sets of items seen before cost nothing, here and in another process.
        seen_before = sets_of(closet, ["punk looks", "glam looks"], [[1, 0, -1], [2, 2, 0]])
        expected = pytest.approx([1.75 / 2, 1 / 3])
        assert fit(seen_before).tolist() == expected
        assert Fit(judge(seen.url, cache=str(tmp_path)))(seen_before).tolist() == expected
        assert len(seen.asked) == 4
        facts = fit.facts()
    assert (facts["calls"], facts["cached"], facts["rubric"]) == (4, 4, "fit")


def test_an_answer_without_a_grade_is_not_asked_for_again(closet):
    with serving(replies("I like it.", score(3))) as seen:
        fit = Fit(judge(seen.url))
        sets = sets_of(closet, ["punk looks"], [[0, 1]])
        with pytest.warns(UserWarning, match="judge_fit could not score"):
            assert fit(sets).tolist() == [0.5]
        assert fit(sets).tolist() == [0.5]
        assert len(seen.asked) == 2
    with pytest.raises(
        InputError, match=r"shows {query} and {items}, .* found the rubric diversity"
    ):
        Fit(Judge("diversity", "tiny", seen.url))(sets)


def test_a_budget_is_the_most_calls_ever_made(wardrobe, shop):
    sets = drawn(wardrobe, shop, 30, 10)
    with serving(lambda number, text: Reply(score(1 + number % 5))) as seen:
        fit = Fit(judge(seen.url), budget=70, spread=1)
        fit(sets.select(torch.arange(4)))
        some = len(seen.asked)
        assert 20 < some < 40
        assert (
            fit.facts() | {"budget": 70, "paid": some, "graded": some, "model": None} == fit.facts()
        )
        with pytest.warns(UserWarning, match="budget of 70 grades is spent. A model of 70 grades"):
            scores = fit(sets)
        assert scores.isfinite().all()
        assert fit(sets).equal(scores)
        assert len(seen.asked) == 70
    facts = fit.facts()
    assert (facts["paid"], facts["calls"], facts["graded"]) == (70, 70, 70)
    # About 32 went to the first four queries, the rest to the 26 others.
    assert (facts["model"]["grades"], facts["model"]["queries"]) == (70, 30)


def test_a_budget_is_spread_over_calls_and_queries(shop):
    table = Table(*[1.0] * 12)
    fit = Fit(table, budget=8, spread=3)  # at most 3 in a call, as 8 / 3 is 2.7
    texts = ["punk looks", "glam looks", "party"]
    sets = sets_of(shop, texts, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 8, 9, -1]])
    fit(sets)
    assert [row for _, row in table.asked] == [0, 4, 8]  # one of each query in turn
    fit(sets)
    assert [row for _, row in table.asked[3:]] == [1, 5, 9]
    with pytest.warns(UserWarning, match="budget of 8 grades is spent"):
        fit(sets)
    assert [row for _, row in table.asked[6:]] == [2, 6]
    assert fit.partial
    with pytest.raises(InputError, match="spread of the budget to be at least 1, but found 0"):
        Fit(table, budget=10, spread=0)


def test_answers_without_a_grade_count_and_calls_without_an_answer_do_not(shop):
    sets = sets_of(shop, ["punk looks"], [[0, 1, 2, 3]])
    table = Table(1.0, None, 0.0, 1.0)
    fit = Fit(table, budget=4, spread=1)
    assert fit(sets).tolist() == pytest.approx([2 / 3])
    assert (fit.facts()["paid"], fit.facts()["graded"]) == (3, 3)
    table.values = (1.0, 0.5, 0.0, 1.0)
    del table.asked[:]
    assert fit(sets_of(shop, ["punk looks"], [[0, 1, 2, -1]])).tolist() == [0.5]
    assert table.asked == [("punk looks", 1)]
    assert fit.facts()["paid"] == 4
    with serving(replies(score(5), "I like it.")) as seen:
        fit = Fit(judge(seen.url), budget=3, spread=1)
        with pytest.warns(UserWarning, match="could not score"):
            assert fit(sets_of(shop, ["punk looks"], [[0, 1, -1, -1]])).tolist() == [1.0]
    assert (fit.facts()["paid"], fit.facts()["graded"]) == (2, 1)


@pytest.mark.filterwarnings("ignore:judge_fit could not score")
def test_a_judge_that_dies_midway_is_asked_nothing_twice(wardrobe, shop, tmp_path):
    sets = drawn(wardrobe, shop, 3, 10)
    pairs = {
        (text, row)
        for text, rows in zip(sets.query_texts, sets.items.tolist())
        for row in rows
        if row >= 0
    }
    book, cache = str(tmp_path / "book.jsonl"), str(tmp_path / "cache")
    with serving(
        lambda number, text: Reply(score(4)) if number < 5 else Reply(status=500)
    ) as dying:
        fit = Fit(judge(dying.url, cache=cache), budget=100, book=book, spread=1)
        first = fit(sets)
        assert first.tolist() == [0.75] * 3  # of the members that had an answer
        assert fit.facts()["paid"] == fit.facts()["graded"] == 5
        asked = len(dying.asked)
        fit(sets)  # one try, then silence
        assert len(dying.asked) == asked + 1
    answered = dying.prompts[:5]
    with serving(replies(score(2))) as well:
        resumed = Fit(judge(well.url, cache=cache), budget=100, book=book, spread=1)
        scores = resumed(sets)
        assert scores.isfinite().all()
        assert not set(well.prompts) & set(answered)
        assert len(well.prompts) == len(set(well.prompts)) == len(pairs) - 5
        assert resumed.facts()["paid"] == resumed.facts()["graded"] == len(pairs)
        again = Fit(judge(well.url, cache=None), budget=100, book=book, spread=1)
        assert again(sets).equal(scores)  # from the book alone
        assert len(well.prompts) == len(pairs) - 5


@pytest.mark.filterwarnings("ignore:The budget of")
def test_a_resumed_run_finds_its_budget_spent_and_the_same_model(wardrobe, shop, tmp_path):
    sets, later = drawn(wardrobe, shop, 20, 10), drawn(wardrobe, shop, 20, 10, seed=1)
    book = str(tmp_path / "runs" / "book.jsonl")
    first = Fit(Shopper(0.2), budget=50, book=book, spread=1)
    first(sets)
    resumed = Fit(Shopper(0.2), budget=50, book=book, spread=1)
    assert resumed(later).equal(first(later))
    assert resumed.by.paid == 0
    assert resumed.facts() == first.facts()
    assert copy.deepcopy(resumed)(later).equal(first(later))
    with pytest.raises(InputError, match=r'"error": 0.1.* found those of .*"error": 0.2.* as book'):
        Fit(Shopper(0.1), budget=50, book=book, spread=1)(sets)
    # A larger budget buys more, and a line that was cut off is skipped.
    with open(book, "a") as file:
        file.write('{"paid": 7, "grades": [["a')
    more = Fit(Shopper(0.2), budget=60, book=book, spread=1)
    more(later)
    assert (more.by.paid, more.facts()["paid"], more.facts()["graded"]) == (10, 60, 60)
    with open(book) as file:
        assert [line[:9] for line in file] == ['{"owner":', *['{"paid": '] * 4]


@pytest.mark.filterwarnings("ignore:The budget of")
def test_processes_that_share_a_book_share_grades_and_budget(shop, tmp_path):
    book = str(tmp_path / "book.jsonl")
    tables = [Table(1.0, 0.0, 1.0, 0.0, 1.0) for _ in range(2)]
    one, two = (Fit(table, budget=4, book=book, spread=1) for table in tables)
    one(sets_of(shop, ["punk looks"], [[0, 1]]))
    two(sets_of(shop, ["punk looks"], [[1, 2]]))
    one(sets_of(shop, ["punk looks"], [[2, 3]]))
    assert [row for _, row in tables[0].asked] == [0, 1, 3]
    assert [row for _, row in tables[1].asked] == [2]
    assert one.facts()["paid"] == 4
    two(sets_of(shop, ["punk looks"], [[3, 0]]))
    assert len(tables[1].asked) == 1


def test_what_it_refuses(closet):
    with pytest.raises(InputError, match="a catalog with a text encoder"):  # before any purchase
        Fit(budget=3)(sets_of(closet, ["punk looks"], [[0, 1]]))
    with pytest.raises(
        InputError, match="a budget with a book of grades, but found the book b alone"
    ):
        Fit(book="b")
    with pytest.raises(InputError, match="budget of grades to be at least 1, but found 0"):
        Fit(budget=0)


def test_the_judge_is_named_in_yaml():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_argument("--objectives", type=dict[str, Objective])
    path = "{class_path: r4t_objectives.%s, init_args: {%s}}"
    for by, arguments in (
        (path % ("shopper.Shopper", "error: 0.2"), {"simulated": True, "error": 0.2, "seed": 0}),
        (path % ("judge.Judge", "rubric: fit, model: tiny"), {"model": "tiny", "rubric": "fit"}),
    ):
        text = "{graded: " + path % ("fit.Fit", f"by: {by}, budget: 9") + "}"
        built = parser.instantiate_classes(parser.parse_args(["--objectives", text])).objectives
        identity = built["graded"].by.identity
        assert {name: identity[name] for name in arguments} == arguments
        assert built["graded"].facts()["budget"] == 9
