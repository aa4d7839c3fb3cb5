"""Queries and what was retrieved for them → ``SetBatch``, the one type that crosses the rooms."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from r4t.catalog import Catalog
from r4t.errors import InputError

OPTIONAL = frozenset(
    {"directions", "texts", "pool", "references", "query_texts", "catalog", "popularity"}
)


@dataclass(frozen=True)
class Popularity:
    """How often the training reference sets hold each item.

    Attributes:
        counts: (N,) long: sets that hold the item, in the order of the catalog.
        sets: Number S of training sets.
    """

    counts: Tensor
    sets: int


@dataclass(frozen=True)
class SetBatch:
    """B queries, each with a set of up to k members.

    Degenerate sets, once for the whole project: the width k is the number of members *asked for*,
    and a masked member is one that is missing (an unparsable line, a sub-query of which the encoder
    knows no word). A query with *no* member at all (an unparsable completion) gets the lower bound
    of every objective. With *one* member all is as usual (its Vendi score is 1). *Duplicates* are
    members like others: they are what diversity is there to see.

    Attributes:
        query: (B, d) unit vectors.
        items: (B, k) catalog row of the top-1 item of each member; −1 where masked.
        item_embeddings: (B, k, d) of those items; zero rows where masked.
        mask: (B, k), True for a member that is there.
        directions: (B, k, d) unit vectors that were searched with; None for methods that pick items
            without one (MMR).
        texts: B lists of sub-query texts, that of member i at position i; shorter than k where the
            last members are missing.
        pool: (B, P) distinct catalog rows retrieved by the whole set, best first, −1 padded.
        references: (B, R) catalog rows of the reference set Y, −1 padded.
        query_texts: B texts of the queries.
        catalog: What the rows are rows of, with texts and metadata; one for the whole batch.
        popularity: Of the catalog's items in the training sets; one for the whole batch.
    """

    query: Tensor
    items: Tensor
    item_embeddings: Tensor
    mask: Tensor
    directions: Tensor | None = None
    texts: list[list[str]] | None = None
    pool: Tensor | None = None
    references: Tensor | None = None
    query_texts: list[str] | None = None
    catalog: Catalog | None = None
    popularity: Popularity | None = None

    def __post_init__(self) -> None:
        if self.query.ndim != 2 or self.items.ndim != 2:
            raise InputError(
                f"A SetBatch needs query (B, d) and items (B, k), found {tuple(self.query.shape)} "
                f"and {tuple(self.items.shape)}; add the missing dimension."
            )
        (batch, width), members = self.query.shape, self.items.shape[1]
        wanted: dict[str, tuple[int | None, ...]] = {
            "items": (batch, members),
            "item_embeddings": (batch, members, width),
            "mask": (batch, members),
            "directions": (batch, members, width),
            "pool": (batch, None),
            "references": (batch, None),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and not _fits(value.shape, shape):
                raise InputError(
                    f"SetBatch.{name} must have shape {_words(shape)} to fit a query of shape "
                    f"{tuple(self.query.shape)} and k = {members} — found {tuple(value.shape)}; "
                    "build every field from the same queries."
                )
        if self.texts is not None and len(self.texts) != batch:
            raise InputError(
                f"SetBatch.texts must hold one list for each of {batch} queries, found "
                f"{len(self.texts)}; give an empty list where there is no sub-query."
            )
        if self.query_texts is not None and len(self.query_texts) != batch:
            raise InputError(
                f"SetBatch.query_texts must hold one text for each of {batch} queries, found "
                f"{len(self.query_texts)}; build every field from the same queries."
            )

    def __len__(self) -> int:
        return self.query.shape[0]

    @property
    def set_size(self) -> int:
        """Number of members asked for, k."""
        return self.items.shape[1]

    @property
    def present(self) -> frozenset[str]:
        """Names of the optional fields that this batch carries."""
        return frozenset(name for name in OPTIONAL if getattr(self, name) is not None)

    def extended(self, **known: Any) -> "SetBatch":
        """Return the same sets with further fields, such as ``references`` or ``query_texts``."""
        return replace(self, **known)

    def query_name(self, row: int) -> str:
        """Name query ``row`` in a message: its number and, where it is known, its text."""
        text = "" if self.query_texts is None else f" ({self.query_texts[row]!r})"
        return f"query {row} of {len(self)}{text}"

    def select(self, rows: Tensor) -> "SetBatch":
        """Return the queries at ``rows`` (n,), in that order."""
        picked: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                picked[field.name] = value[rows]
            elif isinstance(value, list):
                picked[field.name] = [value[row] for row in rows.tolist()]
            else:
                picked[field.name] = value  # one for the whole batch
        return SetBatch(**picked)


def pad_rows(rows: list[list[int]]) -> Tensor:
    """Stack lists of catalog rows of unequal length into (B, R), filled up with −1.

    Examples:
        >>> pad_rows([[4, 5], [6]]).tolist()
        [[4, 5], [6, -1]]
    """
    width = max((len(row) for row in rows), default=0)
    padded = torch.full((len(rows), width), -1, dtype=torch.long)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = torch.tensor(row, dtype=torch.long)
    return padded


def _fits(found: torch.Size, wanted: tuple[int | None, ...]) -> bool:
    same_rank = len(found) == len(wanted)
    return same_rank and all(w is None or f == w for f, w in zip(found, wanted))


def _words(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
