"""The contract of everything that answers a query: baselines, teachers and retrievers alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.search import Searcher
from r4t.sets import SetBatch, pad_rows


@runtime_checkable
class Method(Protocol):
    """Answers queries with sets of k items, each with a pool of P distinct items.

    An answer depends on the query's id, its text and the draw, never on the batch. Methods that
    rank items search with no directions: theirs are None.

    Attributes:
        key: What a user types: "mmr".
        name: What tables show: "MMR".
        draws: Number of different answers to a query: 1 if it is deterministic (every draw is then
            the same), None if there is no limit.
    """

    key: str
    name: str
    draws: int | None

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries.

        Args:
            queries: B queries.
            vectors: (B, d) their unit vectors.
            draw: Which of the different answers.
        """
        ...


@runtime_checkable
class DrawsDirections(Method, Protocol):
    """A method whose directions of several draws are known before anything is retrieved.

    Attributes:
        searcher: The frozen retriever.
        pool_size: Number P of distinct items.
    """

    searcher: Searcher
    pool_size: int

    def draw_directions(
        self, queries: Sequence[Query], vectors: Tensor, draws: Sequence[int]
    ) -> tuple[Tensor, list[list[str]] | None]:
        """Return directions (B, M, k, d) of M draws, zero where one is missing.

        Also returns the texts of the directions, if they have any: B · M lists, grouped by query.
        """
        ...


@dataclass
class Ranking(ABC):
    """A method that ranks items: the first k are the set, the first P the pool; no directions.

    Args:
        searcher: The frozen retriever.
        set_size: Number k of items.
        pool_size: Number P of distinct items.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    _: KW_ONLY
    key: str = ""
    name: str = ""
    draws: int | None = 1

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        texts = [query.text for query in queries]
        return self.searcher.ranked_sets(vectors, self.rank(queries, vectors), self.set_size, texts)

    @abstractmethod
    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Return P distinct catalog rows (B, P) for B queries (B, d), best first."""


def references_of(name: str, queries: Sequence[Query], searcher: Searcher) -> Tensor:
    """Return the catalog rows (B, R) of the references that the oracle ``name`` reads, −1 padded.

    Raises:
        InputError: If a query has no references.
    """
    for query in queries:
        if not query.references:
            raise InputError(
                expected=f"references for every query, by which {name} chooses",
                found=f"none for {query.text!r} (id {query.id!r})",
                remedy="Leave the method out for such queries.",
            )
    return pad_rows([searcher.catalog.rows(query.references) for query in queries])
