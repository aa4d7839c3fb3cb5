"""Folder of bundle CSVs (Sun et al., SIGIR 2022) → `Source`: products, bundles, their intents."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable
from pathlib import Path

from r4t.data.source import Items, ReferenceSet, Source, collect_sets, counted, join_notes
from r4t.errors import InputError
from r4t.support.files import utf8

FILES = {
    "bundle_intent.csv": ("bundle ID", "intent"),
    "bundle_item.csv": ("bundle ID", "item ID"),
    "item_titles.csv": ("item ID", "titles"),
    "item_categories.csv": ("item ID", "categories"),
}


def is_bundles(folder: Path) -> bool:
    """Whether the folder holds at least one of the four files."""
    return any((folder / name).exists() for name in FILES)


def read_bundles(folder: str | Path, verbatim: bool = False, unasked: bool = False) -> Source:
    """Read the four CSVs; ids stay as they are, HTML entities in texts become characters.

    Items are those of `item_titles.csv` in its order, with the metadata `category` (last element of
    the deepest path) and `categories` (the raw text), None where `item_categories.csv` has no row.
    Bundles without an intent or without a titled item are left out and counted in the note.

    Args:
        folder: Where the files lie.
        verbatim: Leave the HTML entities in titles and intents.
        unasked: Keep bundles with an empty intent.

    Raises:
        InputError: A file is missing, has other columns, or an id occurs twice or is empty.
    """
    folder = Path(folder)
    plain: Callable[[str], str] = str if verbatim else html.unescape
    intents, members, titles, categories = (_rows(folder / name) for name in FILES)
    titled = _distinct(titles, folder / "item_titles.csv")
    paths = _distinct(categories, folder / "item_categories.csv")
    texts = {item: plain(title).strip() for item, title in titled.items()}
    kept = [item for item, text in texts.items() if text]
    raw = [paths.get(item) for item in kept]
    items = Items(
        kept,
        [texts[item] for item in kept],
        {"category": [main_category(path) for path in raw], "categories": raw},
    )
    bundles: dict[str, list[str]] = {}
    for bundle, item, _ in members:
        bundles.setdefault(bundle, []).append(item)
    wanted = _distinct(intents, folder / "bundle_intent.csv")
    sets, note = collect_sets(
        [ReferenceSet(b, plain(text), tuple(bundles.get(b, ()))) for b, text in wanted.items()],
        set(kept),
        unasked,
    )
    return Source(
        folder.name,
        items,
        sets,
        join_notes(
            note,
            counted(
                len(texts) - len(kept), "item with an empty title", "items with an empty title"
            ),
            counted(
                len(bundles.keys() - wanted),
                "bundle",
                "bundles",
                "without a row of intent left out",
            ),
        ),
    )


def main_category(raw: str | None) -> str | None:
    """Last element of the deepest path of a category list; of equally deep ones, of the first.

    Paths are joined by commas without a space, whereas a comma inside a name is followed by one.
    The first path alone would do worse: it is often that of a brand.

    Examples:
        >>> main_category("[[Clothes, Shoes & Rings,Nike],[Clothes, Shoes & Rings,Men,Boots]]")
        'Boots'
    """
    if raw is None:
        return None
    paths = html.unescape(raw).strip().removeprefix("[[").removesuffix("]]").split("],[")
    deepest = max((_split_path(path) for path in paths), key=len)
    return deepest[-1] or None


def _split_path(path: str) -> list[str]:
    """Split at the commas that no space follows."""
    parts = path.replace(", ", "\0").split(",")
    return [part.replace("\0", ", ").strip() for part in parts]


def _rows(path: Path) -> list[tuple[str, str, int]]:
    """(first column, second column, line number) of each row below the expected header."""
    if not path.exists():
        raise InputError(
            f"A folder of bundles needs {', '.join(FILES)} — found no {path.name} in {path.parent} "
            "— add the file."
        )
    with utf8(path), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, ()))
        if header != FILES[path.name]:
            raise InputError(
                f"{path.name} must have the columns {', '.join(FILES[path.name])} "
                f"— found {', '.join(header) or 'none'} in {path} — correct the header."
            )
        rows = []
        for row in reader:
            if len(row) != 2 or not row[0]:
                raise InputError(
                    f"Each row of {path.name} needs an id and a value — found {row} at line "
                    f"{reader.line_num} of {path} — correct the row."
                )
            rows.append((row[0], row[1], reader.line_num))
    return rows


def _distinct(rows: list[tuple[str, str, int]], path: Path) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, value, line in rows:
        if key in values:
            raise InputError(
                f"Ids in {path.name} must be distinct — found {key!r} again at line {line} of "
                f"{path} — rename or remove one of the two rows."
            )
        values[key] = value
    return values
