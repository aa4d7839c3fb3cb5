"""A seed → sets with every optional field, whole and degenerate ones, and variants of given sets."""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.catalog import Catalog, fingerprint
from r4t.data.source import Items
from r4t.errors import InputError, check_least
from r4t.geometry import normalize
from r4t.sets import Popularity, SetBatch, pad_rows

ITEMS = 50
POOL = 8
QUERIES = ["beach day", "city", "snow", "hiking"]
COLORS = ["red", "blue", "green", "black", "white", "gray", "brown"]
WORDS = ["hat", "cap", "linen shirt", "beach day", "boots", "sun"]
OF_MEMBERS = ("items", "item_embeddings", "mask", "directions")  # fields with a member dimension


class ExampleCatalog(Catalog):
    """A catalog that lies in memory, in no folder."""

    def __init__(self, items: Items, embeddings: Tensor) -> None:
        info = {
            "items": len(items),
            "dim": embeddings.shape[1],
            "encoder": None,
            "columns": list(items.metadata),
            "fingerprint": fingerprint(items.ids, items.texts, embeddings),
            "origin": {"name": "example_sets"},
        }
        super().__init__(Path("example_sets"), info, embeddings)
        self._held = {"id": items.ids, "text": items.texts, **items.metadata}

    @property
    def columns(self) -> list[str]:
        """Names of the metadata columns."""
        return list(self.info["columns"])

    def _read(self, name: str) -> list[Any]:
        return list(self._held[name])


