"""A JSON file of a published data set → its value; fields of its objects, checked one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from r4t.errors import InputError

KINDS: dict[type, str] = {str: "a string", list: "a list", dict: "an object"}


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        InputError: It is no JSON: names the place.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(
            f"A .json file must hold one JSON value — found other text in {path} ({error}) — unpack "
            "or download it again."
        ) from error


def required(row: Any, name: str, kind: type, place: str) -> Any:
    """Return a field that an object must have.

    Args:
        row: The object.
        name: Name of the field.
        kind: str (a whole number counts as its digits), list or dict.
        place: Where the object stands, for the message.

    Raises:
        InputError: The row is no object, or it lacks the field or has another kind of value.

    Examples:
        >>> required({"pid": 5}, "pid", str, "playlist 0 of a.json")
        '5'
    """
    value = row.get(name) if isinstance(row, dict) else None
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, kind):
        shown = json.dumps(row, ensure_ascii=False)[:80]
        raise InputError(
            f"The field {name!r} must be {KINDS[kind]} — found {shown} at {place} — correct or "
            "remove the entry."
        )
    return value


def optional_text(row: dict[str, Any], name: str) -> str:
    """Return a text without the space around it; blank where there is none."""
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""


def optional_number(row: dict[str, Any], name: str, place: str) -> float | None:
    """Return a number, or None where there is none.

    Raises:
        InputError: The value is something else.
    """
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(
            f"The field {name!r} must be a number — found {value!r} at {place} — write a number or "
            "leave it out."
        )
    return float(value)
