"""A reward is tried before any model writes, without a trace."""

import random

import pytest
import torch

from r4t.errors import InputError
from r4t.fanout.formats import Full
from r4t.grpo.preflight import try_reward
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.support.stopwatch import Stopwatch


class Sees(Objective):
    """Records the sets that it scores, and draws from the global random states."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts", "references", "pool"})

    def __init__(self, costly=False):
        self.costly, self.seen = costly, []

    def score(self, sets):
        self.seen.append(sets)
        random.random()
        return torch.rand(len(sets))


class Spread(Objective):
    """Deviation of the members' first coordinate: NaN for a set of one."""

    bounds = (0.0, 1.0)

    def score(self, sets):
        rows = [items[mask, 0] for items, mask in zip(sets.item_embeddings, sets.mask)]
        return torch.stack([row.std() for row in rows])


def attempt(run, reward, count=2):
    searcher = run.searcher(cached=100)
    searcher.watch = Stopwatch()
    queries = run.read_queries("train")[:count]
    try_reward(reward, searcher, queries, Full(set_size=3), pool_size=5)
    return searcher


def test_whole_short_and_empty_sets_are_scored_by_all_but_costly_objectives(small_run):
    free, costly = Sees(), Sees(costly=True)
    attempt(small_run, Reward({"free": 1.0, "costly": 1.0}, {"free": free, "costly": costly}))
    assert costly.seen == []
    (sets,) = free.seen
    assert sets.mask.sum(1).tolist() == [3, 1, 0] * 2
    assert sets.query_texts == ["red linen"] * 3 + ["red wool"] * 3
    assert sets.pool.shape == (6, 5)
    # Sub-queries are the texts of the items nearest to the query; each finds its like.
    searcher = small_run.searcher()
    vector, table = searcher.encode(["red linen"])[0], searcher.catalog.embeddings
    rows = [searcher.catalog.texts.index(text) for text in sets.texts[0]]
    assert torch.allclose(table[rows] @ vector, (table @ vector).topk(3).values, atol=1e-6)
    assert torch.allclose((table[rows] * sets.item_embeddings[0]).sum(-1), torch.ones(3), atol=1e-5)


def test_random_states_times_and_counts_are_as_before(small_run):
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate()
    searcher = attempt(small_run, Reward({"free": 1.0}, {"free": Sees()}))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert searcher.watch.take() == {}
    assert searcher.vectors.take() == searcher.neighbors.take() == (0, 0)


def test_an_objective_that_fails_on_a_set_of_one_is_refused(small_run):
    said = r"objective 'spread' to return finite scores within .* found nan for query 1 of 6 \("
    with pytest.raises(InputError, match=said):
        attempt(small_run, Reward({"s": 1.0}, {"s": Spread()}))


def test_without_queries_there_is_nothing_to_try(small_run):
    objective = Sees()
    attempt(small_run, Reward({"free": 1.0}, {"free": objective}), count=0)
    assert objective.seen == []
