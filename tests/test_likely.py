"""Items by the probability that one of several directions draws them, each unlike the others."""

import pytest
import torch

from r4t.catalog import Catalog
from r4t.choice import Likely, QueryTime, likely
from r4t.errors import InputError
from r4t.index import TorchIndex
from r4t.search import Searcher
from tests.test_choice import unit


@pytest.fixture
def searcher():
    catalog = Catalog(None, {"fingerprint": "abc"}, unit(12, 4, seed=5))
    return Searcher(catalog, None, TorchIndex(catalog.embeddings))


def by_a_loop(embeddings, directions, size, temperature, apart):
    """Members and their directions, and the pool, of one query."""
    draws = [(embeddings @ d / temperature).softmax(0) for d in directions]
    logs = torch.stack(draws).mean(0).log()
    members = []
    while len(members) < size:
        left = [item for item in range(len(embeddings)) if item not in members]
        near = {
            i: max([float(embeddings[i] @ embeddings[m]) for m in members] or [0.0]) for i in left
        }
        members.append(max(left, key=lambda item: float(logs[item]) - apart * near[item]))
    owners = [max(range(len(draws)), key=lambda row: float(draws[row][m])) for m in members]
    rest = sorted(set(range(len(embeddings))) - set(members), key=lambda item: -float(logs[item]))
    return members, owners, members + rest


@pytest.mark.parametrize("apart", [0.0, 2.0])
def test_members_and_pool_against_a_loop(searcher, apart):
    directions, items = unit(3, 5, 4, seed=6), searcher.catalog.embeddings
    sets = Likely(0.2, apart).retrieve(
        searcher, unit(3, 4), directions, 4, query_texts=["a", "b", "c"], pool_size=9
    )
    for query in range(3):
        members, owners, pool = by_a_loop(items, directions[query], 4, 0.2, apart)
        assert sets.items[query].tolist() == members
        assert sets.pool[query].tolist() == pool[:9]
        assert torch.equal(sets.directions[query], directions[query][owners])
    assert sets.mask.all()
    assert sets.query_texts == ["a", "b", "c"]


@pytest.mark.parametrize("apart", [0.0, 0.2, 3.0])
def test_improbable_items_need_no_look(apart):
    """Of 90 items only those near the directions can become members; the result is that of all."""
    embeddings = unit(90, 6, seed=5)
    searcher = Searcher(
        Catalog(None, {"fingerprint": "abc"}, embeddings), None, TorchIndex(embeddings)
    )
    directions = unit(2, 3, 6, seed=6)
    sets = Likely(0.05, apart).retrieve(searcher, unit(2, 6), directions, 5, pool_size=30)
    for query in range(2):
        members, owners, pool = by_a_loop(embeddings, directions[query], 5, 0.05, apart)
        assert sets.items[query].tolist() == members
        assert sets.pool[query].tolist() == pool[:30]
        assert torch.equal(sets.directions[query], directions[query][owners])


def test_a_query_with_fewer_candidates_than_others_has_no_item_twice(searcher, monkeypatch):
    monkeypatch.setattr(likely, "DEPTH", 2)
    directions = torch.stack([unit(3, 4, seed=7), unit(1, 4, seed=7).expand(3, 4)])
    sets = Likely(0.2, 1.0).retrieve(searcher, unit(2, 4), directions, 4)
    assert sets.mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert (sets.directions[1, 2:] == 0).all()
    assert sets.items[1].tolist() == [
        *searcher.nearest(directions[1, :1], 2)[1][0].tolist(),
        -1,
        -1,
    ]


def test_the_lowest_temperature_leaves_every_item_a_probability():
    embeddings = unit(120, 8, seed=5)
    searcher = Searcher(
        Catalog(None, {"fingerprint": "abc"}, embeddings), None, TorchIndex(embeddings)
    )
    sets = Likely(likely.LEAST, 2.0).retrieve(
        searcher, unit(3, 8), unit(3, 2, 8, seed=6), 10, pool_size=100
    )
    assert sets.mask.all()
    assert (sets.pool >= 0).all()
    with pytest.raises(InputError, match=r"temperature.*at least 0\.003"):
        Likely(0.001)


