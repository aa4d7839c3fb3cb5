"""The contract of everything that answers a query: baselines, teachers and retrievers alike."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from r4t.data.queries import Query
from r4t.sets import SetBatch


@runtime_checkable
class Method(Protocol):
    """Answers queries with sets of k items, each with a pool of P distinct items.

    An answer depends on the query's id, its text and the draw, never on the batch. Methods that
    rank items search with no directions: theirs are None.

    Attributes:
        key: What a user types: "mmr".
        name: What tables show: "MMR".
        draws: Number of different answers to a query: 1 if it is deterministic (every draw is then
            the same), None if there are as many as asked for.
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
