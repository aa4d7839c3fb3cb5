"""Queries → weak fan-outs made from catalog text alone: what a small model is warm-started on."""

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.search import Searcher

STOP_WORDS = frozenset(
    (
        "a",
        "an",
        "and",
        "at",
        "by",
        "for",
        "from",
        "in",
        "into",
        "of",
        "on",
        "or",
        "the",
        "to",
        "with",
    )
)


class FanoutTeacher(ABC):
    """Writes additions for a query, to be imitated."""

    @abstractmethod
    def additions(
        self, searcher: Searcher, queries: Sequence[Query], vectors: Tensor, size: int, seed: int
    ) -> list[list[str]]:
        """Return ``size`` additions of one to three words for each query."""


class NearbyWords(FanoutTeacher):
    """Words of random nearby items: the offline stand-in for an untuned language model.

    It is paraphrase-prone on purpose: the items nearest to a query repeat each other.

    Args:
        near: The items are drawn among this many nearest to the query.
        words: Most words in an addition.
    """

    def __init__(self, near: int = 50, words: int = 3) -> None:
        self.near = near
        self.words = words

    def additions(
        self, searcher: Searcher, queries: Sequence[Query], vectors: Tensor, size: int, seed: int
    ) -> list[list[str]]:
        """Draw an item for each addition, then one to three of its words in a row."""
        depth = min(self.near, len(searcher.catalog))
        _, rows = searcher.index.search(vectors, depth)
        texts = searcher.catalog.texts
        return [
            [
                span(texts[draw.choice(nearby)], query.text, self.words, draw)
                for draw in [random.Random(f"{seed}/{query.id}")]
                for _ in range(size)
            ]
            for query, nearby in zip(queries, rows.tolist())
        ]


class ReferenceWords(FanoutTeacher):
    """Words of the items of each query's reference set (WSCR), each item at least once if it fits.

    Args:
        words: Most words in an addition.
    """

    def __init__(self, words: int = 3) -> None:
        self.words = words

    def additions(
        self, searcher: Searcher, queries: Sequence[Query], vectors: Tensor, size: int, seed: int
    ) -> list[list[str]]:
        """Deal the reference items round in random order and take words of each.

        Raises:
            InputError: A query has no reference set.
        """
        texts = searcher.catalog.texts
        written = []
        for query in queries:
            rows = searcher.catalog.rows(query.references)
            if not rows:
                raise InputError(
                    f"Words of reference sets need queries with references, found none for query "
                    f"'{query.id}'; use NearbyWords for such queries."
                )
            draw = random.Random(f"{seed}/{query.id}")
            dealt: list[int] = []
            while len(dealt) < size:
                dealt += draw.sample(rows, len(rows))
            written.append([span(texts[row], query.text, self.words, draw) for row in dealt[:size]])
        return written


def span(text: str, query: str, most: int, draw: random.Random) -> str:
    """Return one to ``most`` neighboring words of ``text`` that the query does not have.

    Examples:
        >>> span("Linen shirt in white", "white linen", 1, random.Random(0))
        'shirt'
    """
    taken = set(words(query)) | STOP_WORDS
    free = [word for word in words(text) if word not in taken]
    if not free:
        free = words(text)
    length = min(draw.randint(1, most), len(free))
    start = draw.randint(0, len(free) - length)
    return " ".join(free[start : start + length])


def words(text: str) -> list[str]:
    """Return the lower-case words of ``text``; the text itself where it has none."""
    return re.findall(r"\w+", text.lower()) or [text]