def test_shares_of_an_item_are_added_up():
    ids = torch.randint(-1, 9, (4, 30), generator=torch.Generator().manual_seed(0))
    parts = torch.rand(4, 30, generator=torch.Generator().manual_seed(1)).double()
    found, sums = likely.by_probability(ids, parts)
    for row in range(4):
        totals = {i: float(parts[row][ids[row] == i].sum()) for i in set(ids[row].tolist()) - {-1}}
        ranked = sorted(totals, key=lambda item: -totals[item])
        assert found[row].tolist() == ranked + [-1] * (found.shape[1] - len(ranked))
        assert sums[row, : len(ranked)].tolist() == pytest.approx([totals[i] for i in ranked])


def test_a_missing_direction_draws_nothing(searcher):
    directions = unit(1, 3, 4, seed=7)
    directions[0, 1] = 0
    sets = Likely(0.2, 1.0).retrieve(searcher, unit(1, 4), directions, 3)
    members, _, _ = by_a_loop(searcher.catalog.embeddings, directions[0, [0, 2]], 3, 0.2, 1.0)
    assert sets.items[0].tolist() == members
    assert sets.pool is None


def test_a_large_catalog_is_searched_to_a_depth_and_in_parts(monkeypatch):
    """The pool beyond the candidates is that of the directions in turn; members ignore its size."""
    monkeypatch.setattr(likely, "DEPTH", 3)
    catalog = Catalog(None, {"fingerprint": "abc"}, unit(40, 4, seed=5))
    searcher = Searcher(catalog, None, TorchIndex(catalog.embeddings))
    directions, queries = unit(3, 2, 4, seed=9), unit(3, 4)
    whole = Likely(0.1, 1.0).retrieve(searcher, queries, directions, 3, pool_size=20)
    assert (whole.pool >= 0).all()
    assert torch.equal(whole.pool[:, :3], whole.items)
    assert all(len(set(row)) == 20 for row in whole.pool.tolist())
    alone = Likely(0.1, 1.0).retrieve(searcher, queries, directions, 3)
    assert torch.equal(alone.items, whole.items)
    nearest = searcher.nearest(directions.flatten(0, 1), 3)[1].view(3, -1)
    for members, candidates in zip(whole.items.tolist(), nearest.tolist()):
        assert set(members) <= set(candidates)
    monkeypatch.setattr(likely, "AT_ONCE", 1)
    parts = Likely(0.1, 1.0).retrieve(searcher, queries, directions, 3, pool_size=20)
    assert torch.equal(parts.pool, whole.pool)
    assert torch.equal(parts.directions, whole.directions)


def test_fewer_candidates_than_members_leave_members_missing(searcher):
    directions = unit(1, 2, 4, seed=7)
    sets = Likely(0.2, 1.0).retrieve(searcher, unit(1, 4), directions, 14, pool_size=12)
    assert sets.items.shape == (1, 14)
    assert sets.mask.tolist() == [[True] * 12 + [False] * 2]
    assert (sets.directions[0, 12:] == 0).all()
    with pytest.raises(InputError, match="at most 12 items"):
        Likely().retrieve(searcher, unit(1, 4), directions, 3, pool_size=13)


def test_query_time_answers_with_likely_items(searcher, tmp_path):
    way = Likely(0.1, 0.5)
    saved = QueryTime(anchor=0.2, likely=way)
    saved.save(tmp_path)
    assert QueryTime.load(tmp_path) == saved
    directions = unit(2, 3, 4, seed=8)
    found = saved.retrieve(searcher, unit(2, 4), directions, 3, ["a", "b"], 6)
    expected = way.retrieve(
        searcher, unit(2, 4), directions, 3, query_texts=["a", "b"], pool_size=6
    )
    assert torch.equal(found.pool, expected.pool)
    assert torch.equal(found.items, expected.items)


def test_numbers_out_of_range_are_refused():
    for settings in ({"temperature": 0.0}, {"apart": -1.0}):
        with pytest.raises(InputError, match=f"{next(iter(settings))}"):
            Likely(**settings)
