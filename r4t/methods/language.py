"""A fan-out language model → a method: its sub-queries search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from r4t.data.queries import Query
from r4t.geometry import take_turns
from r4t.search import Merge, Searcher
from r4t.sets import SetBatch
from r4t.support.cache import Cache
from r4t.support.seeds import query_seed

if TYPE_CHECKING:
    from r4t.fanout.model import FanoutModel

AT_ONCE = 64  # fan-outs written together: what they remember of their prompts fills the memory


class SubqueryWriter:
    """Writes each draw of a query once, however many methods ask for it.

    A single draw, the best of N, its oracle and rank fusion all begin with the same draws.

    Args:
        model: A fan-out model, whose draws depend on text, seed and temperature alone.
        temperature: Of sampling.
        cached: Draws to keep; those unused for longest go first.
    """

    def __init__(
        self, model: "FanoutModel", temperature: float = 0.9, cached: int = 10_000
    ) -> None:
        self.model, self.temperature = model, temperature
        self._drafts = Cache[tuple[str, int], list[str]](cached)

    def __call__(self, queries: Sequence[Query], draws: Sequence[int]) -> list[list[str]]:
        """Return B · len(draws) lists of sub-queries, grouped by query."""
        keys = [(query.text, query_seed(query.id, draw)) for query in queries for draw in draws]
        return self._drafts.get(keys, self._write)

    def _write(self, keys: list[tuple[str, int]]) -> list[list[str]]:
        lists = []
        for start in range(0, len(keys), AT_ONCE):
            texts, seeds = zip(*keys[start : start + AT_ONCE])
            lists += self.model.sample(list(texts), list(seeds), 1, self.temperature).subqueries
        return lists


@dataclass
class LanguageMethod:
    """Searches with the sub-queries that a fan-out language model writes.

    Args:
        searcher: The frozen retriever.
        writer: Shared by the methods of one model.
        pool_size: Number P of distinct items.
        merge: Makes the pool from the sub-queries' rankings.
    """

    searcher: Searcher
    writer: SubqueryWriter
    pool_size: int = 150
    merge: Merge = take_turns
    key: str = "folm"
    name: str = "R4T-FOLM"
    draws: int | None = None

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        return self.sets(queries, vectors, [draw])

    def draw_directions(
        self, queries: Sequence[Query], vectors: Tensor, draws: Sequence[int]
    ) -> tuple[Tensor, list[list[str]] | None]:
        """See ``DrawsDirections``."""
        form, texts = self.writer.model.form, self.writer(queries, draws)
        repeated = vectors.repeat_interleave(len(draws), 0)
        rows = self.searcher.encode_lists(repeated, texts, form.set_size, form.anchor)
        return rows.unflatten(0, (len(queries), len(draws))), texts

    def sets(self, queries: Sequence[Query], vectors: Tensor, draws: Sequence[int]) -> SetBatch:
        """Answer B queries once for each draw: B · len(draws) sets, grouped by query."""
        return self._retrieve(queries, vectors, self.writer(queries, draws), self.pool_size)

    def samples(
        self, queries: Sequence[Query], vectors: Tensor, samples: int, pool_size: int | None
    ) -> SetBatch:
        """Answer B queries with G fan-outs each, written together: B·G sets, grouped by query.

        Their seeds are those of no draw.
        """
        texts = [query.text for query in queries]
        seeds = [query_seed(query.id, -1) for query in queries]
        fanouts = self.writer.model.sample(texts, seeds, samples, self.writer.temperature)
        return self._retrieve(queries, vectors, fanouts.subqueries, pool_size)

    def _retrieve(
        self,
        queries: Sequence[Query],
        vectors: Tensor,
        subqueries: list[list[str]],
        pool_size: int | None,
    ) -> SetBatch:
        form, group_size = self.writer.model.form, len(subqueries) // len(queries)
        return self.searcher.retrieve_texts(
            vectors.repeat_interleave(group_size, 0),
            subqueries,
            form.set_size,
            query_texts=[query.text for query in queries for _ in range(group_size)],
            pool_size=pool_size,
            merge=self.merge,
            anchor=form.anchor,
        )
