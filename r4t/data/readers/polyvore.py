"""Polyvore outfits (Maryland JSON; Han et al., ACM MM 2017) → `Source`: items, outfits, names.

An item's id is `SETID_INDEX`, as in the data set's own questions, its text is its name, and its
metadata are `categoryid`, `price`, `likes` and, if `category_id.txt` ("ID name" on each line) is in
the same folder, `category`. Items of one name stay apart. Metadata of an outfit are `desc`, `likes`
and `split`, the file that it comes from.
"""

from pathlib import Path
from typing import Any

from r4t.data.readers.named_sets import NamedSets
from r4t.data.rows import begins_with, check_id, optional_number, required
from r4t.data.source import ReadOptions, Source
from r4t.errors import InputError

SPLITS = {f"{split}_no_dup": split for split in ("train", "valid", "test")}
CATEGORIES = "category_id.txt"
COLUMNS = ("categoryid", "price", "likes", "category")
SITE = "polyvore"  # a name that says nothing about an item
FORM = "Polyvore outfits (train_no_dup.json, …), a folder of these files or one of them"


def accepts(path: Path) -> bool:
    """Whether the folder holds one of the three files, or the file is a JSON list."""
    return begins_with(path, "[") or any((path / f"{stem}.json").is_file() for stem in SPLITS)


def read(path: Path, options: ReadOptions) -> Source:
    """Read one file, or those of the three that the folder holds."""
    files = [path] if path.is_file() else [path / f"{stem}.json" for stem in SPLITS]
    categories = _categories(files[0].parent / CATEGORIES)
    return _Outfits(categories).read(path, filter(Path.is_file, files))


class _Outfits(NamedSets):
    noun, item_noun, example = "outfit", "item", "train_no_dup.json"
    id_field, items_field, description_field = "set_id", "items", "desc"

    def __init__(self, categories: dict[str, str] | None) -> None:
        super().__init__()
        self.categories = categories or {}
        self.columns = COLUMNS[:-1] if categories is None else COLUMNS

    def entries(self, content: Any) -> Any:
        return content

    def metadata(self, entry: dict[str, Any], file: Path, place: str) -> dict[str, Any]:
        return {"likes": optional_number(entry, "likes", place), "split": SPLITS.get(file.stem)}

    def item_id(self, row: Any, set_id: str, place: str) -> str:
        item = f"{set_id}_{required(row, 'index', str, place)}"
        check_id(item, self.items, "items with distinct indices in each outfit", place)
        return item

    def values(self, row: Any, place: str) -> tuple[Any, ...]:
        text = required(row, "name", str, place).strip()
        if text.lower() == SITE:
            return ("",)
        category = row.get("categoryid")
        if category is not None:
            category = required(row, "categoryid", str, place)
        price, likes = (optional_number(row, name, place) for name in ("price", "likes"))
        return text, category, price, likes, self.categories.get(category)


def _categories(path: Path) -> dict[str, str] | None:
    """Id → name of each line "ID name"."""
    if not path.is_file():
        return None
    names = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        key, _, name = line.strip().partition(" ")
        if not key.isdigit() or not name.strip():
            raise InputError(
                expected=f"the number and the name of a category on each line of {CATEGORIES}",
                found=f"{line[:80]!r} at line {number} of {path}",
                remedy="Correct the line.",
            )
        names[key] = name.strip()
    return names
