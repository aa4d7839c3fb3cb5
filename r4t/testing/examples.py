"""A seed → sets with every optional field, whole and degenerate ones, and variants of given sets."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.catalog import Catalog, fingerprint
from r4t.data.source import RESERVED
from r4t.errors import InputError, check_least
from r4t.geometry import normalize, take_turns
from r4t.sets import Popularity, SetBatch, pad_rows

ITEMS = 50
POOL = 8
BANK = 7
QUERIES = ["beach day", "city", "snow", "hiking"]
TEXTS = ["hat", "cap", "hat", "beach day", "sun"]
COLORS = ["red", "blue", "green", "black", "white", "gray", "brown"]
# Fields with a member dimension → what they hold for a missing member.
MISSING = {"items": -1, "item_embeddings": 0, "mask": False, "directions": 0, "rankings": -1}


class ExampleCatalog(Catalog):
    """A catalog in memory, from columns with ``id`` and ``text`` and embeddings (N, d)."""

    def __init__(self, values: Mapping[str, list[Any]], embeddings: Tensor) -> None:
        info = {
            "columns": [name for name in values if name not in RESERVED],
            "encoder": None,
            "fingerprint": fingerprint(values["id"], values["text"], embeddings),
        }
        super().__init__(Path("example_sets"), info, embeddings)
        self._values = values

    def _read(self, name: str) -> list[Any]:
        return list(self._values[name])

    def rolled(self, by: int) -> "ExampleCatalog":
        """Return the same items, each ``by`` rows further down, the last ones first."""
        values = {name: [*column[-by:], *column[:-by]] for name, column in self._values.items()}
        return ExampleCatalog(values, self.embeddings.roll(by, 0))


def example_sets(
    seed: int = 0,
    *,
    members: int = 5,
    width: int = 6,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> SetBatch:
    """Draw four queries with every optional field, to score in a test.

    The first has k distinct members; the second none; the third one; the fourth a missing member,
    one item twice, and an item without a price. Each reference is in one or two of up to three facets.
    The catalog has 50 items with the columns ``category`` (shirt, shoe or hat; missing for some),
    ``color`` (seven), ``price`` (0 to 24.5; one is missing) and ``tags`` (lists).

    Args:
        seed: Seed of the random draws.
        members: k, at least 4.
        width: d of the embeddings, at least 2.
        columns: Columns to add or replace: name → values, repeated over the items.

    Raises:
        InputError: If ``members`` or ``width`` is too small, or a column has no values.

    Examples:
        >>> sets = example_sets(columns={"season": ["summer", "winter", None]})
        >>> sets.mask.sum(-1).tolist()
        [5, 0, 1, 4]
        >>> sets.catalog.column("season")[:4]
        ['summer', 'winter', None, 'summer']
    """
    check_least({"members": (members, 4), "width": (width, 2)})
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return normalize(torch.randn(*shape, generator=generator))

    catalog = ExampleCatalog(_columns(columns or {}), draw(ITEMS, width))
    orders = [torch.randperm(ITEMS - 1, generator=generator).tolist() for _ in QUERIES]
    one, _, three, four = orders
    none = [-1] * members
    no_price = ITEMS - 1
    repeat = [four[0], -1, *four[2 : members - 2], four[0], no_price]
    items = torch.tensor([one[:members], none, [-1, three[1], *none[2:]], repeat])
    mask = items >= 0
    rankings = _rankings(items, torch.tensor(orders))
    return SetBatch(
        query=draw(4, width),
        items=items,
        item_embeddings=catalog.embeddings[items.clamp(min=0)] * mask.unsqueeze(-1),
        mask=mask,
        directions=draw(4, members, width) * mask.unsqueeze(-1),
        texts=[_repeated(TEXTS, members), [], ["", "boots"], _repeated("abcde", members)],
        pool=take_turns(rankings, POOL),
        rankings=rankings,
        **_references(orders),
        query_texts=list(QUERIES),
        catalog=catalog,
        popularity=Popularity(torch.arange(ITEMS) % 11, 10),
        bank=draw(BANK, width),
    )


def _references(orders: Sequence[list[int]]) -> dict[str, Tensor]:
    """Choose references of each query, some of them members, and their facets.

    The first two are in one facet, the second also in one of its own, and the third is in another.
    """
    one, two, three, four = orders
    references = pad_rows([[*one[:2], one[-1]], two[-2:], three[:1], [four[0], *four[-2:]]])
    facets = torch.zeros(*references.shape, 3, dtype=torch.bool)
    for place, own in enumerate([[0], [0, 1], [2]]):
        facets[:, place, own] = (references[:, place] >= 0).unsqueeze(1)
    return {"references": references, "facets": facets}


def _rankings(items: Tensor, orders: Tensor) -> Tensor:
    """Let each member retrieve its item, the first of its query's order, and one of its own."""
    members = items.shape[1]
    first, own = orders[:, :1].expand(-1, members), orders[:, members : 2 * members]
    return torch.stack([items, first, own], 2).masked_fill(items.unsqueeze(-1) < 0, -1)


