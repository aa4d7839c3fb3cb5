import math

import pytest
import torch

from r4t.data.queries import Query
from r4t.data.wardrobe import Truth
from r4t.errors import InputError
from r4t.evaluation.baselines import (
    Mmr,
    NearestSets,
    NoFanout,
    Oracle,
    RandomItems,
    mmr_order,
)
from r4t.evaluation.truth import FacetTruth
from r4t.geometry import normalize

EAST, NORTH = Query("1", "east", "set"), Query("2", "north", "set")


def names(rows):
    return ["".join("abcdef"[row] for row in line) for line in rows.tolist()]


def answer(method, *queries):
    return method(list(queries), method.searcher.encode_queries([q.text for q in queries]))


def slow_mmr(query, candidates, size, trade_off):
    chosen = []
    while len(chosen) < size:

        def value(c):
            near = max((float(candidates[c] @ candidates[s]) for s in chosen), default=0.0)
            return trade_off * float(candidates[c] @ query) - (1 - trade_off) * near

        chosen.append(max((c for c in range(len(candidates)) if c not in chosen), key=value))
    return chosen  # fmt: skip


def test_no_fanout(plane):
    sets = answer(NoFanout(plane, set_size=2, pool_size=4), EAST, NORTH)
    # From the north (90 degrees): d at 90, c at 30, b at 10, then a and e at right angles.
    assert names(sets.items) == ["ab", "dc"]
    assert names(sets.pool)[0] == "abcd"[:3] + names(sets.pool)[0][3]
    assert names(sets.pool)[1][:3] == "dcb"
    assert sets.directions is None
    assert torch.allclose(sets.item_embeddings, plane.embeddings(sets.items))


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


@pytest.mark.parametrize("trade_off", [0.3, 0.7, 1.0])
def test_mmr_against_a_slow_loop(trade_off):
    generator = torch.Generator().manual_seed(0)
    candidates = normalize(torch.randn(5, 30, 8, generator=generator))
    z = normalize(torch.randn(5, 8, generator=generator))
    order = mmr_order(z, candidates, 12, trade_off)
    assert order.tolist() == [
        slow_mmr(query, rows, 12, trade_off) for query, rows in zip(z, candidates)
    ]


def test_mmr_with_trade_off_one_is_no_fanout(plane):
    mmr = answer(Mmr(plane, set_size=3, pool_size=5, trade_off=1.0), EAST, NORTH)
    assert names(mmr.items) == names(answer(NoFanout(plane, 3, 5), EAST, NORTH).items)


def test_nearest_sets(plane):
    training = [
        Query("t1", "east east north", "set", ("d",)),
        Query("t2", "west", "set", ("e",)),
        Query("t3", "east", "set", ("f",)),
        Query("t4", "north", "mood"),
    ]
    method = NearestSets(plane, training, set_size=2, pool_size=4)
    sets = answer(method, EAST)
    # Nearest to the east: t3 (item f, south), then t1 (item d, north); 0.6 east + 0.4 item.
    root = math.hypot(0.6, 0.4)
    expected = [[0.6 / root, -0.4 / root], [0.6 / root, 0.4 / root]]
    assert torch.allclose(sets.directions[0], torch.tensor(expected), atol=1e-6)
    # The direction at -33.7 degrees has a at 33.7, b at 43.7 and f at 56.3 degrees; that at
    # +33.7 has c at 3.7, b, a, d: in turn a, c; then b, b; then f, a; then c, d.
    assert names(sets.items) == ["ac"]
    assert names(sets.pool) == ["acbf"]


def test_nearest_sets_needs_references(plane):
    with pytest.raises(InputError, match=r"at least 10 training queries .* found 0 — leave it out"):
        NearestSets(plane, [EAST, NORTH])


def test_oracle(plane):
    items = {name: {"style": ("punk",), "slot": ("top",)} for name in "bce"}
    items |= {name: {"style": ("glam",), "slot": ("top",)} for name in "af"}
    items |= {"d": {"style": ("punk",), "slot": ("shoes",)}}
    truth = FacetTruth(Truth(items, {"1": {"style": "punk"}}), list("abcdef"))
    sets = answer(Oracle(plane, truth, set_size=2, pool_size=6), EAST)
    # The best punk item of each slot (b of b c e, d), then the next top, ...; glam comes last.
    assert set(names(sets.items)[0]) == {"b", "d"}
    assert names(sets.pool)[0][2:] == "ceaf"


def test_random_items_are_distinct_and_seeded(plane):
    sets = answer(RandomItems(plane, 3, 6, seed=1), EAST, NORTH)
    assert [sorted(row) for row in sets.pool.tolist()] == [list(range(6))] * 2
    assert names(sets.items) == [row[:3] for row in names(sets.pool)]
    assert names(answer(RandomItems(plane, 3, 6, seed=1), NORTH).pool) == names(sets.pool[1:])
    seeds = {names(answer(RandomItems(plane, 3, 6, seed=s), EAST).pool)[0] for s in range(9)}
    assert len(seeds) > 5


def test_answers_do_not_depend_on_the_batch(plane):
    training = [Query(f"t{n}", "east north"[: 4 + n], "set", tuple("abcd")) for n in (0, 6)]
    methods = (
        NoFanout(plane, 2, 4), Mmr(plane, 2, 4), RandomItems(plane, 2, 4),
        NearestSets(plane, training, 2, 4),
    )  # fmt: skip
    for method in methods:
        together = answer(method, EAST, NORTH)
        for row, query in enumerate((EAST, NORTH)):
            alone = answer(method, query)
            assert alone.items.tolist() == together.items[row : row + 1].tolist()
            assert alone.pool.tolist() == together.pool[row : row + 1].tolist()
