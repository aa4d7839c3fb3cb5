import itertools
import math

import pytest
import torch

from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.data.wardrobe import Truth
from r4t.errors import InputError
from r4t.geometry import normalize, vendi
from r4t.methods.bounds import GreedyBound, Oracle, RandomItems, ReferenceOracle
from r4t.methods.nearest import NoFanout
from r4t.reward import Reward
from r4t.sets import Popularity

EAST, NORTH = Query("1", "east", "set"), Query("2", "north", "set")


def names(rows):
    return ["".join("abcdef"[row] for row in line) for line in rows.tolist()]


def answer(method, *queries):
    return method(list(queries), method.searcher.encode_queries([q.text for q in queries]))


def test_random_items_are_distinct_and_seeded(plane):
    sets = answer(RandomItems(plane, 3, 6, seed=1), EAST, NORTH)
    assert [sorted(row) for row in sets.pool.tolist()] == [list(range(6))] * 2
    assert names(sets.items) == [row[:3] for row in names(sets.pool)]
    assert names(answer(RandomItems(plane, 3, 6, seed=1), NORTH).pool) == names(sets.pool[1:])
    seeds = {names(answer(RandomItems(plane, 3, 6, seed=s), EAST).pool)[0] for s in range(9)}
    assert len(seeds) > 5


def test_random_items_beyond_the_catalog(plane):
    with pytest.raises(InputError, match=r"at most 6 items, all of .* found 7. Ask for fewer"):
        RandomItems(plane, 3, 7)


def test_oracle(plane):
    items = {name: {"style": ("punk",), "slot": ("top",)} for name in "bce"}
    items |= {name: {"style": ("glam",), "slot": ("top",)} for name in "af"}
    items |= {"d": {"style": ("punk",), "slot": ("shoes",)}}
    truth = FacetTruth(Truth(items, {"1": {"style": "punk"}}), list("abcdef"))
    sets = answer(Oracle(plane, set_size=2, pool_size=6, truth=truth), EAST)
    # The best punk item of each slot (b of b c e, d), then the next top, ...; glam comes last.
    assert set(names(sets.items)[0]) == {"b", "d"}
    assert names(sets.pool)[0][2:] == "ceaf"


def test_reference_oracle_by_hand(plane):
    queries = [Query("1", "east", "set", ("d", "c")), Query("2", "north", "set", ("e", "f", "a"))]
    sets = answer(ReferenceOracle(plane, set_size=3, pool_size=4), *queries)
    # d (90 degrees) and c (30) have their mean at 60: then b at 10, then a at 0.
    assert names(sets.pool[:1]) == ["dcba"]
    # e (180), f (270), a (0) have their mean at 270: they are there, and b (100 degrees off) is
    # nearer than c (120 off) and d (180 off).
    assert names(sets.pool[1:]) == ["efab"]
    assert names(sets.items) == ["dcb", "efa"]
    assert sets.directions is None
    assert "(oracle)" in ReferenceOracle(plane).name
    small = answer(ReferenceOracle(plane, set_size=2, pool_size=2), queries[1])
    assert names(small.pool) == ["ef"]


def test_reference_oracle_without_references(plane):
    with pytest.raises(InputError, match=r"found none for 'north' \(id '2'\). Leave"):
        answer(ReferenceOracle(plane, 2, 4), Query("1", "east", "set", ("a",)), NORTH)


def as_directions(sets):
    """Sets whose items are their own directions, as a fan-out that copies titles has."""
    return sets.extended(directions=sets.item_embeddings)


def test_items_as_directions_are_grounded(plane):
    sets = as_directions(answer(NoFanout(plane, 2, 4), EAST))
    reward = Reward({"groundedness": 1.0, "alignment": 0.0})
    scores, components = reward(sets)
    assert scores.tolist() == pytest.approx([1.0])
    # a at 0 and b at 10 degrees: mean cosine (1 + .985) / 2.
    assert components["alignment"].tolist() == pytest.approx([(1 + math.cos(math.pi / 18)) / 2])


def spread(sets):
    """Vendi score of the items."""
    return vendi(sets.item_embeddings, sets.mask)


