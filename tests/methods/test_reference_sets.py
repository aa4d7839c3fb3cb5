"""A network fitted on reference sets: its losses against loops, how it stops, what it may not see."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch

from r4t.data.queries import Query, write_queries
from r4t.errors import InputError
from r4t.geometry import RankFusion, normalize
from r4t.methods import reference_sets
from r4t.methods.context import MethodContext
from r4t.methods.lineup import MethodOptions
from r4t.methods.reference_sets import (
    EVERY,
    MERGES,
    better,
    fit_regression,
    matching_loss,
    mixture_loss,
    set_regression,
)
from r4t.methods.registry import entries
from r4t.methods.set_regression import Fit, Fitted, SetRegression
from r4t.methods.training_sets import TrainingSets
from r4t.methods.votes import mean_recall
from r4t.reward import Reward

TRAINING = [Query("t1", "east", "set", ("a", "d")), Query("t2", "north", "set", ("e", "f"))]
LEARNERS = ["popular", "nearest-sets-by-vote", "set-regression", "learned-choice"]


def vectors(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


REFERENCES = torch.tensor([[0, 3, -1, -1, -1], [1, 2, 4, 5, -1], [8, 7, 6, 5, 4]])


def test_matching_loss_equals_the_best_of_all_permutations():
    directions, items = vectors(3, 4, 5), vectors(9, 5, seed=1)
    losses = []
    for row, references in enumerate(REFERENCES.tolist()):
        wanted = [each for each in references if each >= 0]
        cosines = (directions[row] @ items.T).tolist()
        pairings = [
            [*zip(some, others)]
            for some in itertools.permutations(range(4), min(4, len(wanted)))
            for others in itertools.combinations(wanted, min(4, len(wanted)))
        ]
        best = max(pairings, key=lambda pairs: sum(cosines[i][y] for i, y in pairs))
        odds = [[math.exp(cosine / 0.2) for cosine in line] for line in cosines]
        losses.append(-sum(math.log(odds[i][y] / sum(odds[i])) for i, y in best) / len(best))
    found = matching_loss(directions, items, REFERENCES, 0.2).item()
    assert found == pytest.approx(sum(losses) / 3, rel=1e-5)
    for n in range(3):
        alone = matching_loss(directions[n : n + 1], items, REFERENCES[n : n + 1], 0.2)
        assert alone.item() == pytest.approx(losses[n], rel=1e-5)


def test_matching_pulls_each_direction_to_its_item():
    # The greedy choice, (1, 0) to the first item, would leave the second direction at cosine 0.
    directions = torch.tensor([[[1.0, 0.0], [0.8, -0.6]]], requires_grad=True)
    items = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    loss = matching_loss(directions, items, torch.tensor([[1, 0]]), 1.0)
    # The cosines are 1 and .6, and .8 and 0: softmax of a difference of .4, and of .8.
    lost, won = 1 / (1 + math.exp(-0.4)), 1 / (1 + math.exp(-0.8))
    assert loss.item() == pytest.approx(-(math.log(1 - lost) + math.log(won)) / 2, abs=1e-6)
    loss.backward()
    # Of −log p(y): Σ p(x)·x − y, halved; the difference of the items is (.4, −.8).
    step = torch.tensor([0.4, -0.8])
    expected = torch.stack([lost * step, (won - 1) * step]) / 2
    assert torch.allclose(directions.grad[0], expected, atol=1e-6)


def test_mixture_loss_equals_a_loop():
    directions, items = vectors(3, 4, 5), vectors(9, 5, seed=1)
    losses = []
    for row, references in enumerate(REFERENCES.tolist()):
        logs = []
        for wanted in references:
            if wanted < 0:
                continue
            probability = 0.0
            for direction in directions[row]:
                odds = [math.exp(float(direction @ item) / 0.2) for item in items]
                probability += odds[wanted] / sum(odds) / 4
            logs.append(math.log(probability))
        losses.append(-sum(logs) / len(logs))
    found = mixture_loss(directions, items, REFERENCES, 0.2).item()
    assert found == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_losses_do_not_depend_on_the_order_of_references_or_directions():
    directions, items = vectors(3, 4, 5), vectors(9, 5, seed=1)
    for loss in (matching_loss, mixture_loss):
        turned = loss(directions[:, [2, 0, 3, 1]], items, REFERENCES.flip(1), 0.05)
        assert torch.allclose(turned, loss(directions, items, REFERENCES, 0.05), atol=1e-4)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Most tests need no good fit."""
    monkeypatch.setattr(reference_sets, "MOST_STEPS", 40)


