"""Directions → sets of catalog items: the frozen retriever R (paper, §1)."""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.catalog import Catalog
from r4t.data.queries import Query
from r4t.encoder import Encoder
from r4t.errors import InputError, check_least
from r4t.geometry import distinct_first, normalize
from r4t.index import Index
from r4t.sets import Popularity, SetBatch, pad_rows
from r4t.support.cache import Cache
from r4t.support.stopwatch import Stopwatch


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
        encoder: Turns texts into directions; None for a catalog of own vectors without one.
        index: Searches the catalog's embeddings.
        popularity: Of the items in the training sets, where there are any; carried along.
        cached: How many texts' vectors, and how many sub-queries' items, to keep for the next time
            that they are asked for; 0 for none. Most sub-queries of a tuning repeat.
        watch: Is told the seconds of encoding and of searching.

    Attributes:
        vectors: Text → its vector, where texts are kept.
        found: Sub-query, the query it is anchored to, and depth → rows found, likewise.
    """

    def __init__(
        self,
        catalog: Catalog,
        encoder: Encoder | None,
        index: Index,
        popularity: Popularity | None = None,
        cached: int = 0,
        watch: Stopwatch | None = None,
    ) -> None:
        check_least({"cached": (cached, 0)})
        self.catalog = catalog
        self.encoder = encoder
        self.index = index
        self.popularity = popularity
        self.watch = watch
        self.vectors = Cache[str, Tensor](cached) if cached else None
        self.found = Cache[tuple[Hashable, int], Tensor](cached) if cached else None

    def encode(self, texts: list[str]) -> Tensor:
        """Return (n, d) unit vectors of ``texts``; a zero row where no word is known.

        Raises:
            InputError: The catalog holds own vectors and no text encoder stands beside them.
        """
        if self.encoder is None:
            raise InputError(
                f"Text queries need a text encoder — catalog {self.catalog.folder} holds own vectors "
                "without one; write it again with --encoder, or search with vectors."
            )
        with self._part("encode"):
            if self.vectors is None or not texts:
                return self.encoder.encode(texts)
            encode = self.encoder.encode
            return torch.stack(self.vectors.get(texts, lambda new: _rows(encode(new))))

    def encode_queries(self, texts: list[str]) -> Tensor:
        """Return (B, d) unit vectors of queries.

        Raises:
            InputError: The encoder knows no word of a query.
        """
        vectors = self.encode(texts)
        unknown = (vectors == 0).all(-1).nonzero().flatten().tolist()
        if unknown:
            raise InputError(
                f"A query must share at least one word with the catalog's vocabulary — of "
                f"'{texts[unknown[0]]}' the encoder knows none; use other words, or an encoder with "
                "an open vocabulary (--encoder HUB-NAME)."
            )
        return vectors

    def searchable(self, queries: list[Query]) -> tuple[list[Query], list[Query]]:
        """Split queries into those of which the encoder knows a word and those of which none."""
        known = (self.encode([query.text for query in queries]) != 0).any(-1).tolist()
        kept = [query for query, is_known in zip(queries, known) if is_known]
        unknown = [query for query, is_known in zip(queries, known) if not is_known]
        return kept, unknown

    def unknown(self, text: str) -> list[str]:
        """Return the words of a text that the encoder does not know; none where it knows all or any."""
        told = getattr(self.encoder, "unknown", None)
        return [] if told is None else list(told(text))

    def retrieve(
        self,
        query: Tensor,
        directions: Tensor,
        mask: Tensor | None = None,
        *,
        texts: list[list[str]] | None = None,
        query_texts: list[str] | None = None,
        references: Tensor | None = None,
        pool_size: int | None = None,
        keys: list[list[Hashable]] | None = None,
    ) -> SetBatch:
        """Retrieve the top-1 item of each direction and, if asked, the pool of all together.

        The pool takes the directions in turn, best item first, until it holds ``pool_size``
        *distinct* items, so that methods are compared at an equal number of items.

        Args:
            query: (B, d) unit vectors.
            directions: (B, k, d) unit vectors.
            mask: (B, k); a zero direction (a text of which the encoder knows no word) is masked
                as well.
            texts: Sub-query texts, carried along.
            query_texts: B texts of the queries, carried along.
            references: (B, R) reference rows, carried along.
            pool_size: Number P of distinct items; no pool by default.
            keys: B lists that name the first members; members of one name, in this call or a later
                one, have one direction and are searched for once. The others are masked.

        Raises:
            InputError: ``pool_size`` exceeds the catalog.
        """
        real = directions.abs().sum(-1) > 0
        mask = real if mask is None else mask & real
        depth = 1 if pool_size is None else self._checked(pool_size)
        with self._part("search"):
            if keys is None:
                _, found = self.index.search(directions.flatten(0, 1), depth)
                found = found.view(*directions.shape[:2], depth)
            else:
                found = self._find(directions, keys, depth)
            found = found.masked_fill(~mask.unsqueeze(-1), -1)
            items = found[..., 0]
            pool = None
            if pool_size is not None:
                pool = distinct_first(found.transpose(1, 2).flatten(1), pool_size)
            return SetBatch(
                query=query,
                items=items,
                item_embeddings=self.embeddings(items),
                mask=mask,
                directions=directions * mask.unsqueeze(-1),
                texts=texts,
                pool=pool,
                references=references,
                query_texts=query_texts,
                catalog=self.catalog,
                popularity=self.popularity,
            )

    def retrieve_texts(
        self,
        query: Tensor,
        subqueries: list[list[str]],
        set_size: int,
        *,
        query_texts: list[str] | None = None,
        references: Tensor | None = None,
        pool_size: int | None = None,
        anchor: float = 0.0,
    ) -> SetBatch:
        """Encode B lists of sub-queries and retrieve for them, as ``retrieve`` does.

        A list shorter than ``set_size`` leaves members masked; each distinct text is encoded once.

        Args:
            query: (B, d) unit vectors.
            subqueries: B lists of texts.
            set_size: Number k of sub-queries asked for.
            query_texts: As in ``retrieve``.
            references: As in ``retrieve``.
            pool_size: As in ``retrieve``.
            anchor: Share a of the query in each direction, see ``anchored``; at 0 a direction is
                the sub-query's vector, untouched. Objectives see the anchored directions:
                groundedness and alignment are those of what is searched with, not of the text
                alone. A text of which the encoder knows no word stays masked.
        """
        kept = [texts[:set_size] for texts in subqueries]
        distinct = list(dict.fromkeys(text for texts in kept for text in texts))
        directions = torch.zeros(len(kept), set_size, query.shape[1])
        if distinct:
            vectors = self.encode(distinct)
            place = {text: row for row, text in enumerate(distinct)}
            for row, texts in enumerate(kept):
                directions[row, : len(texts)] = vectors[[place[text] for text in texts]]
        directions = anchored(query, directions, anchor)
        # What a sub-query finds depends on its text and, if anchored, on its query.
        owners: Sequence[Hashable] = range(len(kept)) if query_texts is None else query_texts
        keys: list[list[Hashable]] = [
            [(text, owner, anchor) if anchor else text for text in texts]
            for owner, texts in zip(owners, kept)
        ]
        return self.retrieve(
            query,
            directions,
            texts=kept,
            query_texts=query_texts,
            references=references,
            pool_size=pool_size,
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
        """Retrieve for G fan-outs of each of B queries: B·G sets, with references where known.

        Args:
            queries: B queries.
            subqueries: B·G lists; row b·G + g is fan-out g of query b.
            set_size: Number k of sub-queries asked for.
            pool_size: Number P of distinct items; no pool by default.
            anchor: Share of the query in each direction, as in ``retrieve_texts``.
        """
        group_size = len(subqueries) // len(queries)
        texts = [query.text for query in queries]
        vectors = self.encode_queries(texts)
        references = None
        if any(query.references for query in queries):
            rows = [self.catalog.rows(query.references) for query in queries]
            references = pad_rows(rows).repeat_interleave(group_size, 0)
        return self.retrieve_texts(
            vectors.repeat_interleave(group_size, 0),
            subqueries,
            set_size,
            query_texts=[text for text in texts for _ in range(group_size)],
            references=references,
            pool_size=pool_size,
            anchor=anchor,
        )

    def embeddings(self, items: Tensor) -> Tensor:
        """Return the embeddings (…, d) of catalog rows (…); zero rows for −1."""
        vectors = self.catalog.embeddings[items.clamp(min=0)]
        return torch.where(items.unsqueeze(-1) >= 0, vectors, 0.0)

    def _find(self, directions: Tensor, keys: list[list[Hashable]], depth: int) -> Tensor:
        """Search for each key once; return rows (B, k, depth), −1 for members without a key."""
        rows = torch.full((*directions.shape[:2], depth), -1, dtype=torch.long)
        there = torch.zeros(directions.shape[:2], dtype=torch.bool)
        for row, names in enumerate(keys):
            there[row, : len(names)] = True
        members = directions[there]
        asked = [(key, depth) for names in keys for key in names]
        first = {key: place for place, key in reversed(list(enumerate(asked)))}

        def search(wanted: list[tuple[Hashable, int]]) -> list[Tensor]:
            return _rows(self.index.search(members[[first[key] for key in wanted]], depth)[1])

        cache = (
            Cache[tuple[Hashable, int], Tensor](len(asked) or 1)
            if self.found is None
            else self.found
        )
        if asked:
            rows[there] = torch.stack(cache.get(asked, search))
        return rows

    def _part(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self.watch is None else self.watch.part(name)

    def _checked(self, pool_size: int) -> int:
        if pool_size > len(self.catalog):
            raise InputError(
                f"A set or pool cannot be larger than the catalog — asked for {pool_size} of "
                f"{len(self.catalog)} items in {self.catalog.folder}; ask for fewer."
            )
        return pool_size


def _rows(table: Tensor) -> list[Tensor]:
    """Rows that do not keep the whole table in memory."""
    return [row.clone() for row in table]


def anchored(query: Tensor, directions: Tensor, anchor: float) -> Tensor:
    """Pull directions toward their query: ``normalize(a·query + (1 − a)·direction)``.

    Args:
        query: (B, d) unit vectors.
        directions: (B, k, d) unit vectors; a zero row, which stands for nothing, stays zero.
        anchor: a, from 0 (the directions as they are, bit for bit) to below 1 (the query, k times).

    Returns:
        (B, k, d).

    Raises:
        InputError: ``anchor`` is out of that range.

    Examples:
        >>> east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
        >>> anchored(east, north, 0.5)
        tensor([[[0.7071, 0.7071],
                 [0.0000, 0.0000]]])
    """
    check_anchor(anchor)
    if anchor == 0:
        return directions
    real = (directions != 0).any(-1, keepdim=True)
    return normalize(anchor * query.unsqueeze(1) + (1 - anchor) * directions) * real


def check_anchor(anchor: float) -> None:
    """Refuse a share of the query that is not from 0 to below 1.

    Raises:
        InputError: So it is.
    """
    if not 0 <= anchor < 1:
        raise InputError(
            f"anchor must be from 0 (the sub-query alone) to below 1 (the query alone), found "
            f"{anchor}; 0 is the paper's."
        )
