"""A method and queries → seconds per query, for encoding, generating and searching apart."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.index import Index
from r4t.search import Searcher
from r4t.sets import SetBatch

PARTS = ("encode", "generate", "search")


class Stopwatch:
    """Adds up seconds by part; a part timed inside another counts for the outer one."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._running = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block as part of ``name``."""
        if self._running:
            yield
            return
        self._running = True
        start = self.read()
        try:
            yield
        finally:
            self._running = False
            self.seconds[name] = self.seconds.get(name, 0.0) + self.read() - start

    def read(self) -> float:
        """Seconds now, after the accelerator has done what it was given."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self._clock()


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

    def __init__(self, searcher: Searcher, watch: Stopwatch | None = None) -> None:
        self.watch = Stopwatch() if watch is None else watch
        index = TimedIndex(searcher.index, self.watch)
        super().__init__(searcher.catalog, searcher.encoder, index, searcher.popularity)

    def encode(self, texts: list[str]) -> Tensor:
        """As ``Searcher.encode``."""
        with self.watch.part("encode"):
            return super().encode(texts)

    def fan_out(self, *args: Any, **kwargs: Any) -> SetBatch:
        """As ``Searcher.fan_out``."""
        with self.watch.part("search"):
            return super().fan_out(*args, **kwargs)


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
    watch = searcher.watch
    method = getattr(method, "uncached", lambda: method)()
    timed: list[dict[str, float]] = []
    for call in range(calls + 1):
        chosen = [queries[(call * batch + row) % len(queries)] for row in range(batch)]
        watch.seconds.clear()
        start = watch.read()
        method(chosen, searcher.encode_queries([query.text for query in chosen]))
        total = watch.read() - start
        encode, search = (watch.seconds.get(part, 0.0) for part in ("encode", "search"))
        row = {"encode": encode, "generate": total - encode - search, "search": search}
        timed.append({part: seconds / batch for part, seconds in (row | {"total": total}).items()})
    del timed[0]
    middle = median(row["total"] for row in timed)
    return min(timed, key=lambda row: abs(row["total"] - middle))
