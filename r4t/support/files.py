"""A file as it is written → the file in its place, whole or as it was before."""

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
    """Give a path beside ``path`` to write to; it takes its place once the block is through.

    Where the block raises, the old file stays as it was. The folder is made if missing. Each process
    writes to a path of its own, which ends in ``.part``.
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
    """Say what to do where a text that is read from ``path`` is not UTF-8.

    Raises:
        InputError: Names the byte.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(
            f"A text file must be UTF-8 — found the byte 0x{error.object[error.start]:02x}, which is "
            f"none of it, in {path} — save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file of UTF-8 text, or none of it."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a whole table, its floats with six digits; without a row, remove an older one."""
    lines = [[f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows]
    if not lines:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
