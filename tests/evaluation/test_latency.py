import pytest

from r4t.data.queries import Query
from r4t.evaluation.latency import TimedSearcher, measure_latency
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
    searcher = TimedSearcher(plane, Stopwatch(clock))
    encoder, index = searcher.encoder, searcher.index._index
    batches = []

    class Slow:
        """Encoding takes 1 s, a search 5 s, thinking 10 s: 100 s at the very first call."""

        def encode(self, texts):
            clock.now += 1
            return encoder.encode(texts)

        def search(self, directions, top_k):
            clock.now += 5
            return index.search(directions, top_k)

    searcher.encoder, searcher.index._index = Slow(), Slow()
    search = NoFanout(searcher, 2, 4)

    def method(queries, z):
        clock.now += 10 if batches else 100
        batches.append([query.id for query in queries])
        return search(queries, z)

    queries = [Query(name, "east", "set") for name in "abc"]
    found = measure_latency(method, searcher, queries, batch=2, calls=3)
    assert found == pytest.approx({"encode": 0.5, "generate": 5.0, "search": 2.5, "total": 8.0})
    assert batches == [["a", "b"], ["c", "a"], ["b", "c"], ["a", "b"]]