def test_greedy_bound_by_hand(plane):
    # Alignment alone: the direction nearest to the east is a (0 degrees), then its blends with a
    # (0 again); without blends: a, b, c.
    aligned = Reward({"alignment": 1.0})
    method = GreedyBound(plane, lambda sets: aligned(sets)[0], 3, 4, blends=())
    sets = answer(method, EAST)
    assert names(sets.items) == ["abc"]
    expected = plane.embeddings(torch.tensor([[0, 1, 2]]))
    assert torch.allclose(sets.directions, expected, atol=1e-6)
    assert sets.pool.shape == (1, 4)
    assert sets.query_texts == ["east"]
    # Diversity alone: any item has Vendi 1, so the first (a) is taken; d or f at right angles
    # makes it 2.
    assert names(answer(GreedyBound(plane, spread, 2, 4, blends=()), EAST).items)[0] in ("ad", "af")


def slow_bound(searcher, score, z, size, count, blends):
    _, rows = searcher.index.search(z, count)
    items = searcher.embeddings(rows[0])
    pool = [items, *(normalize(a * z + (1 - a) * items) for a in blends)]
    directions = torch.cat(pool)
    chosen = []
    for _ in range(size):
        rest = [c for c in range(len(directions)) if c not in chosen]
        tried = [searcher.retrieve(z, directions[[*chosen, c]].unsqueeze(0)) for c in rest]
        values = [score(sets).item() for sets in tried]
        chosen.append(rest[max(range(len(rest)), key=values.__getitem__)])
    return directions[chosen]


@pytest.mark.parametrize("sets_per_call", [7, 4096])
def test_greedy_bound_against_a_slow_loop(plane, sets_per_call):
    reward = Reward({"groundedness": 0.5, "alignment": 0.7, "diversity": 0.4})

    def score(sets):
        # The tilt keeps two candidates from scoring the same but for round-off.
        return reward(sets)[0] + 0.01 * sets.directions[..., 1].sum(-1)

    blends = (0.3, 0.8)
    method = GreedyBound(plane, score, 4, 5, 5, blends, sets_per_call)
    queries = [Query("1", "east east north", "set"), Query("2", "south west", "set"), EAST]
    z = plane.encode_queries([query.text for query in queries])
    sets = method(queries, z)
    for row in range(3):
        slow = slow_bound(plane, score, z[row : row + 1], 4, 5, blends)
        assert torch.allclose(sets.directions[row], slow, atol=1e-6)


def test_greedy_bound_is_above_all_methods_and_below_the_best(plane):
    reward = Reward({"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2})
    method = GreedyBound(plane, lambda sets: reward(sets)[0], 2, 4, blends=())
    bound = reward(answer(method, EAST, NORTH))[0]
    for other in (NoFanout(plane, 2, 4), RandomItems(plane, 2, 4)):
        assert (reward(as_directions(answer(other, EAST, NORTH)))[0] <= bound + 1e-6).all()
    pairs = torch.tensor(list(itertools.combinations(range(6), 2)))
    z = plane.encode_queries(["east"])
    tried = plane.retrieve(z.expand(len(pairs), -1), plane.embeddings(pairs))
    best = reward(tried)[0].max()
    assert bound[0] <= best + 1e-6


def test_greedy_bound_shows_the_score_what_belongs_to_query_and_catalog(plane):
    plane.popularity = Popularity(torch.arange(6), 9)
    seen = []

    def popular(sets):
        seen.append((sets.query_texts, sets.catalog, sets.popularity, sets.present))
        return sets.popularity.counts[sets.items].float().mean(-1)

    sets = answer(GreedyBound(plane, popular, 2, 4, blends=()), EAST, NORTH)
    # The last items of the catalog are counted most often.
    assert names(sets.items) == ["fe", "fe"]
    texts, catalog, popularity, present = seen[0]
    assert texts == ["east"] * 6 + ["north"] * 6
    assert catalog is plane.catalog
    assert popularity is plane.popularity
    assert not present & {"texts", "pool", "references"}


def test_greedy_bound_never_takes_what_could_not_be_scored(plane):
    def odd(sets):
        return torch.where((sets.items == 0).any(-1), torch.nan, spread(sets))

    sets = answer(GreedyBound(plane, odd, 3, 4, blends=()), EAST)
    assert 0 not in sets.items


def test_greedy_bound_of_too_few_candidates(plane):
    with pytest.raises(InputError, match=r"at least 10 candidate directions, .* found 6. Raise"):
        GreedyBound(plane, spread, 10, 4, blends=())
