"""Files of items and sets → `Source`: items, reference sets and a note of what was left out."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r4t.errors import InputError

RESERVED = ("id", "text")
COLLECTIONS = ("text", "mean")
"""What the embedding of a collection is made of."""


@dataclass(frozen=True)
class Items:
    """N items of a catalog, checked where they are built.

    Attributes:
        ids: N distinct, non-empty strings.
        texts: N non-blank strings, what the encoder reads.
        metadata: Columns of N values each (a missing value is None).

    Raises:
        InputError: There is no item, an id is missing or occurs twice, a text is blank, or a column
            has another length.

    Examples:
        >>> Items(["a", "b"], ["red shoe", "blue hat"], {"color": ["red", "blue"]}).ids
        ['a', 'b']
    """

    ids: list[str]
    texts: list[str]
    metadata: Mapping[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_items(self.ids, self.texts, lambda row: f"row {row}", "items")
        for name, column in self.metadata.items():
            if name in RESERVED:
                raise InputError(
                    f"A metadata column must not be called {name!r}, the name of the item's own "
                    "field — found it among the metadata — rename the column."
                )
            if len(column) != len(self.ids):
                raise InputError(
                    f"Metadata column {name!r} must have one value an item ({len(self.ids)}) "
                    f"— found {len(column)} — give the missing ones as None."
                )

    def __len__(self) -> int:
        return len(self.ids)


def check_items(
    ids: Sequence[Any], texts: Sequence[Any], place: Callable[[int], str], origin: str | Path
) -> None:
    """Refuse items that cannot be told apart or cannot be read.

    Args:
        ids: N ids.
        texts: N texts.
        place: Row number → where the reader of the message finds it ("line 7").
        origin: What the items come from, for the message.

    Raises:
        InputError: There is no item, the lengths differ, an id is missing or occurs twice, or a
            text is blank: names the first.
    """
    if not ids:
        raise InputError(f"A catalog needs at least one item — found none in {origin} — add items.")
    if len(ids) != len(texts):
        raise InputError(
            f"Each item needs an id and a text — found {len(ids)} ids and {len(texts)} texts in "
            f"{origin} — give both lists the same length."
        )
    seen: dict[str, int] = {}
    for row, (item, text) in enumerate(zip(ids, texts, strict=True)):
        if not isinstance(item, str) or not item:
            raise InputError(
                f"Every item needs an id, a non-empty string — found {item!r} at {place(row)} of "
                f"{origin} — give it an id of its own."
            )
        if item in seen:
            raise InputError(
                f"Item ids must be distinct — found {item!r} at {place(seen[item])} and again at "
                f"{place(row)} of {origin} — rename or remove one of them."
            )
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"Every item needs a text — found {text!r} for item {item!r} at {place(row)} of "
                f"{origin} — write one or remove the item."
            )
        seen[item] = row


@dataclass(frozen=True)
class ReferenceSet:
    """One plausible answer to a query.

    Attributes:
        id: Distinct within a source.
        query: What it answers, the set's own text; blank where there is none.
        items: Ids, distinct, in the order of the source.
        metadata: Further fields of the set; two sets are equal whatever these say.
    """

    id: str
    query: str
    items: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Source:
    """What a reader found: items, reference sets (may be none), a note of all that was left out."""

    name: str
    items: Items
    sets: list[ReferenceSet] = field(default_factory=list)
    note: str = ""


def collect_sets(
    found: Sequence[ReferenceSet], known: Container[str], unasked: bool = False
) -> tuple[list[ReferenceSet], str]:
    """Sets as they were found → usable reference sets, and a note of what was left out.

    Left out are: repeats of an item within a set, items that the catalog does not hold, sets
    without a query and sets without a known item. Ids are never changed.

    Args:
        found: Sets.
        known: Ids of the catalog's items.
        unasked: Keep the sets without a query, with a blank one.

    Examples:
        >>> found = [ReferenceSet("s", "beach", ("a", "a")), ReferenceSet("t", " ", ("a",))]
        >>> sets, note = collect_sets(found, {"a"})
        >>> [(entry.id, entry.items) for entry in sets]
        [('s', ('a',))]
        >>> note
        '1 set without a query left out; 1 repeat within a set left out'
    """
    sets: list[ReferenceSet] = []
    blank = bare = unknown = repeats = 0
    for entry in found:
        query = entry.query.strip()
        if not query and not unasked:
            blank += 1
            continue
        distinct = list(dict.fromkeys(entry.items))
        repeats += len(entry.items) - len(distinct)
        kept = tuple(item for item in distinct if item in known)
        unknown += len(distinct) - len(kept)
        if kept:
            sets.append(replace(entry, query=query, items=kept))
        else:
            bare += 1
    return sets, join_notes(
        counted(blank, "set without a query", "sets without a query"),
        counted(bare, "set without a known item", "sets without a known item"),
        counted(
            unknown,
            "reference to an item without an entry",
            "references to items without an entry",
        ),
        counted(repeats, "repeat within a set", "repeats within a set"),
    )


def counted(count: int, one: str, many: str, what: str = "left out") -> str:
    """'3 sets without a query left out', or '' for none."""
    return f"{count} {one if count == 1 else many} {what}" if count else ""


def join_notes(*notes: str) -> str:
    """Non-empty notes, joined by '; '."""
    return "; ".join(note for note in notes if note)


def read_source(
    path: str | Path,
    *,
    verbatim: bool = False,
    unasked: bool = False,
    fields: tuple[str, str] = RESERVED,
) -> Source:
    """Read whatever is at `path`; the form is told from the files.

    Args:
        path: One of these forms.

            * A folder of bundle CSVs (`bundle_intent.csv`, `bundle_item.csv`, `item_titles.csv`,
              `item_categories.csv`).
            * A folder with `items.jsonl` (and `sets.jsonl`).
            * One file of items (`.jsonl`, `.csv`, `.parquet`) with the fields `id` and `text`;
              other fields become metadata.
            * Polyvore: a folder with `train_no_dup.json`, `valid_no_dup.json` or
              `test_no_dup.json`, or one such file (a JSON list).
            * Playlists: a folder of `mpd.slice.*.json`, or one slice (a JSON object).
        verbatim: Leave HTML entities of bundle CSVs as they are; `&amp;` becomes `&` by default.
        unasked: Keep sets without a query (for collections); left out and counted by default.
        fields: What one file of items calls the id and the text.

    Raises:
        InputError: Nothing is there, the form is unknown, or the content is faulty.
    """
    # The readers build the classes above, so they are imported when one is needed.
    from r4t.data.bundles import is_bundles, read_bundles
    from r4t.data.jsonl import READERS, read_folder, read_items
    from r4t.data.playlists import is_playlists, read_playlists
    from r4t.data.polyvore import is_polyvore, read_polyvore

    path = Path(path)
    if not path.exists():
        raise InputError(
            f"A source must be a file or folder — found nothing at {path} — check the path."
        )
    if path.is_file() and path.suffix in READERS:
        return Source(path.stem, read_items(path, fields))
    if fields != RESERVED:
        raise InputError(
            f"The fields of an item are named for one file of items ({', '.join(sorted(READERS))}) "
            f"— found {' and '.join(fields)} for {path} — leave the names out."
        )
    if path.is_dir() and is_bundles(path):
        return read_bundles(path, verbatim, unasked)
    if path.is_dir() and (path / "items.jsonl").exists():
        return read_folder(path, unasked)
    if _is_json(path, "[") or (path.is_dir() and is_polyvore(path)):
        return read_polyvore(path, unasked)
    if _is_json(path, "{") or (path.is_dir() and is_playlists(path)):
        return read_playlists(path, unasked)
    found = sorted(entry.name for entry in path.iterdir())[:8] if path.is_dir() else path.suffix
    raise InputError(
        "A source must be a folder of bundle CSVs, a folder with items.jsonl (and sets.jsonl), "
        f"one file of items ({', '.join(sorted(READERS))}), Polyvore outfits (train_no_dup.json, "
        "…) or playlists (mpd.slice.0-999.json, …), a folder or a file of them — found "
        f"{found} at {path} — convert it to one of these."
    )


def _is_json(path: Path, opening: str) -> bool:
    """Whether a .json file begins like a list ("[") or like an object ("{")."""
    if not path.is_file() or path.suffix != ".json":
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(1000).lstrip().startswith(opening)
