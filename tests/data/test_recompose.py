"""r4t.data.recompose: items swapped for those of near queries and the same slot, no repeats."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r4t.data import recompose as module
from r4t.data.queries import Query
from r4t.data.recompose import Recomposer, recompose
from r4t.geometry import normalize

# Items on a half circle, so that nearest means the next number.
ANGLES = torch.linspace(0, 3, 8)
EMBEDDINGS = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)
IDS = "abcdefgh"
ROWS = {item: row for row, item in enumerate(IDS)}


def recomposer(queries, vectors, slots=None):
    vectors = normalize(torch.tensor(vectors, dtype=torch.float32))
    return Recomposer(queries, vectors, ROWS, EMBEDDINGS, slots)


def one_of_three(slots=None):
    """Only the first query has two items; the others are donors."""
    sets = [("hats", "ae"), ("boots", "h"), ("coats", "c")]
    queries = [Query(str(n), text, "set", tuple(items)) for n, (text, items) in enumerate(sets)]
    return recomposer(queries, [[1.0, 0.0], [0.9, 0.1], [0.8, 0.2]], slots)


def test_nearest_item_of_the_near_sets_by_hand():
    # Of {a, e} one is swapped and one stays. Donors are h and c:
    # a (0) → c (2 away), not h (7 away); e (4) → c (2 away), not h (3 away). There are no others.
    drawn = recompose(one_of_three(), 10, seed=0)
    assert {(query.id, query.text, query.kind, query.references) for query in drawn} == {
        (drawn[0].id, "hats", "recomposed", drawn[0].references),
        (drawn[1].id, "hats", "recomposed", drawn[1].references),
    }
    assert {query.references for query in drawn} == {("c", "e"), ("a", "c")}
    assert [query.id for query in drawn] == ["0+1", "0+2"]
    assert len(recompose(one_of_three(), 1, seed=0)) == 1


def test_a_recomposed_set_has_no_facets():
    base = one_of_three()
    queries = [replace(query, facets=((query.references[0],),)) for query in base.queries]
    drawn = recompose(replace(base, queries=queries), 10, seed=0)
    assert [query.facets for query in drawn] == [(), ()]


def test_same_slot_comes_before_nearest():
    slots = ["top", None, "shoes", None, "shoes", None, None, "top"]  # a, h: top; c, e: shoes
    drawn = recompose(one_of_three(slots), 10, seed=0)
    assert {query.references for query in drawn} == {("h", "e"), ("a", "c")}
    # The nearest of several items of the slot counts: b (1 away), not h (7 away).
    several = ["top", "top", None, None, "shoes", None, None, "top"]
    queries = [Query("0", "hats", "set", ("a", "e")), Query("1", "boots", "set", tuple("hcb"))]
    drawn = recompose(recomposer(queries, [[1.0, 0.0], [0.9, 0.1]], several), 2, seed=0)
    hats = {query.references for query in drawn if query.text == "hats"}
    assert hats <= {
        ("b", "e"),
        ("a", "c"),
    }  # no donor has shoes: e (4) → c (2 away), not b or h (3)
    assert hats
    # An item without a slot matches no other, not even one without a slot: the nearest counts.
    unslotted = recompose(one_of_three([None] * 8), 10, seed=0)
    assert unslotted == recompose(one_of_three(), 10, seed=0)


def test_donors_are_the_nearest_queries_alone(monkeypatch):
    monkeypatch.setattr(module, "NEIGHBORS", 2)
    queries = [Query(str(n), f"query {n}", "set", (IDS[n], IDS[n + 1])) for n in range(5)]
    # Directions at about 0, 10, 20, 90 degrees and an unknown query; "0" is nearest to "1" and "2".
    vectors = [[1, 0], [0.985, 0.174], [0.940, 0.342], [0, 1], [0, 0]]
    shelf = recomposer(queries, vectors)
    assert shelf.donors(0) == ["c", "d"]  # {b, c} and {c, d} without a and b, its own
    assert shelf.donors(3) == ["c", "b"]  # nearest: 2 {c, d}, 1 {b, c}; its own: d, e
    # The unknown query takes no part.
    assert shelf.bases() == [0, 1, 2, 3]
    assert all(query.text != "query 4" for query in recompose(shelf, 50, seed=1))


def test_without_donor_or_second_item_nothing_is_recomposed():
    alone = [Query("1", "hats", "set", ("a", "b"))]
    assert recompose(recomposer(alone, [[1.0, 0.0]]), 5, seed=0) == []
    single = [Query("1", "hats", "set", ("a",)), Query("2", "boots", "set", ("b",))]
    assert recompose(recomposer(single, [[1.0, 0.0], [1.0, 0.0]]), 5, seed=0) == []


def test_ids_and_sets_of_other_splits_are_not_repeated():
    free = recompose(one_of_three(), 10, seed=0)
    taken = [Query(free[0].id, "test", "set", free[0].references[::-1])]
    drawn = recompose(one_of_three(), 10, seed=0, others=taken)
    assert [(query.id, query.references) for query in drawn] == [("0+2", free[1].references)]


def test_share_of_swapped_items():
    queries = [Query("1", "hats", "set", tuple("abcd")), Query("2", "x", "set", tuple("efgh"))]
    shelf = recomposer(queries, [[1.0, 0.0], [1.0, 0.0]])
    rng = random.Random(0)
    swapped = [len({*shelf.draw(0, rng)} - {*"abcd"}) for _ in range(4000)]
    # Binomial(4, 1/2) with 0 → 1 and 4 → 3: 1, 2, 3 with 5, 6, 5 sixteenths; ± 3 deviations.
    for count, share in ((1, 5 / 16), (2, 6 / 16), (3, 5 / 16)):
        assert swapped.count(count) / 4000 == pytest.approx(share, abs=0.024)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from(IDS), min_size=1, max_size=4), min_size=1, max_size=8),
    st.integers(0, 12),
    st.integers(0, 3),
)
def test_always_distinct_items_new_sets_and_the_same_for_the_same_seed(sets, count, seed):
    queries = [Query(f"{n}", f"q {n}", "set", tuple(sorted(s))) for n, s in enumerate(sets)]
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(len(sets), 2, generator=generator).tolist()
    drawn = recompose(recomposer(queries, vectors), count, seed)
    assert drawn == recompose(recomposer(queries, vectors), count, seed)
    assert len(drawn) <= count
    everything = [*queries, *drawn]
    old = {frozenset(query.references) for query in queries}
    new = [frozenset(query.references) for query in drawn]
    assert len({query.id for query in everything}) == len(everything)
    assert len(set(new)) == len(new)
    assert not set(new) & old
    text = {query.text: query for query in queries}
    for query in drawn:
        base = text[query.text]
        assert len(set(query.references)) == len(base.references)
        assert 1 <= len(set(query.references) & set(base.references)) < len(base.references)
