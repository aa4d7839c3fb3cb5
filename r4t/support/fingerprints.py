"""Objects and files → plain values that JSON can store, and SHA-256 fingerprints."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCALARS = (str, int, float, bool, type(None))


def to_plain(value: Any) -> Any:
    """Return an objective, or what it is built from, as its class name and public plain attributes.

    Examples:
        >>> from r4t.filters import Filter
        >>> to_plain(Filter(share=0.5))
        {'class': 'r4t.filters.Filter', 'share': 0.5, 'floor': None, 'overlap': None}
    """
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(name): to_plain(entry) for name, entry in value.items()}
    attributes = {
        name: to_plain(attribute)
        for name, attribute in getattr(value, "__dict__", {}).items()
        if not name.startswith("_") and isinstance(attribute, (*SCALARS, list, tuple))
    }
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **attributes}


def fingerprint(values: Any) -> str:
    """Return the SHA-256 of plain values, independent of the order of their keys.

    Examples:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
