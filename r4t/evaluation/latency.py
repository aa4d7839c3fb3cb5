"""A method and queries → seconds per query, for encoding, generating and searching apart."""

from collections.abc import Callable, Sequence
from statistics import median

from torch import Tensor

from r4t.data.queries import Query
from r4t.index import Index
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.stopwatch import Stopwatch

PARTS = ("encode", "generate", "search")


class TimedIndex:
    """An index whose searches count as the part "search"."""

    def __init__(self, index: Index, watch: Stopwatch) -> None:
        self._index = index
        self._watch = watch

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """As the index within."""
        with self._watch.part("search"):
            return self._index.search(directions, top_k)


class TimedSearcher(Searcher):
    """A searcher that knows how long it encoded and searched; build the methods on it.

    Texts of sub-queries count as "encode", pools as "search"; what remains of a method's time is
    "generate": a language model, a denoiser, a re-ranking.
    """

    watch: Stopwatch

    def __init__(self, searcher: Searcher, watch: Stopwatch | None = None) -> None:
        watch = Stopwatch() if watch is None else watch
        index = TimedIndex(searcher.index, watch)
        super().__init__(
            searcher.catalog, searcher.encoder, index, searcher.popularity, watch=watch
        )


def measure_latency(
    method: Callable[[list[Query], Tensor], SetBatch],
    searcher: TimedSearcher,
    queries: Sequence[Query],
    batch: int,
    calls: int = 5,
) -> dict[str, float]:
    """Time a method from text to set, in batches of one size.

    Args:
        method: Built on ``searcher``. Where it offers ``uncached``, that is timed: what it remembers
            from before must not count.
        searcher: Encodes the queries, and tells the parts apart.
        queries: Taken in turn; repeated where there are too few.
        batch: Queries per call.
        calls: Timed calls, after one that is not timed; the median call is reported.

    Returns:
        "encode", "generate", "search" and "total": seconds per query, of the call whose total is
        the median.
    """
    method = getattr(method, "uncached", lambda: method)()
    timed: list[dict[str, float]] = []
    for call in range(calls + 1):
        chosen = [queries[(call * batch + row) % len(queries)] for row in range(batch)]
        found = time_call(method, searcher, chosen)
        timed.append({part: seconds / batch for part, seconds in found.items()})
    del timed[0]
    middle = median(row["total"] for row in timed)
    return min(timed, key=lambda row: abs(row["total"] - middle))


def time_call(
    method: Callable[[list[Query], Tensor], SetBatch],
    searcher: TimedSearcher,
    queries: list[Query],
) -> dict[str, float]:
    """Time one call of a method, from text to set.

    Args:
        method: Built on ``searcher``.
        searcher: Encodes the queries, and tells the parts apart.
        queries: One batch.

    Returns:
        "encode", "generate", "search" and "total": seconds; the parts add up to the total.
    """
    watch = searcher.watch
    watch.take()
    start = watch.read()
    method(queries, searcher.encode_queries([query.text for query in queries]))
    total = watch.read() - start
    encode, search = (watch.seconds.get(part, 0.0) for part in ("encode", "search"))
    return {
        "encode": encode,
        "generate": total - encode - search,
        "search": search,
        "total": total,
    }
