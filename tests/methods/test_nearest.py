import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.methods.nearest import NoFanout
from r4t.sets import Popularity

EAST, NORTH = Query("1", "east", "set"), Query("2", "north", "set")


def names(rows):
    return ["".join("abcdef"[row] for row in line) for line in rows.tolist()]


def answer(method, *queries):
    return method(list(queries), method.searcher.encode_queries([q.text for q in queries]))


def test_no_fanout(plane):
    sets = answer(NoFanout(plane, set_size=2, pool_size=4), EAST, NORTH)
    # From the north (90 degrees): d at 90, c at 30, b at 10, then a and e at right angles.
    assert names(sets.items) == ["ab", "dc"]
    assert names(sets.pool)[0] == "abcd"[:3] + names(sets.pool)[0][3]
    assert names(sets.pool)[1][:3] == "dcb"
    assert sets.directions is None
    assert torch.allclose(sets.item_embeddings, plane.embeddings(sets.items))


def test_no_fanout_does_not_depend_on_the_batch(plane):
    method = NoFanout(plane, 2, 3)
    together = answer(method, NORTH, EAST)
    for row, query in enumerate((NORTH, EAST)):
        assert answer(method, query).pool.tolist() == together.pool[row : row + 1].tolist()


def test_a_ranking_carries_what_belongs_to_queries_and_catalog(plane):
    plane.popularity = Popularity(torch.arange(6), 9)
    z = plane.encode_queries(["east"])
    sets = plane.ranked_sets(z, torch.tensor([[3, 0, -1]]), 3, ["east"])
    assert sets.query_texts == ["east"]
    assert sets.catalog is plane.catalog
    assert sets.popularity is plane.popularity
    assert sets.mask.tolist() == [[True, True, False]]
    assert sets.item_embeddings[0, 2].tolist() == [0, 0]
    assert plane.ranked_sets(z, torch.tensor([[3, 0]]), 1).query_texts is None


def test_a_pool_smaller_than_the_set(plane):
    with pytest.raises(
        InputError, match=r"at least 3 items, .* found a pool of 2. Raise the pool size"
    ):
        answer(NoFanout(plane, set_size=3, pool_size=2), EAST)
