"""Items ranked by the training sets that hold them, by hand."""

import pytest

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.methods import votes
from r4t.methods.nearest import NoFanout
from r4t.methods.votes import MostPopular, NearestSetsByVote, mean_recall

EAST, NORTH = Query("1", "east", "set"), Query("2", "north", "set")
TRAINING = [
    Query("t1", "east east north", "set", ("a", "d", "a")),
    Query("t2", "west", "set", ("e", "d")),
    Query("t3", "east east east north", "set", ("f", "d")),
    Query("t4", "north", "mood"),
]
TWINS = [Query("t3", "east", "set"), Query("9", "East, EAST east: north!", "set")]  # of t3


def names(rows):
    return ["".join("abcdef"[row] for row in line) for line in rows.tolist()]


def pools(method, *queries):
    vectors = method.searcher.encode_queries([q.text for q in queries])
    sets = method(list(queries), vectors)
    assert sets.directions is None
    assert sets.items.equal(sets.pool[:, : method.set_size])
    return names(sets.pool)


def test_popular_items_are_the_same_for_every_query(plane):
    method = MostPopular(plane, TRAINING, set_size=2, pool_size=6)
    # d is in three sets; a, e and f are in one each (a twice in the same) and keep their order. b
    # (10 degrees) and c (30) are in none: the nearer to the query comes first.
    assert pools(method, EAST, NORTH) == ["daefbc", "daefcb"]
    assert pools(method, NORTH) == ["daefcb"]
    assert pools(MostPopular(plane, TRAINING, 2, 3), EAST, NORTH) == ["dae", "dae"]


@pytest.mark.parametrize("query", TWINS)
def test_a_querys_own_set_is_not_popular(plane, query):
    method = MostPopular(plane, TRAINING, 2, 6)
    vectors = plane.encode_queries(["east", "east"])
    # Without t3, f is in no set and follows as the item farthest from the east but for e.
    assert names(method([query, EAST], vectors).pool) == ["daebcf", "daefbc"]


@pytest.mark.parametrize(
    ("neighbors", "power", "expected"),
    [
        # The east is nearest to t3 (cosine 3/√10 = .949) and t1 (2/√5 = .894): d has 1.843 votes, f
        # .949, a .894. Then by closeness: b at 10 degrees, c at 30, e at 180.
        (2, 1.0, "dfabce"),
        # One vote each: d has 2, and of f and a the nearer one comes first.
        (2, 0.0, "dafbce"),
        (1, 1.0, "dfabce"),  # t3 alone: f and d have the same votes and are equally near
        # All three sets: d has 3 votes, then a at 0 degrees, f at 270, e at 180.
        (3, 0.0, "dafebc"),
        # t2 is at 180 degrees: its cosine is below 0, so it has no vote.
        (32, 4.0, "dfabce"),
    ],
)
def test_nearest_sets_vote(plane, neighbors, power, expected):
    method = NearestSetsByVote(plane, TRAINING, 2, 6, neighbors, power)
    (found,) = pools(method, EAST)
    if neighbors == 1:
        found = "".join(sorted(found[:2])) + found[2:]
        assert found == expected
    else:
        assert found == expected
    assert pools(method, NORTH, EAST)[1] == pools(method, EAST)[0]


def test_votes_by_hand(plane):
    method = NearestSetsByVote(plane, TRAINING, 2, 6, neighbors=2, power=2.0)
    # Squares of the cosines: 0.9 for t3 (f, d) and 0.8 for t1 (a, d).
    found = method.votes([EAST], plane.encode(["east"]))
    assert found.tolist() == [pytest.approx([0.8, 0, 0, 1.7, 0, 0.9])]


@pytest.mark.parametrize("query", TWINS)
@pytest.mark.parametrize("neighbors", [2, 3])  # three are not left
def test_a_querys_own_set_has_no_vote(plane, query, neighbors):
    method = NearestSetsByVote(plane, TRAINING, 2, 6, neighbors, 0.0)
    # Without t3: d has two votes, a and e one; b, c and f follow.
    assert names(method([query], plane.encode_queries(["east"])).pool) == ["daebcf"]


def test_validation_queries_choose_how_to_vote(plane):
    def chosen(*references):
        asked = [Query(f"v{n}", "east", "set", (each,)) for n, each in enumerate(references)]
        method = NearestSetsByVote(plane, TRAINING, 2, 2, 8, 1.0, asked)
        return method.neighbors, method.power, pools(method, EAST)

    # Three sets are fewer than all numbers of neighbors, so the first, 4, does. One vote each puts a
    # into the pool of two, weights put f there; of equal powers the first is taken.
    assert chosen("a", "a", "f") == (4, 0.0, ["da"])
    assert chosen("a", "f", "f") == (4, 1.0, ["df"])
    assert chosen() == (8, 1.0, ["df"])


def test_mean_recall(plane, monkeypatch):
    # In a pool of two the east has a and b, the north d and c: half of one set, all of the other.
    asked = [Query("1", "east", "set", ("a", "e")), Query("2", "north", "set", ("d",))]
    vectors = plane.encode(["east", "north"])
    for at_once in (64, 1):
        monkeypatch.setattr(votes, "AT_ONCE", at_once)
        assert mean_recall(NoFanout(plane, 2, 2), plane, asked, vectors) == 0.75


def test_what_votes_refuse(plane):
    for kind, name in ((MostPopular, "Most popular items"), (NearestSetsByVote, "Nearest sets by")):
        with pytest.raises(InputError, match=rf"at least 2 .* for {name}.* found 1\. Leave"):
            kind(plane, TRAINING[2:], 2, 4)
        with pytest.raises(InputError, match=r"at most 6 items, .* but found 7\. Ask for fewer"):
            pools(kind(plane, TRAINING, 2, 7), EAST)
    with pytest.raises(InputError, match=r"neighbors .*at least 1.* found 0"):
        NearestSetsByVote(plane, TRAINING, 2, 4, neighbors=0)
    with pytest.raises(InputError, match=r"power .*at least 0.* found -1"):
        NearestSetsByVote(plane, TRAINING, 2, 4, power=-1)
