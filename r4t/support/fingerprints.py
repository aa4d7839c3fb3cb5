"""Objects and files → plain values that tell what they are, and fingerprints of them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BLOCK = 1 << 22  # bytes read at a time


def to_plain(part: Any) -> Any:
    """Class and public arguments of an objective, or of what it is made of, as plain values.

    Examples:
        >>> from r4t.filters import Filter
        >>> to_plain(Filter(share=0.5))
        {'class': 'r4t.filters.Filter', 'share': 0.5, 'floor': None, 'overlap': None}
    """
    if isinstance(part, (str, int, float, bool)) or part is None:
        return part
    if isinstance(part, (list, tuple)):
        return [to_plain(value) for value in part]
    if isinstance(part, Mapping):
        return {str(name): to_plain(value) for name, value in part.items()}
    kind = f"{type(part).__module__}.{type(part).__qualname__}"
    held = {name: value for name, value in vars(part).items() if not name.startswith("_")}
    plain = {name: value for name, value in held.items() if _is_plain(value)}
    return {"class": kind, **{name: to_plain(value) for name, value in plain.items()}}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) or hasattr(part, "__dict__") for part in value)
    return value is None or isinstance(value, (str, int, float, bool))


def fingerprint(facts: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys.

    Examples:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """SHA-256 of the names and contents of all files in a folder and below."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while part := file.read(BLOCK):
                digest.update(part)
    return digest.hexdigest()
