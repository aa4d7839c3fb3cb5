"""Queries → sub-queries of words from nearby items, without a model: what a warm start imitates."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from r4t.data.queries import Query
from r4t.fanout.teachers import FanoutTeacher, NearbyWords
from r4t.search import Searcher
from r4t.sets import SetBatch


@dataclass
class AddedWords:
    """Searches with the query and words that a teacher of the warm start adds to it.

    Zero-shot imitates these sub-queries; this is the teacher itself.

    Args:
        searcher: The frozen retriever.
        set_size: Number k of sub-queries.
        pool_size: Number P of distinct items.
        teacher: Adds one to three words of one of the 50 nearest items by default; seeded by the
            query's id and the draw.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    teacher: FanoutTeacher = field(default_factory=NearbyWords)
    key: str = "nearby-words"
    name: str = "Nearby words"
    draws: int | None = None

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        additions = self.teacher.additions(self.searcher, queries, vectors, self.set_size, draw)
        texts = [query.text for query in queries]
        return self.searcher.retrieve_texts(
            vectors,
            [[f"{text} {words}" for words in added] for text, added in zip(texts, additions)],
            self.set_size,
            query_texts=texts,
            pool_size=self.pool_size,
        )