@pytest.fixture
def memory(plane):
    return TrainingSets("Set regression", plane, TRAINING, 2)


def test_both_losses_learn_the_sets(plane, memory, monkeypatch):
    monkeypatch.setattr(reference_sets, "MOST_STEPS", 300)
    monkeypatch.setattr(reference_sets, "DROPOUT", 0.0)  # of two entries
    monkeypatch.setattr(reference_sets, "LEARNING_RATE", 1e-3)
    asked = [Query("v1", "east east north", "set", ("a", "d"))]
    asked.append(Query("v2", "north north east", "set", ("f", "e")))
    for kind in ("matched", "mixture"):
        fitted = fit_regression(kind, memory, asked, 2, 2)
        assert fitted.facts["recall"] == 1
        method = set_regression(fitted, memory, 2, 2, "set-regression", "Set regression")
        sets = method(asked, plane.encode([query.text for query in asked]))
        assert [set(row) for row in sets.pool.tolist()] == [{0, 3}, {4, 5}]
        assert (method.key, method.name, method.draws) == ("set-regression", "Set regression", 1)


def test_steps_and_merge_are_the_best_of_all_checks(plane, memory, monkeypatch):
    asked = [
        Query("v1", "east south", "set", ("a", "b", "f")),
        Query("v2", "west", "set", ("e", "c")),
    ]
    monkeypatch.setattr(reference_sets, "MOST_STEPS", 300)
    monkeypatch.setattr(reference_sets, "PATIENCE", 3)
    monkeypatch.setattr(reference_sets, "TEMPERATURES", (0.05,))
    fitted = fit_regression("matched", memory, asked, 2, 3)
    # The same steps once more, with every check written down.
    rows, items = memory.rows(), plane.catalog.embeddings
    fit = Fit(
        memory.vectors,
        lambda directions, chosen: matching_loss(directions, items, rows[chosen], 0.05),
        2,
        reference_sets.LEARNING_RATE,
        dropout=reference_sets.DROPOUT,
        anchor=reference_sets.ANCHOR,
    )
    vectors, checks = plane.encode([query.text for query in asked]), {}
    networks = {}
    for step in range(1, reference_sets.MOST_STEPS + 1):
        fit.step()
        if step % EVERY == 0:
            networks[step] = {name: part.clone() for name, part in fit.network.state_dict().items()}
            for name, merge in MERGES.items():
                method = SetRegression(plane, fit.network, 2, 3, merge=merge)
                checks[step, name] = mean_recall(method, plane, asked, vectors)
    best, waited = (0, None), 0
    for step in networks:
        waited += 1
        for name in MERGES:
            if best[1] is None or checks[step, name] > best[0]:
                best, waited = (checks[step, name], (step, name)), 0
        if waited == 3:
            break
    found = fitted.facts
    assert (found["recall"], (found["steps"], found["merge"])) == best
    assert found["loss"] == "matched"
    for name, part in fitted.network.state_dict().items():
        assert part.equal(networks[found["steps"]][name])


def test_the_fit_is_the_same_on_every_call(plane, memory):
    asked = [Query("v1", "east east north", "set", ("a", "d"))]
    for kind, validation in itertools.product(("matched", "mixture"), ([], asked)):
        networks = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            networks.append(fit_regression(kind, memory, validation, 3, 4))
            assert torch.get_rng_state().equal(before)
        one, two = (each.network.directions(memory.vectors) for each in networks)
        assert one.equal(two)
        assert networks[0].facts == networks[1].facts


def test_without_validation_queries_there_are_defaults(plane, memory):
    facts = fit_regression("mixture", memory, [], 2, 3).facts
    temperature, steps = reference_sets.TEMPERATURES[-1], reference_sets.DEFAULT_STEPS
    assert facts["temperature"] == temperature
    assert (facts["steps"], facts["recall"], facts["merge"]) == (steps, None, "turns")
    fitted = [Fitted(None, {"recall": recall}) for recall in (0.2, 0.3, 0.3, 0.1)]
    assert better(fitted) is fitted[2]
    nothing = [Fitted(None, {"recall": None}) for _ in range(2)]
    assert better(nothing) is nothing[1]


def test_a_set_regression_refuses_what_it_was_fitted_on(plane, memory):
    fitted = fit_regression("matched", memory, [], 2, 3)
    method = set_regression(fitted, memory, 2, 3, "set-regression", "Set regression")
    for query in (Query("t2", "west", ""), Query("typed", "  North!", "")):
        with pytest.raises(
            InputError, match=r"answers Set regression has not seen .* found 1 of 1"
        ):
            method([query], plane.encode(["north"]))


