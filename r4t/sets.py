"""Queries and what was retrieved for them → ``SetBatch``, the one type that crosses the rooms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from r4t.catalog import Catalog
from r4t.errors import InputError
from r4t.geometry import one_of_each

REQUIRED = {"query": "Bd", "items": "Bk", "item_embeddings": "Bkd", "mask": "Bk"}
SHAPES = REQUIRED | {"directions": "Bkd", "pool": "BP", "rankings": "BkD", "references": "BR"}
SHAPES |= {"facets": "BRF", "texts": "B", "query_texts": "B"}
SHARED = {"bank": "Md"}  # one for the whole batch, as the catalog and the popularity are
ANSWERS = frozenset({"references", "facets"})  # what a method must not see of the query it answers
OPTIONAL = frozenset({*SHAPES, *SHARED, "catalog", "popularity"} - REQUIRED.keys())


@dataclass(frozen=True)
class Popularity:
    """How often the training reference sets hold each item."""

    counts: Tensor  # (N,) long, the number of sets that hold each item of the catalog
    sets: int  # number S of training sets


@dataclass(frozen=True)
class SetBatch:
    """B queries, each with a set of up to k members.

    Degenerate sets, once for the whole project: the width k is the number of members *asked for*,
    and a masked member is missing (an unparsable line, a sub-query without a word that the encoder
    knows). A query with *no* member (an unparsable completion) gets the lower bound of every
    objective. *One* member is a set like any other (its Vendi score is 1). *Duplicates* are members
    like others: diversity measures them.

    Args:
        query: (B, d) unit vectors.
        items: (B, k) catalog row of the nearest item of each member; −1 where masked.
        item_embeddings: (B, k, d) of those items; zero rows where masked.
        mask: (B, k), False where a member is missing.
        directions: (B, k, d) unit vectors that were searched with; None for methods that pick items
            without one (MMR).
        texts: B lists of sub-query texts, that of member i at position i; shorter than k where the
            last members are missing.
        pool: (B, P) distinct catalog rows retrieved by the whole set, best first, padded with −1.
        rankings: (B, k, D) catalog rows that each direction retrieved, best first, −1 where masked; the
            pool takes them in turn.
        references: (B, R) catalog rows of the reference set Y, padded with −1.
        facets: (B, R, F) bool, which references are in which of the query's gold facets; a reference
            may be in several or in none, and a facet without any is padding.
        query_texts: B texts of the queries.
        catalog: The catalog that the rows refer to; one for the whole batch.
        popularity: Counts of the catalog's items in the training sets; one for the whole batch.
        bank: (M, d) unit vectors of other queries, which a set may be confused with; one for the
            whole batch.

    Raises:
        InputError: If the fields disagree on B, k or d.
    """

    query: Tensor
    items: Tensor
    item_embeddings: Tensor
    mask: Tensor
    directions: Tensor | None = None
    texts: list[list[str]] | None = None
    pool: Tensor | None = None
    rankings: Tensor | None = None
    references: Tensor | None = None
    facets: Tensor | None = None
    query_texts: list[str] | None = None
    catalog: Catalog | None = None
    popularity: Popularity | None = None
    bank: Tensor | None = None

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}  # each letter stands for one size
        for name, letters in (SHAPES | SHARED).items():
            value = getattr(self, name)
            if value is None:
                continue
            shape = tuple(value.shape) if isinstance(value, Tensor) else (len(value),)
            pairs = zip(letters, shape)
            if len(shape) != len(letters) or any(sizes.setdefault(x, n) != n for x, n in pairs):
                fixed = ", ".join(f"{x} = {sizes[x]}" for x in letters if x in sizes)
                raise InputError(
                    expected=f"SetBatch.{name} of shape ({', '.join(letters)}), {fixed or 'any size'}",
                    found=str(shape),
                    remedy="Build every field from the same queries.",
                )

    def __len__(self) -> int:
        return self.query.shape[0]

    @property
    def set_size(self) -> int:
        """Number k of members asked for."""
        return self.items.shape[1]

    @property
    def present(self) -> frozenset[str]:
        """Names of the optional fields that this batch carries."""
        return frozenset(name for name in OPTIONAL if getattr(self, name) is not None)

    def extended(self, **values: Any) -> "SetBatch":
        """Return the same sets with these fields added or replaced."""
        return replace(self, **values)

    def query_name(self, row: int) -> str:
        """Return the number of query ``row`` and, if known, its text, for a message."""
        text = "" if self.query_texts is None else f" ({self.query_texts[row]!r})"
        return f"query {row} of {len(self)}{text}"

    def one_per_variant(self, groups: Tensor) -> "SetBatch":
        """Return the same sets with pools that begin with one item of each group of variants.

        The pool holds the same items as before: the first of each group in their order, then the
        others. So a list of its first items has variants only if there are too few groups.

        Args:
            groups: (N,) as of ``Catalog.variants``.
        """
        return self if self.pool is None else replace(self, pool=one_of_each(self.pool, groups))

    def select(self, rows: Tensor) -> "SetBatch":
        """Return the queries at ``rows`` (n,), in that order."""
        selected: dict[str, Any] = {}
        for name in SHAPES:
            value = getattr(self, name)
            if isinstance(value, Tensor):
                selected[name] = value[rows]
            elif value is not None:
                selected[name] = [value[row] for row in rows.tolist()]
        return replace(self, **selected)


def join_sets(batches: Sequence[SetBatch]) -> SetBatch:
    """Put batches (B_i, k_i) one below the other: (ΣB_i, max k_i).

    What a narrower batch lacks is missing: masked members, rows of −1, zero vectors. A field that
    only some batches have is dropped. The catalog and its popularity are those of the first batch.
    """
    joined: dict[str, Any] = {}
    for name in SHAPES:
        values = [getattr(batch, name) for batch in batches]
        if any(value is None for value in values):
            joined[name] = None
        elif isinstance(values[0], Tensor):
            joined[name] = _one_below_the_other(values)
        else:
            joined[name] = [entry for value in values for entry in value]
    return replace(batches[0], **joined)


def _one_below_the_other(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors of unequal width; the room of the narrower ones holds −1 (rows), 0 or False."""
    widths = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors))]
    parts = []
    for tensor in tensors:
        missing = -1 if tensor.dtype == torch.long else 0
        part = tensor.new_full((len(tensor), *widths), missing)
        part[tuple(slice(size) for size in tensor.shape)] = tensor
        parts.append(part)
    return torch.cat(parts)


def pad_rows(rows: list[list[int]]) -> Tensor:
    """Stack lists of catalog rows of unequal length into (B, R), padded with −1.

    Examples:
        >>> pad_rows([[4, 5], [6]]).tolist()
        [[4, 5], [6, -1]]
    """
    width = max((len(row) for row in rows), default=0)
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long).view(len(rows), width)


def facet_members(
    references: Sequence[Sequence[str]], facets: Sequence[Sequence[Sequence[str]]]
) -> Tensor:
    """Return which of the references (B lists of ids) are in which facet: (B, R, F) bool.

    Examples:
        >>> facet_members([["a", "b"], ["c"]], [[["a"], ["a", "b"]], []]).int().tolist()
        [[[1, 1], [0, 1]], [[0, 0], [0, 0]]]
    """
    width = max(map(len, references), default=0)
    members = torch.zeros(len(references), width, max(map(len, facets), default=0)).bool()
    for own, items, groups in zip(members, references, facets, strict=True):
        place = {item: number for number, item in enumerate(items)}
        for number, group in enumerate(groups):
            own[[place[item] for item in group], number] = True
    return members
