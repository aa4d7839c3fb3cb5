"""Rows "+ choice": the same choice for every method with several draws, on as many directions each."""

import json

import pytest
import torch

from r4t.choice import BestRows, BestSet, QueryTime, best_members
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.methods.chosen import Chosen, unused_choices
from r4t.methods.lineup import Lineup, MethodOptions, add_choices
from r4t.methods.method import DrawsDirections
from r4t.report.comparison import compare_answers
from r4t.report.headline import COMPOSITE
from r4t.retriever import Retriever
from r4t.reward import Reward
from tests.methods.test_registry import REWARD, save_models

QUERIES = [Query("p", "east", "mood"), Query("q", "north", "mood")]
# Angles in degrees of each draw's directions; None is a text that the encoder does not know.
DRAWS = [[0, 0], [90, None], [None, 30], [180, 180]]


class Compass:
    """Looks where the draw says, whatever the query; each direction is named by its angle."""

    key, name, draws, pool_size = "compass", "Compass", None, 3

    def __init__(self, searcher):
        self.searcher = searcher

    def __call__(self, queries, vectors, *, draw=0):
        raise AssertionError("its draws are asked for together")

    def draw_directions(self, queries, vectors, draws):
        rows = torch.zeros(len(queries), len(draws), 2, 2)
        texts = []
        for _ in queries:
            for place, draw in enumerate(draws):
                angles = DRAWS[draw % len(DRAWS)]
                texts.append([str(angle) for angle in angles])
                for member, angle in enumerate(angles):
                    if angle is not None:
                        turned = torch.tensor(angle).deg2rad()
                        rows[:, place, member] = torch.stack([turned.cos(), turned.sin()])
        return rows, texts


def test_the_best_directions_of_several_draws_by_hand(plane):
    chosen = Chosen(Compass(plane), BestRows(Reward({"diversity": 1.0}), 2))
    assert (chosen.key, chosen.name, chosen.draws) == ("compass+choice", "Compass + choice", None)
    sets = chosen(QUERIES, torch.eye(2))
    # East twice, north and nothing: one of each is the most diverse. Items a (0) and d (3).
    for texts, items in zip(sets.texts, sets.items.tolist(), strict=True):
        assert dict(zip(texts, items, strict=True)) == {"0": 0, "90": 3}
    assert sets.mask.all()
    assert sets.pool.shape == (2, 3)
    assert sets.query_texts == ["east", "north"]
    # Draw 1 takes draws 2 and 3: nothing, 30 degrees (item c) and west twice (item e).
    second = chosen(QUERIES[:1], torch.eye(2)[:1], draw=1)
    assert dict(zip(second.texts[0], second.items[0].tolist())) == {"30": 2, "180": 4}


@pytest.mark.parametrize(
    "draw, number, texts, items", [(1, 0, ["30"], [2, -1]), (0, 1, ["90"], [3, -1])]
)
def test_missing_directions_come_last(plane, monkeypatch, draw, number, texts, items):
    """Keeps the first set of draws 2 and 3, or the second of draws 0 and 1: one direction each."""
    choice = BestSet(REWARD, 2)
    kept = torch.tensor([[2 * number, 2 * number + 1]])
    monkeypatch.setattr(choice, "places", lambda *_: kept)
    sets = Chosen(Compass(plane), choice)(QUERIES[:1], torch.eye(2)[:1], draw=draw)
    assert (sets.texts, sets.items.tolist()) == ([texts], [items])
    assert sets.mask.tolist() == [[True, False]]


@pytest.fixture
def run(small_run):
    return save_models(small_run)


def line_up(run, **options):
    options = MethodOptions(4, 20, curves=[], **options)
    queries = run.read_queries("test")[:2]
    return options.line_up(options.context(run, run.searcher(), queries, REWARD))


def test_every_method_with_several_draws_gets_the_same_choice(run):
    names = [method.name for method in line_up(run, choice=3).methods]
    ours = ["Zero-shot", "R4T-FOLM", "R4T-Diffusion", "R4T-Student", "R4T-Refined"]
    assert [name for name in names if name.endswith(" + choice")] == [f"{n} + choice" for n in ours]
    for name in ours:  # just below
        assert names[names.index(name) + 1] == f"{name} + choice"
    lineup = line_up(run, choice=3, methods=["folm", "student"])
    folm, with_choice, _, last = lineup.methods
    assert with_choice.method is folm
    assert with_choice.choice is last.choice
    assert with_choice.choice.draws == 3
    assert {with_choice.name, last.name} <= lineup.unrepeated
    assert not {with_choice.name, last.name} & lineup.untimed
    assert all(isinstance(m.method, DrawsDirections) for m in (with_choice, last))
    assert "R4T-FOLM + choice" not in [method.name for method in line_up(run).methods]


