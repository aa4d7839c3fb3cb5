import itertools
import math

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.data.queries import Query
from r4t.data.source import Items
from r4t.errors import InputError
from r4t.geometry import normalize, vendi
from r4t.index import TorchIndex
from r4t.methods import rerank
from r4t.methods.nearest import NoFanout
from r4t.methods.rerank import Dpp, Mmr, curve, dpp_order, mmr_order
from r4t.search import Searcher

EAST, NORTH = Query("1", "east", "set"), Query("2", "north", "set")
ORDERS = pytest.mark.parametrize("order", [mmr_order, dpp_order])


def names(rows):
    return ["".join("abcdef"[row] for row in line) for line in rows.tolist()]


def answer(method, *queries):
    return method(list(queries), method.searcher.encode_queries([q.text for q in queries]))


def candidates(seed, batch=5, count=30, width=8):
    """Unit vectors near a query each: relevance (B, C), similarity (B, C, C)."""
    generator = torch.Generator().manual_seed(seed)
    z = normalize(torch.randn(batch, 1, width, generator=generator))
    rows = normalize(z + 1.5 * torch.randn(batch, count, width, generator=generator))
    return (rows @ z.mT).squeeze(-1), rows @ rows.mT


def slow_mmr(relevance, similarity, size, trade_off):
    chosen = [int(relevance.argmax())]
    while len(chosen) < size:

        def value(c):
            near = max(float(similarity[c, s]) for s in chosen)
            return trade_off * float(relevance[c]) - (1 - trade_off) * near

        chosen.append(max((c for c in range(len(relevance)) if c not in chosen), key=value))
    return chosen


def slow_dpp(relevance, similarity, size, trade_off):
    """Greedy log det of the kernel as the source writes it, each determinant anew, in float64."""
    alpha = trade_off / (2 * (1 - trade_off))
    quality = (alpha * relevance.double()).exp()
    kernel = quality.unsqueeze(1) * similarity.double() * quality
    chosen = []
    while len(chosen) < size:

        def log_det(c):
            rows = torch.tensor([*chosen, c])
            return float(torch.logdet(kernel[rows][:, rows]))

        rest = (c for c in range(len(relevance)) if c not in chosen)
        # All start equal at λ = 0 (each det is 1 but for round-off): the more relevant is taken.
        chosen.append(max(rest, key=lambda c: (round(log_det(c), 6), float(relevance[c]))))
    return chosen


def test_mmr_by_hand(plane):
    sets = answer(Mmr(plane, set_size=3, pool_size=3, trade_off=0.5), EAST)
    # First a (cos 1). Then 0.5 cos(q, c) - 0.5 cos(a, c) = 0 for all others, as a is the query:
    # the first of equals is taken from the four left; round-off decides, so look at the rest.
    assert names(sets.items)[0][0] == "a"
    # λ = 0.7: b .7*.985 - .3*.985 = .394, c .346, d 0, e -.4: b; then c .7*.866 - .3*.940 = .324
    # against d 0 - .3*.174 = -.052 and f 0 - 0 = 0.
    sets = answer(Mmr(plane, set_size=3, pool_size=4), EAST)
    assert names(sets.items) == ["abc"]
    # λ = 0.3: e -.3 + .7 = .4; d 0, f 0; b .3*.985 - .7*.985 < 0.
    sets = answer(Mmr(plane, set_size=2, pool_size=4, trade_off=0.3, depth=9), EAST)
    assert names(sets.items) == ["ae"]
    assert sets.query_texts == ["east"]


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_mmr_against_a_slow_loop(seed, trade_off):
    relevance, similarity = candidates(seed)
    order = mmr_order(relevance, similarity, 12, trade_off)
    assert order.tolist() == [slow_mmr(r, s, 12, trade_off) for r, s in zip(relevance, similarity)]


