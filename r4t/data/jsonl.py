"""One file of items, or a folder of items.jsonl and sets.jsonl → `Items`, `Source`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from r4t.data.source import RESERVED, Items, ReferenceSet, Source, check_items, collect_sets
from r4t.errors import InputError
from r4t.support.files import utf8

Placed = tuple[str, dict[str, Any]]


NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?")
"""A cell that is a number; a code such as 0123, or one of more digits than a number keeps, is not."""
LIKELY = {
    "id": ("item_id", "product_id", "sku", "asin", "uid", "key"),
    "text": ("title", "name", "description", "product", "product_name", "caption"),
}
"""What others call the two fields, for the message."""


def read_items(path: str | Path, fields: tuple[str, str] = RESERVED) -> Items:
    """Read one .jsonl, .csv or .parquet file of items; fields beside `id` and `text` are metadata.

    Whole-number ids become strings of the same digits; a field that an item lacks is None. Of a
    .csv, blank cells are None, and a column of numbers alone is one of numbers.

    Args:
        path: The file.
        fields: What it calls `id` and `text`.

    Raises:
        InputError: A row is no object, lacks a field, repeats an id or has a blank text: names the
            line.
    """
    path = Path(path)
    placed = [(place, _renamed(row, fields, f"{place} of {path}")) for place, row in _read(path)]
    places, rows = [place for place, _ in placed], [row for _, row in placed]
    ids, texts = [_text(row["id"]) for row in rows], [row["text"] for row in rows]
    check_items(ids, texts, places.__getitem__, path)
    names = dict.fromkeys(name for row in rows for name in row if name not in RESERVED)
    columns = {name: [row.get(name) for row in rows] for name in names}
    if path.suffix == ".csv":
        columns = {name: numbers_or_texts(cells) for name, cells in columns.items()}
    return Items(ids, texts, columns)


def _read(path: Path) -> Iterator[Placed]:
    return READERS[path.suffix](path)


def _renamed(row: dict[str, Any], fields: tuple[str, str], place: str) -> dict[str, Any]:
    """The row with its own names for id and text replaced by these two."""
    missing = {name: own for name, own in zip(RESERVED, fields, strict=True) if own not in row}
    if missing:
        flags = []
        for name in missing:
            likely = [key for key in row if key.strip().lower() in (name, *LIKELY[name])]
            flags.append(f"--{name}_field {likely[0] if likely else 'NAME'}")
        raise InputError(
            f"Every item needs the fields id and text — found no {' and no '.join(missing.values())} "
            f"among {sorted(row)} at {place} — rename or add what is missing, or say what it is "
            f"called: r4t catalog FILE {' '.join(flags)}."
        )
    for name, own in zip(RESERVED, fields, strict=True):
        if own != name and name in row:
            raise InputError(
                f"An item has one {name} — found the fields {name!r} and {own!r}, which is to be "
                f"it, at {place} — rename or remove the field {name!r}."
            )
    own_name = dict(zip(fields, RESERVED, strict=True))
    return {own_name.get(key, key): value for key, value in row.items()}


def numbers_or_texts(cells: list[Any]) -> list[Any]:
    """Cells of a CSV column: None for blank ones, and numbers if all the others are numbers.

    Examples:
        >>> numbers_or_texts(["3", " ", "-12"]), numbers_or_texts(["3", "1.5", ""])
        ([3, None, -12], [3.0, 1.5, None])
        >>> numbers_or_texts(["3", "007"]), numbers_or_texts(["4 EUR", "5"])
        (['3', '007'], ['4 EUR', '5'])
    """
    told = [cell for cell in cells if cell.strip()]
    found = [NUMBER.fullmatch(cell.strip()) for cell in told]
    kind: type = str
    if all(found):
        kind = int if not any(match and (match[2] or match[3]) for match in found) else float
    return [kind(cell) if cell.strip() else None for cell in cells]


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
    with utf8(path), path.open(encoding="utf-8-sig") as file:
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
    with utf8(path), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or ()
        other = [mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]]
        if other:
            raise InputError(
                f"A CSV has commas between its columns — found the header {header[0]!r} with "
                f"{other[0]!r} in {path} — save it with commas."
            )
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"Each row must have the {len(header)} columns of the header "
                    f"— found another number at line {reader.line_num} of {path} — correct the row."
                )
            yield f"line {reader.line_num}", dict(row)


def _parquet(path: Path) -> Iterator[Placed]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        table = pq.read_table(path)
    except ArrowInvalid as error:
        raise InputError(
            f"A .parquet file was expected at {path} — found something else ({error}) — write it "
            "again, or name it by what it is (.csv, .jsonl)."
        ) from error
    for number, row in enumerate(table.to_pylist()):
        yield f"row {number}", row


READERS: dict[str, Callable[[Path], Iterator[Placed]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
