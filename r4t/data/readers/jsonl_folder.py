"""A folder of items.jsonl and, if it exists, sets.jsonl → `Source`.

Of a set, `id`, `query` and `items` are read; its other fields are its metadata. A set without the
field `query` has a blank one.
"""

import json
from pathlib import Path
from typing import Any

from r4t.data.readers.table import read_items
from r4t.data.rows import id_text, json_lines
from r4t.data.source import ReadOptions, ReferenceSet, Source
from r4t.errors import InputError

FORM = "a folder with items.jsonl (and sets.jsonl)"


def accepts(path: Path) -> bool:
    """Whether the folder holds items.jsonl."""
    return (path / "items.jsonl").exists()


def read(path: Path, options: ReadOptions) -> Source:
    """Read both files.

    Raises:
        InputError: As `read_items`; or if a set lacks a field, repeats an id, or its items are not
            a list.
    """
    items = read_items(path / "items.jsonl")
    file = path / "sets.jsonl"
    sets: dict[str, ReferenceSet] = {}
    for place, row in json_lines(file) if file.exists() else ():
        entry = _reference_set(row, f"{place} of {file}")
        if entry.id in sets:
            raise InputError(
                expected="distinct set ids",
                found=f"{entry.id!r} again at {place} of {file}",
                remedy="Rename or remove one of the two.",
            )
        sets[entry.id] = entry
    return Source(path.name, items, list(sets.values()))


def _reference_set(row: dict[str, Any], place: str) -> ReferenceSet:
    name, query, items = id_text(row.get("id")), row.get("query", ""), row.get("items")
    strings = name and isinstance(name, str) and isinstance(query, str)
    if not strings or not isinstance(items, list):
        raise InputError(
            expected="a set with an id, items (a list of ids) and, if any, a query (a string)",
            found=f"{json.dumps(row)[:80]} at {place}",
            remedy="Correct the line.",
        )
    metadata = {key: value for key, value in row.items() if key not in ("id", "query", "items")}
    return ReferenceSet(name, query, tuple(map(id_text, items)), metadata)