def _columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    empty = [name for name, values in columns.items() if not values]
    if empty:
        raise InputError(
            expected="values for each column of the example catalog",
            found=f"none for {empty[0]!r}",
            remedy="Pass at least one; they are repeated over the items.",
        )
    rows = range(ITEMS)
    return {
        "id": [f"i{n}" for n in rows],
        "text": [f"{COLORS[n % len(COLORS)]} item {n}" for n in rows],
        "category": [None if n % 9 == 8 else ("shirt", "shoe", "hat")[n % 3] for n in rows],
        "color": _repeated(COLORS, ITEMS),
        "price": [None if n == ITEMS - 1 else n * 0.5 for n in rows],
        "tags": [["a", "b", "c", "d"][n % 4 : n % 5] for n in rows],
        **{name: _repeated(values, ITEMS) for name, values in columns.items()},
    }


def _repeated(values: Sequence[Any], count: int) -> list[Any]:
    return list(islice(cycle(values), count))


def moved_on(sets: SetBatch, by: int) -> SetBatch:
    """Return the same sets over an example catalog whose items are ``by`` rows further down.

    A row that stands for no item (−1, or a 0 in its place) then points to another item. Sets over
    another kind of catalog are returned unchanged.
    """
    if by == 0 or not isinstance(sets.catalog, ExampleCatalog):
        return sets
    values: dict[str, Any] = {
        name: torch.where(rows >= 0, (rows + by) % len(sets.catalog), rows)
        for name in ("items", "pool", "rankings", "references")
        if (rows := getattr(sets, name)) is not None
    }
    if sets.popularity is not None:
        counts = sets.popularity.counts.roll(by)
        values["popularity"] = Popularity(counts, sets.popularity.sets)
    return sets.extended(catalog=sets.catalog.rolled(by), **values)


def members_at(sets: SetBatch, places: Tensor) -> SetBatch:
    """Return the same sets with the members at ``places`` (B, k), in that order, with repeats."""
    rows = torch.arange(len(sets)).unsqueeze(1)
    texts = sets.texts and [
        [row[place] if place < len(row) else "" for place in row_places]
        for row, row_places in zip(sets.texts, places.tolist(), strict=True)
    ]
    return _changed(sets, lambda values, _: values[rows, places]).extended(texts=texts)


def repeated(sets: SetBatch) -> SetBatch:
    """Return the same queries, each with the first present member of its set k times."""
    return members_at(sets, sets.mask.int().argmax(-1, keepdim=True).expand(-1, sets.set_size))


def padded(sets: SetBatch) -> SetBatch:
    """Return the same sets with one more member requested, which is missing."""
    return _changed(
        sets,
        lambda values, missing: torch.cat([values, torch.full_like(values[:, :1], missing)], 1),
    )


def masked(sets: SetBatch, mask: Tensor) -> SetBatch:
    """Return the same sets without the members where ``mask`` (B, k) is False."""
    absent = ~(sets.mask & mask)

    def fewer(values: Tensor, missing: float) -> Tensor:
        values = values.clone()
        values[absent] = missing
        return values

    texts = sets.texts and [
        ["" if is_absent else text for text, is_absent in zip(row, absences)]
        for row, absences in zip(sets.texts, absent.tolist())
    ]
    return _changed(sets, fewer).extended(texts=texts)


def _changed(sets: SetBatch, change: Callable[[Tensor, float], Tensor]) -> SetBatch:
    """Apply ``change`` to each field with members and to what it holds for a missing member."""
    present = {name: fill for name, fill in MISSING.items() if getattr(sets, name) is not None}
    return sets.extended(**{n: change(getattr(sets, n), fill) for n, fill in present.items()})
