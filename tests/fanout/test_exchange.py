import torch

from r4t.data.queries import Query
from r4t.fanout.exchange import exchanged
from r4t.fanout.formats import Expand, Full


def test_every_query_is_given_every_list(plane):
    queries = [Query("p", "east", "mood", ("a", "b")), Query("q", "north", "mood")]
    sets = exchanged(queries, ["north\nwest\n", "unknown\n"], Expand(set_size=2), plane, 3)
    lists = [["east north", "east west"], ["east unknown"]]
    lists += [["north north", "north west"], ["north unknown"]]
    assert sets.texts == lists
    assert sets.query_texts == ["east", "east", "north", "north"]
    assert sets.references.tolist() == [[0, 1], [0, 1], [-1, -1], [-1, -1]]
    # East and north is at 45 degrees, where the nearest item is c at 30; east and west cancel.
    assert sets.items.tolist() == [[2, -1], [0, -1], [3, 3], [3, -1]]
    assert sets.pool.shape == (4, 3)


def test_whole_subqueries_and_the_anchor_of_the_format(plane):
    queries = [Query("p", "east", "mood"), Query("q", "north", "mood")]
    sets = exchanged(queries, ["west\n"], Full(set_size=1, anchor=0.5), plane)
    assert sets.texts == [["west"], ["west"]]
    # Half the query and half the list: west and north make 135 degrees.
    turned = torch.tensor([135.0]).deg2rad()
    expected = torch.stack([turned.cos(), turned.sin()], 1)
    assert torch.allclose(sets.directions[1], expected, atol=1e-6)
    assert sets.pool is None