def test_dpp_by_hand(plane):
    # Nearest to the east: a 0, b 10, c 30 degrees, then d and f at right angles. First a (log 1 +
    # the highest relevance). Gains at λ = 0.5: b .5*.985 + .5*log sin² 10 = .492 - 1.751,
    # c .5*.866 + .5*log sin² 30 = .433 - .693 = -.260, d 0 + .5*log 1 = 0: d or f, at 0.
    sets = answer(Dpp(plane, set_size=2, pool_size=4, trade_off=0.5, depth=1), EAST)
    assert names(sets.items)[0][0] == "a"
    assert names(sets.items)[0][1] in "df"
    # The plane has two dimensions: nothing is left of any other, so they follow by relevance.
    assert names(sets.pool)[0][2:] == "bc"
    # λ = 0.9: c .9*.866 + .1*log .25 = .779 - .139 = .641, b .886 - .350 = .536, d 0: c.
    sets = answer(Dpp(plane, set_size=2, pool_size=4, trade_off=0.9, depth=1), EAST)
    assert names(sets.items) == ["ac"]


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_dpp_equals_a_brute_force_greedy_log_det(seed, trade_off):
    relevance, similarity = candidates(seed, batch=3, count=14, width=16)
    order = dpp_order(relevance, similarity, 9, trade_off)
    assert order.tolist() == [slow_dpp(r, s, 9, trade_off) for r, s in zip(relevance, similarity)]


def test_greedy_dpp_is_near_the_best_of_all_sets():
    relevance, similarity = candidates(7, batch=1, count=10, width=12)
    order = dpp_order(relevance, similarity, 4, 0.0)[0]

    def volume(rows):
        return float(torch.logdet(similarity[0][rows][:, rows]))

    best = max(volume(list(rows)) for rows in itertools.combinations(range(10), 4))
    # Log determinants of unit rows are at most 0; the greedy choice comes close.
    assert best - 0.35 < volume(order) <= best + 1e-6


@ORDERS
def test_trade_off_one_is_the_order_of_relevance(order):
    relevance, similarity = candidates(1)
    ranked = relevance.argsort(dim=1, descending=True)
    assert torch.equal(order(relevance, similarity, 30, 1.0), ranked)


@ORDERS
def test_diversity_grows_as_the_trade_off_falls(order):
    generator = torch.Generator().manual_seed(5)
    z = normalize(torch.randn(20, 1, 32, generator=generator))
    rows = normalize(z + 0.3 * torch.randn(20, 60, 32, generator=generator))
    relevance, similarity = (rows @ z.mT).squeeze(-1), rows @ rows.mT

    def measured(trade_off):
        picks = order(relevance, similarity, 8, trade_off)
        chosen = rows.gather(1, picks.unsqueeze(-1).expand(-1, -1, 32))
        return vendi(chosen).mean().item(), relevance.gather(1, picks).mean().item()

    scores, closeness = zip(*(measured(trade_off) for trade_off in (1.0, 0.9, 0.5, 0.0)))
    assert list(scores) == sorted(scores)
    assert list(closeness) == sorted(closeness, reverse=True)


@ORDERS
@pytest.mark.parametrize("trade_off", [0.0, 0.4, 0.8])
def test_orders_do_not_depend_on_batch_or_order_of_candidates(order, trade_off):
    relevance, similarity = candidates(2)
    together = order(relevance, similarity, 12, trade_off)
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    other = order(relevance[:, shuffled], similarity[:, shuffled][:, :, shuffled], 12, trade_off)
    assert torch.equal(shuffled[other], together)
    alone = [order(r[None], s[None], 12, trade_off) for r, s in zip(relevance, similarity)]
    assert torch.equal(torch.cat(alone), together)


def test_dpp_takes_twins_and_what_lies_in_the_span_last():
    # 12 vectors of 4 dimensions, each there twice: after 4 picks nothing is left of any.
    relevance, _ = candidates(3, batch=2, count=12, width=4)
    generator = torch.Generator().manual_seed(4)
    rows = normalize(torch.randn(2, 12, 4, generator=generator)).repeat(1, 2, 1)
    relevance = torch.cat([relevance, relevance - 0.001], dim=1)
    for trade_off in (0.0, 0.5, 0.9):
        order = dpp_order(relevance, rows @ rows.mT, 24, trade_off)
        assert [sorted(line) for line in order.tolist()] == [list(range(24))] * 2
        first, rest = order[:, :4], order[:, 4:]
        # The four are independent, so none has its twin among them; the rest goes by relevance.
        chosen = rows.gather(1, first.unsqueeze(-1).expand(-1, -1, 4))
        assert (torch.linalg.matrix_rank(chosen) == 4).all()
        left = relevance.gather(1, rest)
        assert torch.equal(left, left.sort(dim=1, descending=True).values)


