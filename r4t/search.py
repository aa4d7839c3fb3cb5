"""Directions → sets of catalog items: the frozen retriever R (paper, §1)."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r4t.catalog import Catalog
from r4t.data.queries import Query
from r4t.encoder import Encoder
from r4t.errors import InputError, check_least
from r4t.geometry import anchored, take_turns
from r4t.index import Index
from r4t.sets import Popularity, SetBatch, facet_members, pad_rows
from r4t.support.cache import Cache
from r4t.support.stopwatch import Stopwatch

Merge = Callable[[Tensor, int], Tensor]  # as take_turns


@dataclass(frozen=True)
class Retrieval:
    """How a step of a run retrieves.

    Args:
        pool_size: Distinct items retrieved for each set, for objectives that need a pool.
        cached: How many texts' vectors, and how many sub-queries' items, the searcher keeps; 0 for
            none.
    """

    pool_size: int | None = None
    cached: int = 0


class Searcher:
    """Maps directions to their nearest catalog items and gathers them into a ``SetBatch``.

    Args:
        catalog: The items.
        encoder: Turns texts into directions; None for a catalog of vectors without a text encoder.
        index: Searches the catalog's embeddings.
        popularity: How often training sets hold each item; every set carries it.
        cached: Number of text vectors, and of sub-query results, to keep for reuse; 0 for none.
            Most sub-queries of a tuning repeat.
        bank: (M, d) unit vectors of training queries; every set carries them.

    Attributes:
        watch: Times encoding and searching, if set.
        vectors: Cache from a text to its vector, if ``cached``.
        neighbors: Cache from a sub-query, the query it is anchored to, and the depth to catalog
            rows, if ``cached``.
    """

    def __init__(
        self,
        catalog: Catalog,
        encoder: Encoder | None,
        index: Index,
        popularity: Popularity | None = None,
        cached: int = 0,
        bank: Tensor | None = None,
    ) -> None:
        check_least({"cached": (cached, 0)})
        self.catalog, self.encoder, self.index = catalog, encoder, index
        self.popularity, self.bank = popularity, bank
        self.watch: Stopwatch | None = None
        self.vectors = Cache[str, Tensor](cached) if cached else None
        self.neighbors = Cache[tuple[Hashable, int], Tensor](cached) if cached else None

    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, d) unit vectors of texts; a zero row if the encoder knows no word of a text.

        Raises:
            InputError: If the catalog has no text encoder.
        """
        if self.encoder is None:
            raise InputError(
                expected="a catalog with a text encoder, to search by text",
                found=f"vectors without one in {self.catalog.folder}",
                remedy="Write the catalog again with --encoder, or search with vectors.",
            )
        with self._part("encode"):
            if self.vectors is None or not texts:
                return self.encoder.encode(texts)
            encode = self.encoder.encode
            return torch.stack(self.vectors.get(texts, lambda new: _rows(encode(new))))

    def encode_queries(self, texts: list[str]) -> Tensor:
        """Return (B, d) unit vectors of queries.

        Raises:
            InputError: If the encoder knows no word of a query.
        """
        vectors = self.encode(texts)
        unknown = (vectors == 0).all(-1).nonzero().flatten().tolist()
        if unknown:
            raise InputError(
                expected="a query with at least one word of the catalog's vocabulary",
                found=f"'{texts[unknown[0]]}', of which the encoder knows no word",
                remedy="Use other words, or an encoder with an open vocabulary (--encoder HUB-NAME).",
            )
        return vectors

    def searchable(self, queries: list[Query]) -> tuple[list[Query], list[Query]]:
        """Split queries into those with a word that the encoder knows and those without."""
        flags = (self.encode([query.text for query in queries]) != 0).any(-1).tolist()
        searchable = [query for query, is_known in zip(queries, flags) if is_known]
        return searchable, [query for query, is_known in zip(queries, flags) if not is_known]

    def unknown(self, text: str) -> list[str]:
        """Return the words of a text that the encoder does not know; empty if it accepts any word."""
        words = getattr(self.encoder, "unknown", None)
        return [] if words is None else list(words(text))

    @property
    def encoder_name(self) -> str:
        """What the encoder is and how wide its vectors are; "none" without one."""
        return "none" if self.encoder is None else self.encoder.describe()

    def nearest(self, vectors: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Return cosines and rows, (B, depth) each, of the items nearest to unit vectors (B, d)."""
        with self._part("search"):
            return self.index.search(vectors, depth)

    def retrieve(
        self,
        query: Tensor,
        directions: Tensor,
        *,
        texts: list[list[str]] | None = None,
        query_texts: list[str] | None = None,
        pool_size: int | None = None,
        merge: Merge = take_turns,
        keys: list[list[Hashable]] | None = None,
    ) -> SetBatch:
        """Retrieve the top-1 item of each direction and, on request, a pool of distinct items.

        Args:
            query: (B, d) unit vectors.
            directions: (B, k, d) unit vectors; a zero row (a text without a known word) is masked.
            texts: Sub-query texts, for the sets to carry.
            query_texts: B texts of the queries, for the sets to carry.
            pool_size: Number P of distinct items; no pool by default.
            merge: Makes the pool from the directions' rankings (B, k, P).
            keys: B lists that name the first members of each set. Members with the same name, in
                this call or a later one, have the same direction and are searched for once. Members
                without a name are masked.

        Raises:
            InputError: If ``pool_size`` exceeds the catalog.
        """
        mask = directions.abs().sum(-1) > 0
        depth = 1 if pool_size is None else self.check_pool(pool_size)
        with self._part("search"):
            if keys is None:
                _, rankings = self.index.search(directions.flatten(0, 1), depth)
                rankings = rankings.view(*directions.shape[:2], depth)
            else:
                rankings = self._find(directions, keys, depth)
            rankings = rankings.masked_fill(~mask.unsqueeze(-1), -1)
            items = rankings[..., 0]
            return self.gathered(
                query,
                items,
                directions,
                texts=texts,
                query_texts=query_texts,
                pool=None if pool_size is None else merge(rankings, pool_size),
                rankings=rankings if pool_size is not None and merge is take_turns else None,
            )

    def gathered(
        self, query: Tensor, items: Tensor, directions: Tensor | None, **fields: Any
    ) -> SetBatch:
        """Return sets of known items (B, k), −1 for a missing one, and ``fields`` of a ``SetBatch``."""
        return SetBatch(
            query=query,
            items=items,
            item_embeddings=self.embeddings(items),
            mask=items >= 0,
            directions=directions,
            catalog=self.catalog,
            popularity=self.popularity,
            bank=self.bank,
            **fields,
        )

    def encode_lists(
        self, query: Tensor, subqueries: list[list[str]], set_size: int, anchor: float = 0.0
    ) -> Tensor:
        """Return anchored directions (B, k, d) of B lists of sub-queries, for queries (B, d).

        Zero where a list is shorter than ``set_size``, or the encoder knows no word of a text. Each
        distinct text is encoded once.
        """
        lists = [texts[:set_size] for texts in subqueries]
        distinct = list(dict.fromkeys(text for texts in lists for text in texts))
        directions = torch.zeros(len(lists), set_size, query.shape[1])
        if distinct:
            vectors = self.encode(distinct)
            place = {text: row for row, text in enumerate(distinct)}
            for row, texts in enumerate(lists):
                directions[row, : len(texts)] = vectors[[place[text] for text in texts]]
        return anchored(query, directions, anchor)

    def retrieve_texts(
        self,
        query: Tensor,
        subqueries: list[list[str]],
        set_size: int,
        *,
        query_texts: list[str] | None = None,
        pool_size: int | None = None,
        merge: Merge = take_turns,
        anchor: float = 0.0,
    ) -> SetBatch:
        """Encode B lists of sub-queries and retrieve for them; arguments as of ``retrieve``.

        A list shorter than ``set_size`` leaves members masked, as does a text without a known word.
        Objectives see anchored directions: groundedness and
        alignment are those of the vectors searched with, not of the text alone. ``set_size`` is the
        number k of sub-queries requested, ``anchor`` the share a of the query in each direction.
        """
        lists = [texts[:set_size] for texts in subqueries]
        # The items of a sub-query depend on its text and, if anchored, on its query.
        owners: Sequence[Hashable] = range(len(lists)) if query_texts is None else query_texts
        keys: list[list[Hashable]] = [
            [(text, owner, anchor) if anchor else text for text in texts]
            for owner, texts in zip(owners, lists)
        ]
        return self.retrieve(
            query,
            self.encode_lists(query, lists, set_size, anchor),
            texts=lists,
            query_texts=query_texts,
            pool_size=pool_size,
            merge=merge,
            keys=keys,
        )

    def retrieve_groups(
        self,
        queries: list[Query],
        subqueries: list[list[str]],
        set_size: int,
        pool_size: int | None = None,
        anchor: float = 0.0,
    ) -> SetBatch:
        """Retrieve for G fan-outs of each of B queries: B·G sets, with ``reference_fields``.

        Row b·G + g of the B·G ``subqueries`` is fan-out g of query b; other arguments as of
        ``retrieve_texts``.
        """
        group_size = len(subqueries) // len(queries)
        repeated = [query for query in queries for _ in range(group_size)]
        texts = [query.text for query in queries]
        sets = self.retrieve_texts(
            self.encode_queries(texts).repeat_interleave(group_size, 0),
            subqueries,
            set_size,
            query_texts=[query.text for query in repeated],
            pool_size=pool_size,
            anchor=anchor,
        )
        return sets.extended(**self.reference_fields(repeated))

    def ranked_sets(
        self, query: Tensor, ranking: Tensor, set_size: int, query_texts: list[str] | None = None
    ) -> SetBatch:
        """Return sets without directions: the first k items of a ranking, which is their pool.

        Args:
            query: (B, d) unit vectors.
            ranking: (B, P) distinct catalog rows, best first, −1 padded.
            set_size: Number k of items, at most P.
            query_texts: B texts of the queries, for the sets to carry.

        Raises:
            InputError: If the pool is smaller than the set.
        """
        if ranking.shape[1] < set_size:
            raise InputError(
                expected=f"a pool of at least {set_size} items, the size of the set",
                found=f"a pool of {ranking.shape[1]}",
                remedy="Raise the pool size or lower the set size.",
            )
        items = ranking[:, :set_size]
        return self.gathered(query, items, None, pool=ranking, query_texts=query_texts)

    def references(self, queries: Sequence[Query]) -> Tensor | None:
        """Return the catalog rows (B, R) of the queries' references, −1 padded; None without any."""
        if not any(query.references for query in queries):
            return None
        return pad_rows([self.catalog.rows(query.references) for query in queries])

    def reference_fields(self, queries: Sequence[Query]) -> dict[str, Tensor | None]:
        """Return the fields ``references`` and ``facets`` of sets for B queries; None without any."""
        facets = None
        if any(query.facets for query in queries):
            members = [query.references for query in queries]
            facets = facet_members(members, [query.facets for query in queries])
        return {"references": self.references(queries), "facets": facets}

    def embeddings(self, items: Tensor) -> Tensor:
        """Return the embeddings (…, d) of catalog rows (…); zero rows for −1."""
        vectors = self.catalog.embeddings[items.clamp(min=0)]
        return torch.where(items.unsqueeze(-1) >= 0, vectors, 0.0)

    def check_pool(self, pool_size: int) -> int:
        """Return ``pool_size``, or raise an InputError if the catalog has fewer items."""
        if pool_size > len(self.catalog):
            raise InputError(
                expected=f"a set or pool of at most {len(self.catalog)} items, all of "
                f"{self.catalog.folder}",
                found=f"{pool_size}",
                remedy="Ask for fewer.",
            )
        return pool_size

    def _find(self, directions: Tensor, keys: list[list[Hashable]], depth: int) -> Tensor:
        """Search for each key once; return rows (B, k, depth), −1 for members without a key."""
        rows = torch.full((*directions.shape[:2], depth), -1, dtype=torch.long)
        lengths = torch.tensor([len(names) for names in keys]).unsqueeze(1)
        named = torch.arange(directions.shape[1]) < lengths
        members = directions[named]
        wanted = [(key, depth) for names in keys for key in names]
        first = {key: place for place, key in reversed(list(enumerate(wanted)))}

        def search(missing: list[tuple[Hashable, int]]) -> list[Tensor]:
            return _rows(self.index.search(members[[first[key] for key in missing]], depth)[1])

        cache = self.neighbors
        if cache is None:
            cache = Cache[tuple[Hashable, int], Tensor](len(wanted) or 1)
        if wanted:
            rows[named] = torch.stack(cache.get(wanted, search))
        return rows

    def _part(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self.watch is None else self.watch.part(name)


def _rows(table: Tensor) -> list[Tensor]:
    """Copy rows, so that a cached one does not keep the whole table in memory."""
    return [row.clone() for row in table]
