"""Queries → their nearest items, by a plain search."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from r4t.data.queries import Query
from r4t.methods.method import Ranking


@dataclass(kw_only=True)
class NoFanout(Ranking):
    """The query itself retrieves: its k nearest items, and its P nearest as pool."""

    key: str = "no-fan-out"
    name: str = "No fan-out"

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by cosine with the query."""
        return self.searcher.nearest(vectors, self.pool_size)[1]
