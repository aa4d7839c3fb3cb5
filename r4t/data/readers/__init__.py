"""A file or folder → `Source`, by the first reader that accepts it.

To add a form of data, write one module with `FORM`, `accepts` and `read`, and list it in `READERS`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from r4t.data.readers import bundles, jsonl_folder, playlists, polyvore, table
from r4t.data.source import RESERVED, ReadOptions, Source, collect_sets, join_notes
from r4t.errors import InputError


class Reader(Protocol):
    """A module that reads one form of data."""

    FORM: str  # what the user must bring, for the message that lists all forms

    def accepts(self, path: Path) -> bool:
        """Whether this existing file or folder has the form."""
        ...

    def read(self, path: Path, options: ReadOptions) -> Source:
        """Read the items, every set of the data (usable or not) and a note of skipped items.

        Raises:
            InputError: If the content is faulty.
        """
        ...


READERS: tuple[Reader, ...] = (table, bundles, jsonl_folder, polyvore, playlists)  # in this order


def read_source(
    path: str | Path,
    *,
    verbatim: bool = False,
    keep_without_query: bool = False,
    fields: tuple[str, str] = RESERVED,
) -> Source:
    """Read the items and reference sets at `path`; the files decide which reader is used.

    Args:
        path: A file or folder in one of the forms that the modules of this package describe.
        verbatim: Keep HTML entities of bundle CSVs; by default `&amp;` becomes `&`.
        keep_without_query: Keep sets without a query, for collections.
        fields: What one file of items calls the id and the text.

    Raises:
        InputError: If nothing exists at the path, no reader accepts it, or the content is faulty.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            expected="a source file or folder", found=f"nothing at {path}", remedy="Check the path."
        )
    reader = next((reader for reader in READERS if reader.accepts(path)), None)
    if reader is None:
        suffix = f"the suffix {path.suffix!r}"
        files = sorted(entry.name for entry in path.iterdir())[:8] if path.is_dir() else suffix
        raise InputError(
            expected=f"one of these: {'; '.join(reader.FORM for reader in READERS)}",
            found=f"{files} at {path}",
            remedy="Convert it to one of these forms.",
        )
    if fields != RESERVED and reader is not table:
        raise InputError(
            expected=f"names of the id and text fields only for {table.FORM}",
            found=f"{' and '.join(fields)} for {path}",
            remedy="Leave the names out.",
        )
    source = reader.read(path, ReadOptions(fields, verbatim))
    sets, note = collect_sets(source.sets, set(source.items.ids), keep_without_query)
    return replace(source, sets=sets, note=join_notes(note, source.note))
