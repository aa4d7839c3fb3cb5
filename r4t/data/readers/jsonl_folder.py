"""A folder of items.jsonl and, if it exists, sets.jsonl → `Source`.

Of a set, `id`, `query`, `items` and, if it has any, `facets` (lists of ids among `items`) are read; its
other fields are its metadata. A set without the field `query` has a blank one. Its `split`, if it
has one, is train, val (or dev, valid) or test: the official split.
"""

from pathlib import Path
from typing import Any

from r4t.data.readers.table import read_items
from r4t.data.rows import check_id, id_text, json_lines, read_facets, required
from r4t.data.source import SPLIT_NAMES, ReadOptions, ReferenceSet, Source
from r4t.errors import InputError, nearest

FORM = "a folder with items.jsonl (and sets.jsonl)"
FIELDS = ("id", "query", "items", "facets")


def accepts(path: Path) -> bool:
    """Whether the folder holds items.jsonl."""
    return (path / "items.jsonl").exists()


def read(path: Path, options: ReadOptions) -> Source:
    """Read both files.

    Raises:
        InputError: As `read_items`; or if a set lacks a field or repeats an id, its facets are
            faulty, or its split has another name.
    """
    items = read_items(path / "items.jsonl")
    file = path / "sets.jsonl"
    sets: dict[str, ReferenceSet] = {}
    for line, row in json_lines(file) if file.exists() else ():
        place = f"{line} of {file}"
        name = required(row, "id", str, place)
        check_id(name, sets, "distinct set ids", place)
        query = required(row, "query", str, place) if "query" in row else ""
        members = tuple(map(id_text, required(row, "items", list, place)))
        facets = read_facets(row, set(members), place)
        _check_split(row.get("split"), place)
        metadata = {key: row[key] for key in row if key not in FIELDS}
        sets[name] = ReferenceSet(name, query, members, metadata, facets)
    return Source(path.name, items, list(sets.values()))


def _check_split(split: Any, place: str) -> None:
    if split is not None and (not isinstance(split, str) or split not in SPLIT_NAMES):
        raise InputError(
            expected=f"one of {', '.join(SPLIT_NAMES)} in the field 'split'",
            found=f"{split!r} at {place}",
            remedy=f"Correct it, or give the field another name.{nearest(str(split), SPLIT_NAMES)}",
        )
