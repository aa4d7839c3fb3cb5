"""Specificity and the query-free share of a rollout, against the objective and a slow loop."""

from types import SimpleNamespace

import pytest
import torch

from r4t.data.queries import Query
from r4t.fanout.exchange import exchanged
from r4t.fanout.formats import Expand
from r4t.objective import Objective, load_objective
from r4t.reward import Ramp, Reward
from r4t.training.hearing import LISTS, query_free_statistics, specificity_statistics

FORM = Expand(set_size=2)


def rollout_of(searcher, texts, completions):
    """A rollout of len(completions) / len(texts) completions a query."""
    group = len(completions) // len(texts)
    queries = [Query(text, text, "mood") for text in texts]
    owners = [text for text in texts for _ in range(group)]
    subqueries = [FORM.parse(owner, text) for owner, text in zip(owners, completions)]
    sets = searcher.retrieve_texts(searcher.encode_queries(owners), subqueries, 2)
    fanouts = SimpleNamespace(texts=completions, subqueries=subqueries)
    return SimpleNamespace(queries=queries, fanouts=fanouts, items=sets.items), sets


def exchange_of(rollout, searcher):
    """As a tuner exchanges: the completion of each row is read as the answer to each query."""
    group = len(rollout.items) // len(rollout.queries)

    def exchange(rows):
        texts = [rollout.fanouts.texts[row] for row in rows]
        return exchanged([rollout.queries[row // group] for row in rows], texts, FORM, searcher)

    return exchange


def test_specificity_is_that_of_the_rollouts_sets(plane):
    plane.bank = torch.eye(2)
    rollout, sets = rollout_of(plane, ["east", "north"], ["east\n", "", "west\nnorth\n", "east\n"])
    expected = load_objective("specificity")(sets).mean().item()
    assert specificity_statistics(rollout, plane) == {
        "train/specificity/mean": pytest.approx(expected)
    }
    plane.bank = None
    assert specificity_statistics(rollout, plane) == {}


class Best(Objective):
    """1 if the first item is the query's own: east's is a (row 0), north's is d (row 3)."""

    bounds = (0.0, 1.0)

    def score(self, sets):
        own = torch.where(sets.query[:, 0] > 0.5, 0, 3)
        return (sets.items[:, 0] == own).float()


class Favorite(Objective):
    """1 if the list contains the word west, whatever the query."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets):
        return torch.tensor([float(any("west" in text for text in each)) for each in sets.texts])


def share(searcher, weights, rollout, step=0):
    objectives = {"best": Best(), "favorite": Favorite()}
    reward = Reward(weights, {name: objectives[name] for name in weights})
    found = query_free_statistics(rollout, reward, exchange_of(rollout, searcher), step)
    return found["train/query_free/share"]


def test_the_share_by_hand(plane):
    # The first readable list of each query: "east" and "north west".
    completions = ["", "east\n", "north west\n", "east\n"]
    rollout, _ = rollout_of(plane, ["east", "north"], completions)
    # Given to east: "east east" finds a, "east north west" finds d. To north: "north east" finds c
    # (at 30 degrees; d is at 90, so 15 and 45 away), "north north west" finds d.
    assert share(plane, {"best": 1.0}, rollout) == pytest.approx(0.0)  # rows (1, 0) and (0, 1)
    assert share(plane, {"favorite": 1.0}, rollout) == pytest.approx(1.0)  # (0, 1) and (0, 1)
    # Rows (1, 2) and (0, 3), centered ±½ and ±3/2; list means ±1: 2 · 2 of ½ + 9/2.
    both = {"best": 1.0, "favorite": 2.0}
    assert share(plane, both, rollout) == pytest.approx(4 / 5)
    # Weights are those of the step: at the first there is no favorite.
    ramp = {"best": 1.0, "favorite": Ramp(0.0, 2.0, 10)}
    assert share(plane, ramp, rollout) == pytest.approx(0.0)
    assert share(plane, ramp, rollout, step=10) == pytest.approx(4 / 5)


def test_the_exchange_is_bounded_and_needs_two_readable_lists(plane):
    words = ["east", "north", "west", "south"]
    texts = [f"{one} {' '.join(['x'] * n)}".strip() for n in range(5) for one in words]
    rollout, _ = rollout_of(plane, texts, ["east\n"] * len(texts))
    seen = []

    class Count(Favorite):
        def score(self, sets):
            seen.append(len(sets))
            return super().score(sets)

    reward = Reward({"count": 1.0}, {"count": Count()})
    assert (
        query_free_statistics(rollout, reward, exchange_of(rollout, plane), 0) == {}
    )  # all lists are alike
    assert seen == [LISTS * LISTS]
    for texts, completions in ((["east"], ["east\n"]), (["east", "north"], ["east\n", ""])):
        rollout, _ = rollout_of(plane, texts, completions)
        assert query_free_statistics(rollout, reward, exchange_of(rollout, plane), 0) == {}
    assert len(seen) == 1


def test_a_costly_reward_is_not_asked(plane):
    class Costly(Favorite):
        costly = True

    reward = Reward({"judge": 1.0}, {"judge": Costly()})
    rollout, _ = rollout_of(plane, ["east", "north"], ["east\n", "west\n"])
    assert query_free_statistics(rollout, reward, exchange_of(rollout, plane), 0) == {}
