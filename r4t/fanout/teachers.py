"""Queries → weak fan-outs made from catalog text alone, to warm-start a small model."""

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.search import Searcher

STOP_WORDS = set(re.findall(r"\w+", "a an and at by for from in into of on or the to with"))


class FanoutTeacher(ABC):
    """Writes additions for a query, to be imitated.

    Attributes:
        whole: Whether they are whole sub-queries rather than words to add to the query.
    """

    whole: bool = False

    @abstractmethod
    def additions(
        self, searcher: Searcher, queries: Sequence[Query], vectors: Tensor, size: int, seed: int
    ) -> list[list[str]]:
        """Return ``size`` additions of one to three words for each query."""


@dataclass
class NearbyWords(FanoutTeacher):
    """Words of random nearby items: the offline stand-in for an untuned language model.

    It tends to paraphrase, on purpose: the items nearest to a query repeat each other.

    Args:
        near: The items are drawn from this many nearest to the query.
        words: Most words in an addition.
    """

    near: int = 50
    words: int = 3

    def additions(
        self, searcher: Searcher, queries: Sequence[Query], vectors: Tensor, size: int, seed: int
    ) -> list[list[str]]:
        """Draw an item for each addition, then one to three of its words in a row."""
        _, rows = searcher.index.search(vectors, min(self.near, len(searcher.catalog)))
        texts, written = searcher.catalog.texts, []
        for query, nearby in zip(queries, rows.tolist()):
            draw = random.Random(f"{seed}/{query.id}")
            written.append(
                [
                    span(texts[draw.choice(nearby)], query.text, self.words, draw)
                    for _ in range(size)
                ]
            )
        return written


@dataclass
class ReferenceWords(FanoutTeacher):
    """Words of the items in each query's reference set (WSCR), each item at least once if it fits.

    Args:
        words: Most words in an addition.
    """

    words: int = 3

    def additions(
        self, searcher: Searcher, queries: Sequence[Query], vectors: Tensor, size: int, seed: int
    ) -> list[list[str]]:
        """Go through the reference items in random order, again and again, and take words of each.

        Raises:
            InputError: If a query has no reference set.
        """
        texts, written = searcher.catalog.texts, []
        for query in queries:
            rows = reference_rows(searcher, query)
            draw = random.Random(f"{seed}/{query.id}")
            order: list[int] = []
            while len(order) < size:
                order += draw.sample(rows, len(rows))
            written.append([span(texts[row], query.text, self.words, draw) for row in order[:size]])
        return written


@dataclass
class ReferenceItems(FanoutTeacher):
    """Whole texts of the items in each query's reference set (WSCR), in a new random order each time.

    A set of fewer than k items is written as it is: no item comes twice.
    """

    whole = True

    def additions(
        self, searcher: Searcher, queries: Sequence[Query], vectors: Tensor, size: int, seed: int
    ) -> list[list[str]]:
        """Shuffle the texts of the reference items; at most ``size`` of them.

        Raises:
            InputError: If a query has no reference set.
        """
        written = []
        for query in queries:
            rows = reference_rows(searcher, query)
            draw = random.Random(f"{seed}/{query.id}")
            order = draw.sample(rows, min(size, len(rows)))
            written.append([searcher.catalog.texts[row] for row in order])
        return written


def reference_rows(searcher: Searcher, query: Query) -> list[int]:
    """Return the catalog rows of a query's references.

    Raises:
        InputError: If it has none.
    """
    rows = searcher.catalog.rows(query.references)
    if not rows:
        raise InputError(
            expected="queries with references, for a teacher that writes of reference sets",
            found=f"none for query '{query.id}'",
            remedy="Use NearbyWords for such queries.",
        )
    return rows


def span(text: str, query: str, most: int, draw: random.Random) -> str:
    """Return one to ``most`` neighboring words of ``text`` that the query does not contain.

    Examples:
        >>> span("Linen shirt in white", "white linen", 1, random.Random(0))
        'shirt'
    """
    taken = set(words(query)) | STOP_WORDS
    free = [word for word in words(text) if word not in taken] or words(text)
    length = min(draw.randint(1, most), len(free))
    start = draw.randint(0, len(free) - length)
    return " ".join(free[start : start + length])


def words(text: str) -> list[str]:
    """Return the lower-case words of ``text``; the text itself if it has none."""
    return re.findall(r"\w+", text.lower()) or [text]
