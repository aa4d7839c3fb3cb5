"""JSON, JSON Lines and CSV files → their rows with the place of each; fields, checked one by one."""

import csv
import json
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from r4t.data.source import Facets
from r4t.errors import InputError
from r4t.support.files import utf8

Placed = tuple[str, dict[str, Any]]
"""Where a row is, such as "line 7", and the row."""


def begins_with(path: Path, opening: str) -> bool:
    """Whether this is a .json file that holds a list ("[") or an object ("{")."""
    if not path.is_file() or path.suffix != ".json":
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(1000).lstrip().startswith(opening)


def read_json(path: Path) -> Any:
    """Return the value of a .json file.

    Raises:
        InputError: If the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(
            expected=f"one JSON value in {path}",
            found=f"other text ({error})",
            remedy="Unpack or download the file again.",
        ) from error


def json_lines(path: Path) -> Iterator[Placed]:
    """Yield the place and the object of each line that is not blank.

    Raises:
        InputError: If a line is not a JSON object, or the file is not UTF-8.
    """
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
                    expected="one JSON object on each line",
                    found=f"{line.strip()[:80]!r} at line {number} of {path}",
                    remedy="Correct the line.",
                )
            yield f"line {number}", row


def csv_rows(path: Path, header: Sequence[str] | None = None) -> Iterator[Placed]:
    """Yield the place and the cells of each row.

    Raises:
        InputError: If the header is not ``header``, if given, its columns are not separated by
            commas, a row has more or fewer cells, or the file is not UTF-8.
    """
    with utf8(path), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        marks = [mark for mark in (";", "\t", "|") if len(columns) == 1 and mark in columns[0]]
        if marks:
            raise InputError(
                expected="commas between the columns of a CSV",
                found=f"{marks[0]!r} in the header {columns[0]!r} of {path}",
                remedy="Save the file with commas.",
            )
        if header is not None and list(columns) != list(header):
            raise InputError(
                expected=f"the columns {', '.join(header)}",
                found=f"{', '.join(columns) or 'none'} in {path}",
                remedy="Correct the header.",
            )
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    expected=f"the {len(columns)} columns of the header in each row",
                    found=f"a different number of cells at line {reader.line_num} of {path}",
                    remedy="Correct the row.",
                )
            yield f"line {reader.line_num}", row


def id_text(value: Any) -> Any:
    """A whole number as its digits; any other value unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def required(row: Any, name: str, kind: type[str] | type[list], place: str) -> Any:
    """Return a field that an object must have; a whole number counts as a string.

    Raises:
        InputError: If the row is not an object, lacks the field or has another kind of value.

    Examples:
        >>> required({"pid": 5}, "pid", str, "playlist 0 of a.json")
        '5'
    """
    value = row.get(name) if isinstance(row, dict) else None
    value = id_text(value) if kind is str else value
    if not isinstance(value, kind):
        raise InputError(
            expected=f"a {'string' if kind is str else 'list'} in the field {name!r}",
            found=f"{json.dumps(row, ensure_ascii=False)[:80]} at {place}",
            remedy="Correct or remove the entry.",
        )
    return value


def read_facets(row: dict[str, Any], items: Container[str], place: str) -> Facets:
    """Return the gold facets of a set: the field ``facets``, or none if there is no such field.

    Raises:
        InputError: If they are not lists of ids, one is empty, or one names none of the ``items``.

    Examples:
        >>> read_facets({"facets": [[7, "a"], ["a", "a"]]}, {"7", "a", "b"}, "line 1 of a.jsonl")
        (('7', 'a'), ('a',))
    """
    value = row.get("facets")
    lists = [] if value is None else value
    shown = f"{json.dumps(value, ensure_ascii=False)[:80]} at {place}"
    faulty = not isinstance(lists, list) or not all(isinstance(facet, list) for facet in lists)
    named = [] if faulty else [[id_text(item) for item in facet] for facet in lists]
    if faulty or not all(isinstance(item, str) for facet in named for item in facet):
        raise InputError(
            expected="a list of lists of item ids in the field 'facets'",
            found=shown,
            remedy="Correct it, or leave the field out.",
        )
    if not all(named):
        raise InputError(
            expected="at least one item in each of the facets",
            found=f"an empty one in {shown}",
            remedy="Remove it.",
        )
    unknown = [item for facet in named for item in facet if item not in items]
    if unknown:
        raise InputError(
            expected="facets of the set's own items",
            found=f"{unknown[0]!r} at {place}",
            remedy="Add the item to the set, or remove it from the facet.",
        )
    return tuple(tuple(dict.fromkeys(facet)) for facet in named)


def check_id(value: str, seen: Container[str], expected: str, place: str, field: str = "") -> None:
    """Check that an id is not empty and not among those ``seen``.

    Raises:
        InputError: If it is.
    """
    if not value or value in seen:
        raise InputError(
            expected=expected,
            found=f"{field}{value!r} {'again ' if value else ''}at {place}",
            remedy="Correct or remove the entry.",
        )


def optional_text(row: dict[str, Any], name: str) -> str:
    """Return a text without surrounding space, or "" if there is none."""
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""


def optional_number(row: dict[str, Any], name: str, place: str) -> float | None:
    """Return a number, or None if there is no value.

    Raises:
        InputError: If the value is anything else.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise InputError(
            expected=f"a number in the field {name!r}",
            found=f"{value!r} at {place}",
            remedy="Write a number or leave the field out.",
        )
    return None if value is None else float(value)
