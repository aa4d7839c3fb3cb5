"""A method and queries → seconds per query, for encoding, generating and searching apart."""

from collections.abc import Iterator, Sequence
from itertools import count
from statistics import median

from r4t.data.queries import Query
from r4t.methods.method import Method
from r4t.search import Searcher
from r4t.support.stopwatch import Stopwatch

PARTS = ("encode", "generate", "search")
FRESH = 10**6  # a draw beyond those that an evaluation uses


def measure_latency(
    method: Method,
    searcher: Searcher,
    queries: Sequence[Query],
    batch: int,
    calls: int = 5,
    fresh: Iterator[int] | None = None,
) -> dict[str, float]:
    """Time a method from text to set, in batches of one size.

    Each call asks for another draw, if the method has several, so that a language model writes anew
    instead of reading its cache.

    Args:
        method: Built on ``searcher``.
        searcher: Encodes the queries.
        queries: Taken in turn; repeated if there are too few.
        batch: Queries per call.
        calls: Timed calls, after one that is not timed; the one with the median total is reported.
        fresh: Draws not requested before; shared by methods that share a language model.

    Returns:
        "encode", "generate", "search" and "total": seconds per query.
    """
    fresh = count(FRESH) if fresh is None else fresh
    timed: list[dict[str, float]] = []
    for call in range(calls + 1):
        chosen = [queries[(call * batch + row) % len(queries)] for row in range(batch)]
        draw = next(fresh) if method.draws is None else 0
        seconds = time_call(method, searcher, chosen, draw)
        timed.append({part: total / batch for part, total in seconds.items()})
    middle = median(row["total"] for row in timed[1:])
    return min(timed[1:], key=lambda row: abs(row["total"] - middle))


def time_call(
    method: Method, searcher: Searcher, queries: Sequence[Query], draw: int = 0
) -> dict[str, float]:
    """Time one call of a method, built on ``searcher``, from text to set.

    Encoding sub-queries counts as "encode", and retrieving pools as "search". The rest of the time
    is "generate": a language model, a denoiser, a re-ranking. The searcher gets a stopwatch if it
    has none.

    Returns:
        "encode", "generate", "search" and "total": seconds; the parts add up to the total.
    """
    watch = searcher.watch = Stopwatch() if searcher.watch is None else searcher.watch
    watch.take()
    start = watch.read()
    method(queries, searcher.encode_queries([query.text for query in queries]), draw=draw)
    total = watch.read() - start
    seconds = watch.take()
    encode, search = seconds.get("encode", 0.0), seconds.get("search", 0.0)
    generate = total - encode - search
    return {"encode": encode, "generate": generate, "search": search, "total": total}
