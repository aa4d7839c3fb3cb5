"""A folder of items.jsonl and, if it exists, sets.jsonl → `Source`.

Of a set, `id`, `query` and `items` are read; its other fields are its metadata. A set without the
field `query` has a blank one.
"""

from pathlib import Path

from r4t.data.readers.table import read_items
from r4t.data.rows import check_id, id_text, json_lines, required
from r4t.data.source import ReadOptions, ReferenceSet, Source

FORM = "a folder with items.jsonl (and sets.jsonl)"


def accepts(path: Path) -> bool:
    """Whether the folder holds items.jsonl."""
    return (path / "items.jsonl").exists()


def read(path: Path, options: ReadOptions) -> Source:
    """Read both files.

    Raises:
        InputError: As `read_items`; or if a set lacks a field or repeats an id.
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
        metadata = {key: row[key] for key in row if key not in ("id", "query", "items")}
        sets[name] = ReferenceSet(name, query, members, metadata)
    return Source(path.name, items, list(sets.values()))
