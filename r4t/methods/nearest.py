"""Queries → their nearest items, by a plain search."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from r4t.data.queries import Query
from r4t.search import Searcher
from r4t.sets import SetBatch


@dataclass
class NoFanout:
    """The query itself retrieves: its k nearest items, and its P nearest as pool."""

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    key: str = "no-fan-out"
    name: str = "No fan-out"
    draws: int | None = 1

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        _, ranking = self.searcher.nearest(vectors, self.pool_size)
        texts = [query.text for query in queries]
        return self.searcher.ranked_sets(vectors, ranking, self.set_size, texts)
