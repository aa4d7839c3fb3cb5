"""A folder of bundle CSVs (Sun et al., SIGIR 2022) → `Source`: products, bundles, their intents.

Items are those of `item_titles.csv` in its order, with the metadata `category` (the end of the
deepest path) and `categories` (the raw text), None if `item_categories.csv` has no row. The intent
of a bundle is its query. Ids stay unchanged; HTML entities in texts become characters.
"""

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from r4t.data.rows import check_id, csv_rows
from r4t.data.source import Items, ReadOptions, ReferenceSet, Source, counted, join_notes
from r4t.errors import InputError

FILES = {
    "bundle_intent.csv": ("bundle ID", "intent"),
    "bundle_item.csv": ("bundle ID", "item ID"),
    "item_titles.csv": ("item ID", "titles"),
    "item_categories.csv": ("item ID", "categories"),
}
FORM = f"a folder of bundle CSVs ({', '.join(FILES)})"


def accepts(path: Path) -> bool:
    """Whether the folder holds at least one of the four files."""
    return any((path / name).exists() for name in FILES)


def read(path: Path, options: ReadOptions) -> Source:
    """Read the four files.

    Raises:
        InputError: If a file is missing, has other columns, or an id occurs twice or is empty.
    """
    clean: Callable[[str], str] = str if options.verbatim else html.unescape
    intents = dict(_pairs(path / "bundle_intent.csv"))
    titles = dict(_pairs(path / "item_titles.csv"))
    categories = dict(_pairs(path / "item_categories.csv"))
    texts = {item: text for item, title in titles.items() if (text := clean(title).strip())}
    raw = [categories.get(item) for item in texts]
    metadata = {"category": [main_category(paths) for paths in raw], "categories": raw}
    bundles: dict[str, list[str]] = {}
    for bundle, item in _pairs(path / "bundle_item.csv", repeats=True):
        bundles.setdefault(bundle, []).append(item)
    sets = [
        ReferenceSet(bundle, clean(intent), tuple(bundles.get(bundle, ())))
        for bundle, intent in intents.items()
    ]
    note = join_notes(
        counted(len(titles) - len(texts), "item", "with an empty title"),
        counted(len(bundles.keys() - intents), "bundle", "without a row of intent"),
    )
    return Source(path.name, Items(list(texts), list(texts.values()), metadata), sets, note)


def main_category(raw: str | None) -> str | None:
    """Last element of the deepest path of a category list; the first of equally deep paths counts.

    Commas without a space join the elements of a path; a comma inside a name is followed by one.
    The first path alone would do worse: it is often that of a brand.

    Examples:
        >>> main_category("[[Clothes, Shoes & Rings,Nike],[Clothes, Shoes & Rings,Men,Boots]]")
        'Boots'
    """
    if raw is None:
        return None
    paths = html.unescape(raw).strip().removeprefix("[[").removesuffix("]]").split("],[")
    deepest = max((re.split(r",(?! )", path) for path in paths), key=len)
    return deepest[-1].strip() or None


def _pairs(path: Path, repeats: bool = False) -> Iterator[tuple[str, str]]:
    """First and second cell of each row; the first is an id, which may occur again if `repeats`."""
    if not path.exists():
        raise InputError(
            expected=f"{', '.join(FILES)} in a folder of bundles",
            found=f"no {path.name} in {path.parent}",
            remedy="Add the file.",
        )
    seen: set[str] = set()
    expected = f"{'an id' if repeats else 'an id of its own'} in each row of {path.name}"
    for place, row in csv_rows(path, FILES[path.name]):
        key, value = row.values()
        check_id(key, () if repeats else seen, expected, f"{place} of {path}")
        seen.add(key)
        yield key, value