def example_sets(
    seed: int = 0,
    *,
    members: int = 5,
    width: int = 6,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> SetBatch:
    """Draw four queries with every optional field, to score in a test.

    The first has k distinct members; the second none; the third one; the fourth a missing member,
    one item twice, and an item without a price. The catalog has 50 items with the columns
    ``category`` (shirt, shoe or hat; missing for some), ``color`` (seven), ``price`` (0 to 24.5; one
    is missing) and ``tags`` (lists).

    Args:
        seed: Of all that is drawn.
        members: k, at least 4.
        width: d of the embeddings, at least 2.
        columns: Further columns of the catalog, or others in their place: name → values, repeated
            over the items.

    Raises:
        InputError: ``members`` or ``width`` is too small, or a column has no values.

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

    catalog = ExampleCatalog(_items(columns), draw(ITEMS, width))
    shuffled = [torch.randperm(ITEMS - 1, generator=generator).tolist() for _ in range(4)]
    rows = [row[:members] for row in shuffled]
    rows[1] = [-1] * members
    rows[2][0] = rows[2][-1] = -1
    rows[2][2:] = [-1] * (members - 2)
    rows[3][1] = -1
    rows[3][-1] = ITEMS - 1  # the item without a price
    rows[3][-2] = rows[3][0]
    items = torch.tensor(rows)
    mask = items >= 0
    pool = torch.tensor([row[:POOL] for row in shuffled])
    pool[3, -2:] = -1
    one, two, three, four = shuffled  # a pool begins with the first of them
    found = [[one[0], one[1], one[-1]], two[-2:], three[:1], [four[0], *four[-2:]]]
    return SetBatch(
        query=draw(4, width),
        items=items,
        item_embeddings=catalog.embeddings[items.clamp(min=0)] * mask.unsqueeze(-1),
        mask=mask,
        directions=draw(4, members, width) * mask.unsqueeze(-1),
        texts=[
            list(islice(cycle(["hat", "cap", "hat", "beach day", "sun"]), members)),
            [],
            ["", "boots"],
            list(islice(cycle("abcde"), members)),
        ],
        pool=pool,
        references=pad_rows(found),
        query_texts=list(QUERIES),
        catalog=catalog,
        popularity=Popularity(torch.arange(ITEMS) % 11, 10),
    )


def _items(columns: Mapping[str, Sequence[Any]] | None) -> Items:
    numbers = range(ITEMS)
    metadata: dict[str, list[Any]] = {
        "category": [None if n % 9 == 8 else ("shirt", "shoe", "hat")[n % 3] for n in numbers],
        "color": [COLORS[n % len(COLORS)] for n in numbers],
        "price": [None if n == ITEMS - 1 else n * 0.5 for n in numbers],
        "tags": [["a", "b", "c", "d"][n % 4 : n % 5] for n in numbers],
    }
    for name, values in ({} if columns is None else columns).items():
        if not values:
            raise InputError(
                f"A column of the example catalog needs a value at least — found none for {name!r} — "
                "give some: they are repeated over the items."
            )
        metadata[name] = list(islice(cycle(values), ITEMS))
    ids = [f"i{n}" for n in numbers]
    return Items(ids, [f"{COLORS[n % len(COLORS)]} item {n}" for n in numbers], metadata)


def moved_on(sets: SetBatch, by: int) -> SetBatch:
    """The same sets over the same items, whose rows in the catalog are moved on by ``by`` places.

    What an objective reads at a row that stands for no item, −1 or 0 in its place, is another item
    then. Sets over a catalog of another kind stay as they are.
    """
    if by == 0 or not isinstance(sets.catalog, ExampleCatalog):
        return sets
    catalog = sets.catalog
    count = len(catalog)

    def turned(values: Sequence[Any]) -> list[Any]:
        return [*values[-by:], *values[:-by]]

    columns = {name: turned(catalog.column(name)) for name in catalog.columns}
    items = Items(turned(catalog.ids), turned(catalog.texts), columns)
    told: dict[str, Any] = {
        name: torch.where(rows >= 0, (rows + by) % count, rows)
        for name in ("items", "pool", "references")
        if (rows := getattr(sets, name)) is not None
    }
    if sets.popularity is not None:
        told["popularity"] = Popularity(sets.popularity.counts.roll(by), sets.popularity.sets)
    return sets.extended(catalog=ExampleCatalog(items, catalog.embeddings.roll(by, 0)), **told)


def reordered(sets: SetBatch, order: Sequence[int]) -> SetBatch:
    """The same sets with the members in another order; ``order`` holds each place of k once."""
    order = list(order)
    turned: dict[str, Any] = {
        name: value[:, order] for name in OF_MEMBERS if (value := getattr(sets, name)) is not None
    }
    if sets.texts is not None:
        filled = [[*texts, *[""] * (sets.set_size - len(texts))] for texts in sets.texts]
        turned["texts"] = [[row[place] for place in order] for row in filled]
    return sets.extended(**turned)


def padded(sets: SetBatch) -> SetBatch:
    """The same sets with one more member asked for, which is missing."""
    batch, _, width = sets.item_embeddings.shape
    zeros = sets.item_embeddings.new_zeros(batch, 1, width)
    longer: dict[str, Any] = {
        "items": torch.cat([sets.items, sets.items.new_full((batch, 1), -1)], 1),
        "item_embeddings": torch.cat([sets.item_embeddings, zeros], 1),
        "mask": torch.cat([sets.mask, sets.mask.new_zeros(batch, 1)], 1),
    }
    if sets.directions is not None:
        longer["directions"] = torch.cat([sets.directions, zeros.to(sets.directions)], 1)
    return sets.extended(**longer)


def masked(sets: SetBatch, mask: Tensor) -> SetBatch:
    """The same sets without the members that ``mask`` (B, k) leaves out."""
    there = sets.mask & mask
    fewer: dict[str, Any] = {
        "mask": there,
        "items": torch.where(there, sets.items, -1),
        "item_embeddings": sets.item_embeddings * there.unsqueeze(-1),
    }
    if sets.directions is not None:
        fewer["directions"] = sets.directions * there.unsqueeze(-1)
    if sets.texts is not None:
        fewer["texts"] = [
            [text if kept else "" for text, kept in zip(texts, row)]
            for texts, row in zip(sets.texts, there.tolist())
        ]
    return sets.extended(**fewer)


def repeated(sets: SetBatch) -> SetBatch:
    """The same queries, each with the first member of its set k times; without one, with none."""
    first = sets.mask.int().argmax(-1)
    everywhere = first.unsqueeze(1).expand(-1, sets.set_size)
    there = sets.mask.gather(1, everywhere)
    alike: dict[str, Any] = {
        name: _taken(value, everywhere)
        for name in OF_MEMBERS
        if (value := getattr(sets, name)) is not None
    }
    if sets.texts is not None:
        alike["texts"] = [
            [texts[place]] * sets.set_size if row_there and place < len(texts) else []
            for texts, place, row_there in zip(
                sets.texts, first.tolist(), there.any(-1).tolist(), strict=True
            )
        ]
    return sets.extended(**alike)


def _taken(value: Tensor, places: Tensor) -> Tensor:
    """Entries (B, k, …) at ``places`` (B, k) of a tensor (B, k, …)."""
    return value[torch.arange(len(value), device=value.device).unsqueeze(1), places]