def test_dpp_is_safe_far_beyond_the_rank():
    # The pool of a real catalog: 600 candidates, 150 picks, 64 dimensions.
    generator = torch.Generator().manual_seed(0)
    z = normalize(torch.randn(4, 1, 64, generator=generator))
    rows = normalize(z + 0.15 * torch.randn(4, 600, 64, generator=generator))
    relevance, similarity = (rows @ z.mT).squeeze(-1), rows @ rows.mT
    order = dpp_order(relevance, similarity, 150, 0.5)
    assert all(len(set(line)) == 150 for line in order.tolist())
    exact = dpp_order(relevance.double(), similarity.double(), 150, 0.5)
    assert torch.equal(order[:, :40], exact[:, :40])
    left = relevance.gather(1, order[:, 64:])
    assert (left[:, 1:] <= left[:, :-1] + 1e-6).float().mean() > 0.95


def test_re_ranked_with_trade_off_one_is_no_fanout(plane):
    plain = answer(NoFanout(plane, 3, 5), EAST, NORTH)
    for method in (Mmr, Dpp):
        again = answer(method(plane, set_size=3, pool_size=5, trade_off=1.0), EAST, NORTH)
        assert names(again.items) == names(plain.items)


BOTH = pytest.mark.parametrize("method", [Mmr, Dpp])


@BOTH
def test_a_curve_is_the_method_at_each_trade_off(plane, method):
    points = curve(method(plane, 2, 4), [0.0, 0.4, 0.9, 0.4])
    assert [point.trade_off for point in points] == [0.0, 0.4, 0.9]
    assert points[1].name == f"{method(plane).name} λ=0.4"
    for asked in ([EAST, NORTH], [NORTH], [NORTH, EAST]):
        z = plane.encode_queries([query.text for query in asked])
        for point in points:
            alone = answer(method(plane, 2, 4, trade_off=point.trade_off), *asked)
            sets = point(asked, z)
            assert torch.equal(sets.pool, alone.pool)
            assert torch.equal(sets.items, alone.items)
            assert sets.query_texts == [query.text for query in asked]


def test_a_curve_searches_once_a_batch(crowd):
    searches = []

    class Counted:
        def search(self, directions, top_k):
            searches.append(len(directions))
            return TorchIndex(crowd.catalog.embeddings).search(directions, top_k)

    searcher = Searcher(crowd.catalog, None, Counted())
    points = curve(Mmr(searcher, 3, 20), [0.2, 0.5, 0.8])
    queries = [Query(f"q{n}", "?", "set") for n in range(4)]
    for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [4, 5]):
        z = crowd.catalog.embeddings[rows]
        for point in points:
            point(queries[: len(rows)], z)
    assert searches == [4, 4, 2]


@pytest.fixture
def crowd(tmp_path):
    """300 items of 24 dimensions."""
    rows = normalize(torch.randn(300, 24, generator=torch.Generator().manual_seed(0)))
    names = [str(n) for n in range(300)]
    catalog = write_catalog(tmp_path / "crowd", Items(names, names), rows, None)
    return Searcher(catalog, None, TorchIndex(catalog.embeddings))


def asked(searcher, method, rows=(3, 50, 170)):
    queries = [Query(str(row), "?", "set") for row in rows]
    return method(queries, searcher.catalog.embeddings[list(rows)])