def test_the_fused_pool_begins_with_the_members(plane, memory):
    fitted = fit_regression("matched", memory, [], 3, 6)
    fused = Fitted(fitted.network, {**fitted.facts, "merge": "fused"})
    method = set_regression(fused, memory, 3, 6, "set-regression", "Set regression")
    asked = plane.encode(["west"])
    sets = method([Query("w", "west", "")], asked)
    rankings = plane.nearest(fitted.network.directions(asked)[0], 6)[1]
    assert sets.pool.equal(RankFusion(members_first=True)(rankings.unsqueeze(0), 6))


def line_up(run, queries, methods, **settings):
    searcher = run.searcher()
    options = MethodOptions(4, 20, methods=methods, curves=[])
    context = options.context(run, searcher, queries, Reward({"diversity": 1.0}), **settings)
    return options.line_up(context), searcher


def answers(run, queries, methods=LEARNERS):
    lineup, searcher = line_up(run, queries, methods)
    asked = searcher.encode([query.text for query in queries])
    return [method(queries, asked).pool for method in lineup.methods]


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_method_sees_the_references_of_a_query_that_it_answers(small_run, split):
    queries = small_run.read_queries(split)
    # One is asked as it is, another with its words and an id of its own.
    asked = [queries[3], Query("typed", queries[5].text.upper() + "?", "")]
    before = answers(small_run, asked)
    rng = random.Random(0)
    ids = small_run.searcher().catalog.ids
    for row in (3, 5):
        queries[row] = replace(queries[row], references=tuple(rng.sample(ids, 3)))
    write_queries(small_run.queries, {split: queries})
    for one, two in zip(before, answers(small_run, asked), strict=True):
        assert one.equal(two)
    # The references of the others are seen.
    for row in range(len(queries)):
        queries[row] = replace(queries[row], references=tuple(ids[-3:]))
    write_queries(small_run.queries, {split: queries})
    if split == "train":
        changed = answers(small_run, asked)
        assert not any(one.equal(two) for one, two in zip(before, changed, strict=True))


def test_validation_queries_are_neither_asked_nor_trained_on(small_run):
    train, val = small_run.read_queries("train"), small_run.read_queries("val")
    twin = replace(val[0], text=train[0].text.upper())
    bare = replace(val[1], references=())
    write_queries(small_run.queries, {"val": [twin, bare, *val[2:]]})
    searcher = small_run.searcher()
    context = MethodContext(small_run, searcher, 4, 20, queries=[val[3]])
    assert context.validation == [val[2], *val[4:]]
    (small_run.queries / "val.jsonl").unlink()
    assert MethodContext(small_run, searcher, 4, 20).validation == []
    lineup, _ = line_up(small_run, [], LEARNERS)  # they have defaults
    assert [method.key for method in lineup.methods] == LEARNERS


def test_a_set_regression_is_kept_with_the_run(small_run):
    queries = small_run.read_queries("test")
    names = ["set-regression", "set-regression-matched", "set-regression-mixture"]
    chosen, matched, mixture = answers(small_run, queries, names)
    files = {path: path.stat().st_mtime_ns for path in small_run.step("set_regression").iterdir()}
    assert len(files) == 2  # one for each loss
    again = answers(small_run, queries, names)
    assert all(one.equal(two) for one, two in zip(again, (chosen, matched, mixture), strict=True))
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert chosen.equal(matched) or chosen.equal(mixture)
    # Other references, other validation references or another pool: fitted anew.
    for split, count in (("train", 3), ("val", 4)):
        changed = small_run.read_queries(split)
        changed[0] = replace(changed[0], references=changed[1].references)
        write_queries(small_run.queries, {split: changed})
        answers(small_run, queries, names[1:2])
        assert len(list(small_run.step("set_regression").iterdir())) == count


def test_tables_have_one_row_for_each_loss(small_run):
    extra = [entry.key for entry in entries().values() if entry.extra]
    assert extra == ["set-regression", "learned-choice"]
    queries = small_run.read_queries("test")
    lineup, _ = line_up(small_run, queries, None)
    rows = ["Set regression (matched)", "Set regression (mixture)"]
    names = [method.name for method in lineup.methods]
    assert [name for name in names if name.startswith("Set")] == rows
    assert {"Most popular items", "Nearest sets by vote"} <= set(names)
    lineup, _ = line_up(small_run, queries, None, training=[])
    absent = {"Most popular items", "Nearest sets by vote", *rows}
    assert absent <= lineup.absent.keys()
    assert "Set regression" not in lineup.absent
    assert len({lineup.absent[name] for name in absent}) == 1
