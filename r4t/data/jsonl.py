"""One file of items, or a folder of items.jsonl and sets.jsonl → `Items`, `Source`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from r4t.data.source import RESERVED, Items, ReferenceSet, Source, check_items, collect_sets
from r4t.errors import InputError

Placed = tuple[str, dict[str, Any]]


def read_items(path: str | Path) -> Items:
    """Read one .jsonl, .csv or .parquet file of items; fields beside `id` and `text` are metadata.

    Whole-number ids become strings of the same digits; a field that an item lacks is None.

    Raises:
        InputError: A row is no object, lacks a field, repeats an id or has a blank text: names the
            line.
    """
    path = Path(path)
    placed = list(READERS[path.suffix](path))
    places, rows = [place for place, _ in placed], [row for _, row in placed]
    for place, row in placed:
        missing = [name for name in RESERVED if name not in row]
        if missing:
            raise InputError(
                f"Every item needs the fields id and text — found no {missing[0]} among "
                f"{sorted(row)} at {place} of {path} — rename or add the field."
            )
    ids, texts = [_text(row["id"]) for row in rows], [row["text"] for row in rows]
    check_items(ids, texts, places.__getitem__, path)
    names = dict.fromkeys(name for row in rows for name in row if name not in RESERVED)
    return Items(ids, texts, {name: [row.get(name) for row in rows] for name in names})


def read_folder(folder: str | Path, unasked: bool = False) -> Source:
    """Read items.jsonl and, where it exists, sets.jsonl.

    Of a set, `id`, `query` and `items` are read, and what else it has is its metadata; one without
    the field `query` has a blank one.

    Args:
        folder: Where the files lie.
        unasked: Keep sets without a query.

    Raises:
        InputError: As `read_items`; or a set lacks a field, repeats an id or its items are no list
            of ids.
    """
    folder = Path(folder)
    items = read_items(folder / "items.jsonl")
    path = folder / "sets.jsonl"
    if not path.exists():
        return Source(folder.name, items)
    found: dict[str, ReferenceSet] = {}
    for place, row in _jsonl(path):
        entry = _set(row, f"{place} of {path}")
        if entry.id in found:
            raise InputError(
                f"Set ids must be distinct — found {entry.id!r} again at {place} of {path} "
                "— rename or remove one of the two."
            )
        found[entry.id] = entry
    sets, note = collect_sets(list(found.values()), set(items.ids), unasked)
    return Source(folder.name, items, sets, note)


def _set(row: dict[str, Any], place: str) -> ReferenceSet:
    name, query, members = _text(row.get("id")), row.get("query", ""), row.get("items")
    good = isinstance(name, str) and name and isinstance(query, str) and isinstance(members, list)
    if not good:
        raise InputError(
            "A set needs an id, a query (a string, if any) and items (a list of ids) "
            f"— found {json.dumps(row)[:80]} at {place} — correct the line."
        )
    rest = {key: value for key, value in row.items() if key not in ("id", "query", "items")}
    return ReferenceSet(str(name), query, tuple(_text(item) for item in members or ()), rest)


def _text(value: Any) -> Any:
    """A whole number as its digits; anything else as it is (checked where it is used)."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _jsonl(path: Path) -> Iterator[Placed]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise InputError(
                    f"Each line must be one JSON object — found {line.strip()[:80]!r} at line "
                    f"{number} of {path} — correct the line."
                )
            yield f"line {number}", row


def _csv(path: Path) -> Iterator[Placed]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"Each row must have the {len(reader.fieldnames or ())} columns of the header "
                    f"— found another number at line {reader.line_num} of {path} — correct the row."
                )
            yield f"line {reader.line_num}", dict(row)


def _parquet(path: Path) -> Iterator[Placed]:
    import pyarrow.parquet as pq

    for number, row in enumerate(pq.read_table(path).to_pylist()):
        yield f"row {number}", row


READERS: dict[str, Callable[[Path], Iterator[Placed]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
