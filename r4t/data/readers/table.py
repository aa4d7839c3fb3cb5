"""One .jsonl, .csv or .parquet file of items → `Source` without sets."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from r4t.data.rows import Placed, csv_rows, id_text, json_lines
from r4t.data.source import RESERVED, Items, ReadOptions, Source
from r4t.errors import InputError

NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?")
"""A numeric cell; a code such as 0123 is text, as are more digits than a float holds exactly."""
LIKELY = {
    "id": ("item_id", "product_id", "sku", "asin", "uid", "key"),
    "text": ("title", "name", "description", "product", "product_name", "caption"),
}
"""Other usual names of the two fields, to suggest in the message."""


def accepts(path: Path) -> bool:
    """Whether the path is a file with one of the three suffixes."""
    return path.is_file() and path.suffix in ROWS


def read(path: Path, options: ReadOptions) -> Source:
    """Read the items, whose fields may be named by the options."""
    return Source(path.stem, read_items(path, options.fields))


def read_items(path: Path, fields: tuple[str, str] = RESERVED) -> Items:
    """Read a file of items; fields other than `id` and `text` are metadata.

    Whole-number ids become strings of the same digits; a field that an item lacks is None. In a
    .csv, blank cells are None, and a column that holds only numbers becomes numeric. ``fields`` are
    what the file calls `id` and `text`.

    Raises:
        InputError: If a row is not an object, lacks a field, repeats an id or has a blank text;
            the message names the line.
    """
    places, rows = [], []
    for place, row in ROWS[path.suffix](path):
        places.append(place)
        rows.append(_rename(row, fields, f"{place} of {path}"))
    names = dict.fromkeys(name for row in rows for name in row if name not in RESERVED)
    columns = {name: [row.get(name) for row in rows] for name in names}
    if path.suffix == ".csv":
        columns = {name: parse_cells(cells) for name, cells in columns.items()}
    ids = [id_text(row["id"]) for row in rows]
    return Items(ids, [row["text"] for row in rows], columns, path, places)


def _rename(row: dict[str, Any], fields: tuple[str, str], place: str) -> dict[str, Any]:
    """The row with its id and text under these two names."""
    pairs = list(zip(RESERVED, fields, strict=True))
    missing = {name: field for name, field in pairs if field not in row}
    if missing:
        flags = []
        for name in missing:
            likely = [key for key in row if key.strip().lower() in (name, *LIKELY[name])]
            flags.append(f"--{name}_field {likely[0] if likely else 'NAME'}")
        raise InputError(
            expected="the fields id and text in each item",
            found=f"no {' and no '.join(missing.values())} among {sorted(row)} at {place}",
            remedy="Rename or add what is missing, or say what it is called: "
            f"r4t catalog FILE {' '.join(flags)}.",
        )
    for name, field in pairs:
        if field != name and name in row:
            raise InputError(
                expected=f"one {name} for each item, in the field {field!r}",
                found=f"a field {name!r} as well at {place}",
                remedy=f"Rename or remove the field {name!r}.",
            )
    renamed = {field: name for name, field in pairs}
    return {renamed.get(key, key): value for key, value in row.items()}


def parse_cells(cells: list[Any]) -> list[Any]:
    """Cells of a CSV column: None for blank ones, and numbers if all the others are numbers.

    Examples:
        >>> parse_cells(["3", " ", "-12"]), parse_cells(["3", "1.5", ""])
        ([3, None, -12], [3.0, 1.5, None])
        >>> parse_cells(["3", "007"]), parse_cells(["4 EUR", "5"])
        (['3', '007'], ['4 EUR', '5'])
    """
    matches = [NUMBER.fullmatch(cell.strip()) for cell in cells if cell.strip()]
    kind: type = str
    if all(matches):
        kind = float if any(match and (match[2] or match[3]) for match in matches) else int
    return [kind(cell) if cell.strip() else None for cell in cells]


def _parquet(path: Path) -> Iterator[Placed]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        table = pq.read_table(path)
    except ArrowInvalid as error:
        raise InputError(
            expected=f"a Parquet file at {path}",
            found=f"other content ({error})",
            remedy="Write the file again, or give it the suffix of its content (.csv, .jsonl).",
        ) from error
    for number, row in enumerate(table.to_pylist()):
        yield f"row {number}", row


ROWS: dict[str, Callable[[Path], Iterator[Placed]]] = {
    ".csv": csv_rows,
    ".jsonl": json_lines,
    ".parquet": _parquet,
}
"""Suffix → function from a file to the place and the fields of each row."""
FORM = f"one file of items ({', '.join(ROWS)})"