def test_every_method_with_several_draws_gets_a_consensus(run):
    names = [method.name for method in line_up(run, choice=2, consensus=3).methods]
    assert names.count("R4T-FOLM + consensus") == 1
    assert names[names.index("R4T-FOLM") :][:3] == [
        "R4T-FOLM",
        "R4T-FOLM + choice",
        "R4T-FOLM + consensus",
    ]
    assert "MMR + consensus" not in names
    with pytest.raises(InputError, match="consensus 1"):
        MethodOptions(consensus=1)


@pytest.mark.parametrize("key", ["folm", "diffusion"])
def test_a_choice_of_shipped_methods_is_made_of_its_first_draws(run, key):
    plain, chosen = line_up(run, choice=3, methods=[key]).methods
    queries = run.read_queries("test")
    vectors = plain.searcher.encode_queries([query.text for query in queries])
    draws = [plain(queries, vectors, draw=draw).directions for draw in range(3)]
    pooled = plain.searcher.retrieve(vectors, torch.cat(draws, dim=1))
    places = best_members(pooled, REWARD.score, 4).unsqueeze(-1)
    expected = pooled.directions.take_along_dim(places, 1)
    found = chosen(queries, vectors).directions
    for one, other in zip(found, expected, strict=True):  # missing ones come last
        assert torch.allclose(one[one[:, 0].argsort()], other[other[:, 0].argsort()], atol=1e-5)


def test_retrievers_choose_for_users_but_not_in_tables(run):
    folder = run.step("distill") / "model"
    queries = run.read_queries("test")[:2]
    texts = [query.text for query in queries]
    vectors = run.searcher().encode_queries(texts)
    plain = Retriever.load(run.folder, set_size=4).method(queries, vectors)
    QueryTime(BestRows(Reward({"diversity": 1.0}), 4), anchor=0.2).save(folder)
    deployed = Retriever.load(run.folder, set_size=4).method
    assert deployed.query_time.choice.draws == 4
    (compared,) = line_up(run, methods=["diffusion"]).methods
    assert compared.query_time == QueryTime(anchor=0.2)
    QueryTime(anchor=0.2).save(folder)
    anchored = Retriever.load(run.folder, set_size=4).method(queries, vectors)
    assert torch.equal(compared(queries, vectors).directions, anchored.directions)
    assert not torch.equal(plain.directions, anchored.directions)


def test_a_note_says_that_a_retrievers_own_choice_is_not_used(run):
    methods = line_up(run).methods
    assert unused_choices(run, methods) == []
    for step in ("distill", "accelerate"):
        QueryTime(BestRows(REWARD, 2)).save(run.step(step) / "model")
    (note,) = unused_choices(run, methods)
    assert note == (
        "For users (r4t retrieve), R4T-Diffusion and R4T-Student choose the best directions of "
        "several draws; here they answer with one draw, as the other methods do."
    )
    text = run.read_queries("test")[0].text
    assert (
        note in compare_answers(run.folder, [text], methods=["diffusion", "student"], size=4).notes
    )


def test_unfit_choices_are_refused(run):
    with pytest.raises(InputError, match="choice to be at least 0, but found -1"):
        MethodOptions(choice=-1)
    with pytest.raises(
        InputError, match="two or more draws .* found choice 1, .* or 0 for no rows"
    ):
        MethodOptions(choice=1)
    options = MethodOptions(4, 20, curves=[], choice=2)
    reads_references = Reward({"coverage": 1.0})
    queries = run.read_queries("test")[:2]
    options.methods = ["folm"]
    context = options.context(run, run.searcher(), queries, reads_references)
    with pytest.raises(InputError, match=r"has nothing else .* found \['coverage'\]"):
        options.line_up(context)


def test_methods_that_are_a_choice_already_or_have_few_draws_get_no_row(plane):
    one, few = Compass(plane), Compass(plane)
    few.name, few.draws = "Few", 3
    lineup = Lineup([one, few], unrepeated={"Compass"})
    add_choices(lineup, BestRows(REWARD, 2))
    assert lineup.methods == [one, few]


def test_the_table_of_a_run_names_the_choice(run):
    from rich.console import Console

    from r4t.report.evaluation import Evaluation
    from r4t.report.table import notes

    settings = {"queries": 2, "latency_batches": [], "across_runs": 2, "audit": False}
    evaluation = Evaluation(str(run.folder), weights={"diversity": 1.0}, **settings)
    options = MethodOptions(4, 20, methods=["folm"], curves=[], choice=2)
    found = evaluation.measure(options, Console(quiet=True))
    assert found.settings["choice"] == 2
    plain, chosen = (found.mean(name, COMPOSITE) for name in ("R4T-FOLM", "R4T-FOLM + choice"))
    assert chosen >= plain
    (line,) = [line for line in notes(found) if line.startswith("Rows")]
    assert line == (
        'Rows "+ choice" keep the best 4 of 2 × 4 directions, of 2 draws, by the composite. All other '
        "rows but Best-of-N are one draw."
    )
    saved = json.loads((evaluation.folder / "results.json").read_text("utf-8"))
    assert list(saved["values"]) == ["R4T-FOLM", "R4T-FOLM + choice"]
