"""Several generated sets → the directions that are searched with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from r4t.errors import check_least
from r4t.geometry import distinct_first, take_turns
from r4t.search import Merge, Searcher
from r4t.sets import SetBatch

# Fields of a set that has no pool yet.
KNOWN = frozenset({"directions", "catalog", "popularity", "bank"})


class Choice(ABC):
    """Keeps k directions of M generated sets.

    Args:
        draws: Sets M generated per query, at least 1.

    Attributes:
        bank: (M, d) query vectors that a saved model brings along, so that its choice does not depend
            on the queries of a run; those of the searcher by default.
        needs: Fields of sets that it reads.

    Raises:
        InputError: If ``draws`` is below 1.
    """

    pools_rows: bool  # whether k may exceed the L rows of a set
    label = "choice"  # of the rows of tables
    bank: Tensor | None = None
    needs: frozenset[str] = frozenset()

    def __init__(self, draws: int) -> None:
        check_least({"draws": (draws, 1)})
        self.draws = draws

    @abstractmethod
    def places(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """Return where the k = ``size`` directions to keep are: (B, k), among the M·L rows of a query.

        Queries are (B, d), rows (B, M, L, d). k is at most L, or M·L for a choice that pools rows.
        """

    def ranked(
        self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``places``, and items (B, n), −1 for none, that follow the members in the pool, if any."""
        return self.places(searcher, queries, rows, size), None

    def __call__(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """Choose directions (B, k, d); arguments as of ``places``."""
        places = self.places(searcher, queries, rows, size)
        return rows.flatten(1, 2).take_along_dim(places.unsqueeze(-1), 1)

    def retrieve(
        self,
        searcher: Searcher,
        queries: Tensor,
        rows: Tensor,
        size: int,
        *,
        texts: Sequence[Sequence[str]] | None = None,
        query_texts: list[str] | None = None,
        pool_size: int | None = None,
        merge: Merge = take_turns,
    ) -> SetBatch:
        """Choose k = ``size`` directions and search with them; zero rows, missing ones, come last.

        Args:
            searcher: The frozen retriever.
            queries: (B, d) unit vectors.
            rows: (B, M, L, d) unit vectors or zero.
            size: Number k of directions.
            texts: The sub-queries of each of the B·M sets, grouped by query, for the sets to carry.
            query_texts: B texts of the queries, for the sets to carry.
            pool_size: Number P of distinct items; no pool by default.
            merge: Makes the pool from the directions' rankings.
        """
        places, first = self.ranked(searcher, queries, rows, size)
        pooled, (count, length) = rows.flatten(1, 2), rows.shape[1:3]
        present = pooled.abs().sum(-1).gather(1, places) > 0
        order = present.int().argsort(dim=1, descending=True, stable=True)
        places, counts = places.gather(1, order), present.sum(1).tolist()
        kept = None
        if texts is not None:
            kept = [
                [texts[query * count + place // length][place % length] for place in row[:known]]
                for query, (row, known) in enumerate(zip(places.tolist(), counts))
            ]
        sets = searcher.retrieve(
            queries,
            pooled.take_along_dim(places.unsqueeze(-1), 1),
            texts=kept,
            query_texts=query_texts,
            pool_size=pool_size,
            merge=merge,
        )
        if first is None or sets.pool is None:
            return sets
        pool = distinct_first(torch.cat([sets.items, first, sets.pool], dim=1), sets.pool.shape[1])
        return replace(sets, pool=pool, rankings=None)

    def facts(self) -> dict[str, Any]:
        """Return class and arguments as plain values to save; refuse objects, which have no name."""
        return {"keep": type(self).__name__, "draws": self.draws}
