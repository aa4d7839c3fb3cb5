"""Ids, texts and sets as they were read → `Items`, `ReferenceSet` and `Source`, checked."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any

from r4t.errors import InputError

RESERVED = ("id", "text")
Facets = tuple[tuple[str, ...], ...]  # groups of item ids
# What sources call their splits → what they are called here.
SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "dev": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True)
class Items:
    """N items of a catalog, checked where they are built.

    Raises:
        InputError: If there is no item, an id is missing or occurs twice, a text is blank, or a
            column has another length.

    Examples:
        >>> Items(["a", "b"], ["red shoe", "blue hat"], {"color": ["red", "blue"]}).ids
        ['a', 'b']
    """

    ids: list[str]  # distinct and not empty
    texts: list[str]  # not blank; the encoder reads them
    metadata: Mapping[str, list[Any]] = field(default_factory=dict)  # a missing value is None
    origin: InitVar[str | Path] = "the list of items"  # for messages
    places: InitVar[Sequence[str] | None] = None  # of each item in ``origin``: "line 7"; or "row 0"

    def __post_init__(self, origin: str | Path, places: Sequence[str] | None) -> None:
        if not self.ids:
            raise InputError(
                expected="at least one item", found=f"none in {origin}", remedy="Add items."
            )
        if len(self.ids) != len(self.texts):
            raise InputError(
                expected="an id and a text for each item",
                found=f"{len(self.ids)} ids and {len(self.texts)} texts in {origin}",
                remedy="Give both lists the same length.",
            )
        self._check_rows(origin, places)
        for name, column in self.metadata.items():
            if name in RESERVED:
                raise InputError(
                    expected=f"metadata columns with names other than {' and '.join(RESERVED)}",
                    found=f"one called {name!r}",
                    remedy="Rename the column.",
                )
            if len(column) != len(self.ids):
                raise InputError(
                    expected=f"one value of {name!r} for each of the {len(self.ids)} items",
                    found=f"{len(column)}",
                    remedy="Give missing values as None.",
                )

    def _check_rows(self, origin: str | Path, places: Sequence[str] | None) -> None:
        seen: dict[str, int] = {}

        def place(row: int) -> str:
            return places[row] if places else f"row {row}"

        for row, (item, text) in enumerate(zip(self.ids, self.texts, strict=True)):
            if not isinstance(item, str) or not item:
                raise InputError(
                    expected="a non-empty string as the id of each item",
                    found=f"{item!r} at {place(row)} of {origin}",
                    remedy="Give this item an id of its own.",
                )
            if item in seen:
                raise InputError(
                    expected="distinct item ids",
                    found=f"{item!r} at {place(seen[item])} and again at {place(row)} of {origin}",
                    remedy="Rename or remove one of the two.",
                )
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    expected="a text for each item",
                    found=f"{text!r} for item {item!r} at {place(row)} of {origin}",
                    remedy="Write a text or remove the item.",
                )
            seen[item] = row

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ReferenceSet:
    """One plausible answer to a query; equality ignores its metadata.

    Its *gold facets* are groups of its items that people drew: items of one facet say the same. An
    item may be in several facets or in none.
    """

    id: str  # distinct within a source
    query: str  # the set's own text, which the set answers; blank if it has none
    items: tuple[str, ...]  # ids in the order of the source
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)
    facets: Facets = ()  # no facet is empty; none if unknown


@dataclass(frozen=True)
class Source:
    """What was read: items, reference sets (maybe none) and a note of what was left out."""

    name: str
    items: Items
    sets: list[ReferenceSet] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class ReadOptions:
    """What users may request of a reader; each reader uses what applies to its form."""

    fields: tuple[str, str] = RESERVED  # what a file of items calls the id and the text
    verbatim: bool = False  # keep HTML entities in texts


def collect_sets(
    sets: Sequence[ReferenceSet], ids: Container[str], keep_without_query: bool = False
) -> tuple[list[ReferenceSet], str]:
    """Return the usable sets, and a note of what was left out.

    Left out are repeats of an item within a set, items without an entry in ``ids`` (also of facets),
    facets and sets without a known item, and sets without a query (unless ``keep_without_query``).

    Examples:
        >>> sets = [ReferenceSet("s", "beach", ("a", "a")), ReferenceSet("t", " ", ("a",))]
        >>> usable, note = collect_sets(sets, {"a"})
        >>> [(entry.id, entry.items) for entry in usable]
        [('s', ('a',))]
        >>> note
        '1 set without a query left out; 1 repeat within a set left out'
    """
    stripped = [replace(entry, query=entry.query.strip()) for entry in sets]
    queried = [entry for entry in stripped if entry.query or keep_without_query]
    usable: list[ReferenceSet] = []
    unknown = repeats = lost = 0
    for entry in queried:
        distinct = list(dict.fromkeys(entry.items))
        items = tuple(item for item in distinct if item in ids)
        repeats += len(entry.items) - len(distinct)
        unknown += len(distinct) - len(items)
        if items:
            known = [tuple(item for item in facet if item in ids) for facet in entry.facets]
            facets = tuple(facet for facet in known if facet)
            lost += len(known) - len(facets)
            usable.append(replace(entry, items=items, facets=facets))
    to_items = f"to {'an item' if unknown == 1 else 'items'} without an entry"
    return usable, join_notes(
        counted(len(sets) - len(queried), "set", "without a query"),
        counted(len(queried) - len(usable), "set", "without a known item"),
        counted(unknown, "reference", to_items),
        counted(lost, "facet", "without a known item"),
        counted(repeats, "repeat", "within a set"),
    )


def counted(count: int, noun: str, which: str, outcome: str = "left out") -> str:
    """'3 sets without a query left out', or '' if the count is 0."""
    return f"{count} {noun}{'s' if count > 1 else ''} {which} {outcome}" if count else ""


def join_notes(*notes: str) -> str:
    """Non-empty notes, joined by '; '."""
    return "; ".join(note for note in notes if note)
