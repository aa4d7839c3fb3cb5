"""Content to write → the whole file in its place, or the old file untouched."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from r4t.errors import InputError

PART = ".part"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it replaces ``path`` when the block ends without an error.

    The folder is created if missing. Each process writes to its own path, which ends in ``.part``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def utf8(path: Path) -> Iterator[None]:
    """Raise an InputError that names the byte if a block reads from ``path`` what is not UTF-8."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(
            expected="UTF-8 text",
            found=f"the byte 0x{error.object[error.start]:02x} at position {error.start} of {path}",
            remedy="Save the file as UTF-8 (in a spreadsheet: CSV UTF-8).",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with floats to six digits; without rows, remove the file instead."""
    lines = [[f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows]
    if not lines:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *lines])
