import pytest

from r4t.data.queries import Query
from r4t.evaluation.latency import measure_latency
from r4t.methods.nearest import NoFanout
from r4t.support.stopwatch import Stopwatch


class Clock:
    """Stands still unless told to advance."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_inner_parts_count_for_the_outer():
    clock = Clock()
    watch = Stopwatch(clock)
    with watch.part("search"):
        clock.now += 2
        with watch.part("encode"):
            clock.now += 3
    with watch.part("encode"):
        clock.now += 4
    assert watch.seconds == {"search": 5, "encode": 4}


def test_latency_by_parts(plane):
    clock = Clock()
    plane.watch = Stopwatch(clock)
    encoder, index = plane.encoder, plane.index
    calls = []

    class Slow:
        """Encoding takes 1 s, a search 5 s, thinking 10 s: 100 s at the very first call."""

        key, name, draws = "slow", "Slow", None

        def encode(self, texts):
            clock.now += 1
            return encoder.encode(texts)

        def search(self, directions, top_k):
            clock.now += 5
            return index.search(directions, top_k)

        def __call__(self, queries, vectors, *, draw=0):
            clock.now += 10 if calls else 100
            calls.append(("".join(query.id for query in queries), draw))
            return plain(queries, vectors)

    plane.encoder = plane.index = slow = Slow()
    plain = NoFanout(plane, 2, 4)
    queries = [Query(name, "east", "set") for name in "abc"]
    seconds = measure_latency(slow, plane, queries, batch=2, calls=3, fresh=iter(range(7, 20)))
    assert seconds == pytest.approx({"encode": 0.5, "generate": 5.0, "search": 2.5, "total": 8.0})
    # A draw of its own for each call, so that nothing is remembered.
    assert calls == [("ab", 7), ("ca", 8), ("bc", 9), ("ab", 10)]


def test_a_searcher_without_a_stopwatch_is_given_one(plane):
    plane.watch = None
    seconds = measure_latency(NoFanout(plane, 2, 4), plane, [Query("a", "east", "set")], batch=1)
    assert seconds["total"] >= seconds["search"] > 0
