"""A run and a query → a set of items: the public query-time interface.

from r4t import Retriever
retriever = Retriever.load("runs/toy")
print(retriever("bohemian festival style"))
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from r4t.catalog import BY_DEFAULT
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import distinct_first
from r4t.methods.method import Method
from r4t.methods.registry import MethodContext, find
from r4t.run import Run
from r4t.search import Searcher
from r4t.sets import SetBatch

POOL = 150  # distinct items that a method retrieves, as in the tables

AsQueries = Callable[[Sequence[Query | str]], list[Query]]


@dataclass(frozen=True)
class RetrievedItem:
    """One item of a set."""

    id: str
    text: str
    score: float  # cosine with the nearest direction; with the query if there are no directions
    query_score: float  # cosine with the query
    subquery: str = ""  # text of the nearest direction; empty if directions have none
    metadata: dict[str, Any] = field(default_factory=dict)  # the catalog's columns


@dataclass(frozen=True)
class RetrievedSet:
    """The answer to a query: distinct items, the top items of its directions first.

    Variants of one product count once: another one comes only after all other products of the pool.
    """

    query: str
    items: list[RetrievedItem]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RetrievedItem]:
        return iter(self.items)

    def __str__(self) -> str:
        return "\n".join(f"{item.score:6.3f}  {item.text}" for item in self.items)


class Retriever:
    """Answers broad queries with sets of distinct items: a catalog, a searcher and a method.

    Args:
        searcher: The frozen retriever.
        method: Answers queries; built on ``searcher``.
        as_queries: Gives a typed text its query, whose id decides the draws; the text itself is the
            id by default.
        distinct_by: Which items are variants of one product, as of ``Catalog.variants``.

    Raises:
        InputError: If ``distinct_by`` is no column of the catalog.
    """

    def __init__(
        self,
        searcher: Searcher,
        method: Method,
        as_queries: AsQueries | None = None,
        distinct_by: str = BY_DEFAULT,
    ) -> None:
        self.searcher, self.method = searcher, method
        self._variants = searcher.catalog.variants(distinct_by)
        self._as_queries = _from_text if as_queries is None else as_queries

    @classmethod
    def load(
        cls,
        run: str | Path,
        method: str = "diffusion",
        index: str = "torch",
        set_size: int = 10,
        pool_size: int = POOL,
        distinct_by: str = BY_DEFAULT,
    ) -> "Retriever":
        """Load a run's catalog and index, and one of its methods.

        Args:
            run: Run folder.
            method: Key or name, such as ``diffusion`` (fast), ``student`` (its few-step student,
                faster), ``folm`` (the language model), ``mmr``, or an installed plug-in.
            index: ``torch`` or ``faiss``.
            set_size: Number k of items that the method aims at.
            pool_size: Distinct items retrieved, at most the whole catalog: the largest set possible.
            distinct_by: Which items are variants of one product, as of ``Catalog.variants``:
                ``auto``, a metadata column, or ``none``.

        Raises:
            InputError: If there is no such run or method, or the run lacks what the method needs.
        """
        (entry,) = find([method])
        opened = Run.open(run)
        searcher = opened.searcher(index)
        size = min(max(set_size, pool_size), len(searcher.catalog))
        context = MethodContext(opened, searcher, set_size, size, as_deployed=True)
        return cls(searcher, entry.build(context), opened.as_queries, distinct_by)

    def __call__(self, query: str, size: int = 10, seed: int = 0) -> RetrievedSet:
        """Return ``size`` distinct items for ``query``.

        Other seeds give other sets, unless the method is deterministic. The same query, method and
        seed give the set that ``evaluate`` and ``compare`` show, unless the retriever was exported
        with a choice among draws, which is for users only.

        Raises:
            InputError: If the encoder knows no word of the query, or ``size`` is out of range.
        """
        return self.many([query], size, seed)[0]

    @torch.no_grad()
    def many(self, queries: Sequence[str], size: int = 10, seed: int = 0) -> list[RetrievedSet]:
        """Return one set for each query, in one batch."""
        if size < 1:
            raise InputError(
                expected="a set of at least one item",
                found=f"size {size}",
                remedy="Ask for 10, for example.",
            )
        self.searcher.check_pool(size)
        vectors = self.searcher.encode_queries(list(queries))
        sets = self.method(self._as_queries(queries), vectors, draw=seed)
        sets = sets.one_per_variant(self._variants)
        pool = distinct_first(sets.items, sets.set_size) if sets.pool is None else sets.pool
        if size > pool.shape[1]:
            raise InputError(
                expected=f"a size of at most {pool.shape[1]}, the pool of {self.method.name}",
                found=f"size {size}",
                remedy="Load the retriever with a larger pool_size.",
            )
        rows = [[row for row in line if row >= 0] for line in pool[:, :size].tolist()]
        return [self._set(query, sets, row, rows[row]) for row, query in enumerate(queries)]

    @cached_property
    def _metadata(self) -> dict[str, list[Any]]:
        catalog = self.searcher.catalog
        return {name: catalog.column(name) for name in catalog.columns}

    def _set(self, query: str, sets: SetBatch, row: int, items: list[int]) -> RetrievedSet:
        catalog = self.searcher.catalog
        vectors = catalog.embeddings[items]
        query_scores = vectors @ sets.query[row]
        scores, nearest = query_scores, torch.zeros(len(items), dtype=torch.long)
        if sets.directions is not None:
            cosines = vectors @ sets.directions[row].T
            scores, nearest = cosines.masked_fill(~sets.mask[row], -torch.inf).max(1)
        names = sets.texts[row] if sets.texts is not None else []
        return RetrievedSet(
            query,
            [
                RetrievedItem(
                    id=catalog.ids[item],
                    text=catalog.texts[item],
                    score=round(scores[place].item(), 4),
                    query_score=round(query_scores[place].item(), 4),
                    subquery=names[by] if (by := int(nearest[place])) < len(names) else "",
                    metadata={name: column[item] for name, column in self._metadata.items()},
                )
                for place, item in enumerate(items)
            ],
        )


def _from_text(queries: Sequence[Query | str]) -> list[Query]:
    return [Query(query, query, "") if isinstance(query, str) else query for query in queries]
