"""Queries → the sets of a plain search, and the contract of all methods that are compared.

A *method* is a callable with a ``name``: queries and their embeddings (B, d) → ``SetBatch`` of k
items and a pool of P distinct items. Methods that rank items have no directions (``None``).
All take their random choices from the seed and the query's id: a query's answer does not depend
on the batch it is in. Re-ranking is in ``rerank``, memory of the training sets in ``memory``, the
ends of the scale in ``extremes``, fan-outs in ``learned``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.search import Searcher
from r4t.sets import SetBatch


class Method(Protocol):
    """What the evaluation compares."""

    name: str

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries, given their embeddings (B, d)."""
        ...


def ranked_sets(
    searcher: Searcher,
    z: Tensor,
    ranking: Tensor,
    set_size: int,
    queries: Sequence[Query] | None = None,
) -> SetBatch:
    """The set of a ranking: its first k items; all of it is the pool; no directions.

    Args:
        searcher: Whose catalog the rows are of.
        z: (B, d) unit query vectors.
        ranking: (B, P) distinct catalog rows, best first, −1 padded.
        set_size: Number k of items, at most P.
        queries: The B queries, whose texts are carried along.

    Raises:
        InputError: The pool is smaller than the set.
    """
    if ranking.shape[1] < set_size:
        raise InputError(
            f"A set is the beginning of its pool — found a set of {set_size} and a pool of "
            f"{ranking.shape[1]} — make the pool at least as large as the set."
        )
    items = ranking[:, :set_size]
    return SetBatch(
        query=z,
        items=items,
        item_embeddings=searcher.embeddings(items),
        mask=items >= 0,
        pool=ranking,
        query_texts=None if queries is None else [query.text for query in queries],
        catalog=searcher.catalog,
        popularity=searcher.popularity,
    )


@dataclass
class NoFanout:
    """The query itself retrieves: its k nearest items, and its P nearest as pool."""

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    name: str = "No fan-out"

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        _, ranking = self.searcher.index.search(z, self.pool_size)
        return ranked_sets(self.searcher, z, ranking, self.set_size, queries)