@BOTH
def test_only_the_first_are_ordered_and_the_rest_follows_by_relevance(crowd, method):
    plain = asked(crowd, NoFanout(crowd, 5, 40))
    whole = asked(crowd, method(crowd, 5, 40, trade_off=0.2, depth=1))
    few = asked(crowd, method(crowd, 5, 40, trade_off=0.2, depth=1, ordered=5))
    assert torch.equal(few.items, whole.items)
    assert not torch.equal(few.items, plain.items)
    for mine, near in zip(few.pool.tolist(), plain.pool.tolist(), strict=True):
        assert mine[5:] == [row for row in near if row not in mine[:5]]
    # At depth 1 the pool is the plain one, so its recall is; deeper it is not.
    assert torch.equal(few.pool.sort().values, plain.pool.sort().values)
    deeper = asked(crowd, method(crowd, 5, 40, trade_off=0.2, ordered=5))
    assert not torch.equal(deeper.pool.sort().values, plain.pool.sort().values)
    assert torch.equal(deeper.items, asked(crowd, method(crowd, 5, 40, trade_off=0.2)).items)


@BOTH
def test_a_large_pool_is_ordered_as_far_as_is_feasible(crowd, method, monkeypatch):
    # With a limit of 20, a pool of 60 begins as a pool of 20 does, the best of 80; 40 nearest follow.
    small = asked(crowd, method(crowd, 5, 20))
    monkeypatch.setattr(rerank, "LIMIT", 20)
    large = asked(crowd, method(crowd, 5, 60))
    assert torch.equal(large.pool[:, :20], small.pool)
    near = asked(crowd, NoFanout(crowd, 5, 60)).pool
    for mine, plain in zip(large.pool.tolist(), near.tolist(), strict=True):
        assert mine[20:] == [row for row in plain if row not in mine[:20]][:40]
    # Picked among the 30 nearest at most.
    monkeypatch.setattr(rerank, "NEAREST", 30)
    nearest = asked(crowd, NoFanout(crowd, 5, 30)).pool
    picked = asked(crowd, method(crowd, 5, 60)).pool[:, :20]
    assert (picked.unsqueeze(2) == nearest.unsqueeze(1)).any(-1).all()


@BOTH
def test_parts_of_a_batch_are_the_batch(crowd, method, monkeypatch):
    together = asked(crowd, method(crowd, 5, 40))
    monkeypatch.setattr(rerank, "CELLS", 1)
    assert torch.equal(asked(crowd, method(crowd, 5, 40)).pool, together.pool)


@BOTH
def test_no_more_numbers_are_held_than_the_limit(crowd, method, monkeypatch):
    # 160 candidates of 24 dimensions, 40 picked: 160 · (160 + 24 + 40) = 35,840 numbers a query.
    monkeypatch.setattr(rerank, "CELLS", 2 * 35_840)
    sizes = []
    order = mmr_order if method is Mmr else dpp_order

    def seen(relevance, similarity, size, trade_off):
        sizes.append(tuple(similarity.shape))
        assert similarity.dtype == torch.float32
        return order(relevance, similarity, size, trade_off)

    monkeypatch.setattr(method, "order", staticmethod(seen))
    asked(crowd, method(crowd, 5, 40), range(5))
    assert sizes == [(2, 160, 160), (2, 160, 160), (1, 160, 160)]


@pytest.mark.parametrize("method, name", [(Mmr, "MMR"), (Dpp, "DPP")])
@pytest.mark.parametrize("trade_off", [-0.1, 1.5, math.nan])
def test_a_trade_off_out_of_range(plane, method, name, trade_off):
    with pytest.raises(
        InputError, match=rf"trade-off of {name} between .* found {trade_off}. Choose"
    ):
        method(plane, trade_off=trade_off)


def test_a_trade_off_out_of_range_on_a_curve(plane):
    with pytest.raises(InputError, match=r"trade-off of DPP λ=2 between .* found 2. Choose"):
        curve(Dpp(plane), [0.5, 2])


@BOTH
def test_sizes_out_of_range(plane, method):
    with pytest.raises(InputError, match=r"ordered of MMR to be at least 1, but found 0. Raise it"):
        method(plane, ordered=0, name="MMR")
    with pytest.raises(InputError, match=r"depth of DPP to be at least 1, but found -1. Raise it"):
        method(plane, depth=-1, name="DPP")
