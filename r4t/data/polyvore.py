"""Polyvore outfits (Maryland JSON; Han et al., ACM MM 2017) → `Source`: items, outfits, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r4t.data.fields import optional_number, optional_text, read_json, required
from r4t.data.source import Items, ReferenceSet, Source, collect_sets, counted, join_notes
from r4t.errors import InputError

SPLITS = {f"{split}_no_dup": split for split in ("train", "valid", "test")}
CATEGORIES = "category_id.txt"
NAMELESS = ("", "polyvore")
"""Names that say nothing of an item."""


def is_polyvore(folder: Path) -> bool:
    """Whether the folder holds at least one of the three files of outfits."""
    return any((folder / f"{stem}.json").is_file() for stem in SPLITS)


def read_polyvore(path: str | Path, unasked: bool = False) -> Source:
    """Read a folder of `train_no_dup.json`, `valid_no_dup.json`, `test_no_dup.json`, or one file.

    An item is called `SETID_INDEX`, as the data set's own questions call it, its text is its name,
    and its metadata are `categoryid`, `price`, `likes` and, where `category_id.txt` ("ID name" a
    line) lies beside, `category`. Items without a name have nothing to encode: they are left out,
    and counted. Items of one name stay apart.

    A set's query is the name of the outfit, or its description where it has no name (counted); its
    metadata are `desc`, `likes` and `split`, the file that it comes from.

    Args:
        path: The folder, or one such file.
        unasked: Keep outfits with neither name nor description.

    Raises:
        InputError: A file is no list of outfits, a field is missing or of another kind, or an
            outfit or an item occurs twice.
    """
    path = Path(path)
    files = [path] if path.is_file() else [path / f"{stem}.json" for stem in SPLITS]
    outfits = _Outfits(_categories((path.parent if path.is_file() else path) / CATEGORIES))
    for file in files:
        if file.is_file():
            outfits.add(file)
    return outfits.source(path.stem if path.is_file() else path.name, unasked)


class _Outfits:
    """What was read so far.

    Args:
        categories: Id of a category → its name; None where nobody names them.
    """

    def __init__(self, categories: dict[str, str] | None) -> None:
        self.categories = categories
        self.items: dict[str, dict[str, Any]] = {}
        self.sets: dict[str, ReferenceSet] = {}
        self.nameless = 0
        self.described = 0

    def add(self, file: Path) -> None:
        outfits = read_json(file)
        if not isinstance(outfits, list):
            raise InputError(
                "A file of Polyvore outfits must be a list of them — found "
                f"{type(outfits).__name__} in {file} — name a file such as train_no_dup.json."
            )
        for number, outfit in enumerate(outfits):
            self._add_outfit(outfit, SPLITS.get(file.stem), f"outfit {number} of {file}")

    def _add_outfit(self, outfit: Any, split: str | None, place: str) -> None:
        name = required(outfit, "set_id", str, place)
        if name in self.sets:
            raise InputError(
                f"Each outfit must stand in one file once — found set_id {name!r} again at {place} "
                "— remove one of the two."
            )
        members = []
        for row in required(outfit, "items", list, place):
            item = f"{name}_{required(row, 'index', str, f'an item of {place}')}"
            if item in members:
                raise InputError(
                    f"The items of an outfit must have distinct indices — found {item!r} twice at "
                    f"{place} — remove one of the two."
                )
            if self._add_item(item, row, f"item {item!r} of {place}"):
                members.append(item)
        query, desc = optional_text(outfit, "name"), optional_text(outfit, "desc")
        self.described += not query and bool(desc)
        likes = optional_number(outfit, "likes", place)
        metadata = {"desc": desc or None, "likes": likes, "split": split}
        self.sets[name] = ReferenceSet(name, query or desc, tuple(members), metadata)

    def _add_item(self, item: str, row: dict[str, Any], place: str) -> bool:
        text = required(row, "name", str, place).strip()
        if text.lower() in NAMELESS:
            self.nameless += 1
            return False
        category = row.get("categoryid")
        self.items[item] = {
            "text": text,
            "categoryid": None if category is None else required(row, "categoryid", str, place),
            "price": optional_number(row, "price", place),
            "likes": optional_number(row, "likes", place),
        }
        return True

    def source(self, name: str, unasked: bool) -> Source:
        if not self.items:
            raise InputError(
                "A catalog of outfits needs at least one item with a name — found none in the "
                f"{len(self.sets)} outfits of {name} — name other files."
            )
        rows = self.items.values()
        columns = {key: [row[key] for row in rows] for key in ("categoryid", "price", "likes")}
        if self.categories is not None:
            columns["category"] = [self.categories.get(key) for key in columns["categoryid"]]
        items = Items(list(self.items), [row["text"] for row in rows], columns)
        sets, note = collect_sets(list(self.sets.values()), self.items.keys(), unasked)
        return Source(
            name,
            items,
            sets,
            join_notes(
                note,
                counted(self.nameless, "item without a name", "items without a name"),
                counted(
                    self.described,
                    "outfit without a name",
                    "outfits without a name",
                    "asked for by the description",
                ),
            ),
        )


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
                f"Each line of {CATEGORIES} must be a category's number and its name — found "
                f"{line[:80]!r} at line {number} of {path} — correct the line."
            )
        names[key] = name.strip()
    return names
