"""JSON files of objects that each name a list of items (outfits, playlists) → `Source`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from r4t.data.rows import check_id, optional_text, read_json, required
from r4t.data.source import Items, ReferenceSet, Source, counted, join_notes
from r4t.errors import InputError


class NamedSets(ABC):
    """Items and sets read so far; subclasses say what the fields are called.

    A set's query is its name, or its description if it has no name (counted); its members are in
    the order of the file. Items without a name have nothing to encode: they are left out (counted).
    """

    noun: ClassVar[str]
    item_noun: ClassVar[str]
    example: ClassVar[str]
    id_field: ClassVar[str]
    items_field: ClassVar[str]
    description_field: ClassVar[str]
    columns: Sequence[str]

    def __init__(self) -> None:
        self.items: dict[str, tuple[Any, ...]] = {}  # id → text, and values of the columns
        self.nameless: set[str] = set()
        self.sets: dict[str, ReferenceSet] = {}
        self.described = 0

    @abstractmethod
    def entries(self, content: Any) -> Any:
        """List of sets in the content of a file; another value if it holds none."""

    @abstractmethod
    def item_id(self, row: Any, set_id: str, place: str) -> str:
        """Id of an item of a set."""

    @abstractmethod
    def values(self, row: Any, place: str) -> tuple[Any, ...]:
        """Text of an item, "" if it has no name, and its values of the columns."""

    def metadata(self, entry: dict[str, Any], file: Path, place: str) -> dict[str, Any]:
        """Metadata of a set, besides its description."""
        return {}

    def read(self, path: Path, files: Iterable[Path]) -> Source:
        """Read the files at a path.

        Raises:
            InputError: If a file holds no sets, a field is missing or of another kind, a set occurs
                twice, or no item has a name.
        """
        for file in files:
            content = read_json(file)
            entries = self.entries(content)
            if not isinstance(entries, list):
                keys = f" with the keys {sorted(content)[:8]}" if isinstance(content, dict) else ""
                raise InputError(
                    expected=f"a list of {self.noun}s",
                    found=f"a {type(content).__name__}{keys} in {file}",
                    remedy=f"Name a file such as {self.example}.",
                )
            for number, entry in enumerate(entries):
                self._add_set(entry, file, f"{self.noun} {number} of {file}")
        name = path.stem if path.is_file() else path.name
        if not self.items:
            raise InputError(
                expected=f"at least one {self.item_noun} with a name",
                found=f"none in the {len(self.sets)} {self.noun}s of {name}",
                remedy="Name other files.",
            )
        texts, *columns = map(list, zip(*self.items.values()))
        items = Items(list(self.items), texts, dict(zip(self.columns, columns)))
        note = join_notes(
            counted(len(self.nameless), self.item_noun, "without a name"),
            counted(self.described, self.noun, "without a name", "queried by description"),
        )
        return Source(name, items, list(self.sets.values()), note)

    def _add_set(self, entry: Any, file: Path, place: str) -> None:
        set_id = required(entry, self.id_field, str, place)
        check_id(set_id, self.sets, f"each {self.noun} once", place, f"{self.id_field} ")
        rows = enumerate(required(entry, self.items_field, list, place))
        ids = [self._add_item(row, set_id, f"{self.item_noun} {n} of {place}") for n, row in rows]
        query = optional_text(entry, "name")
        description = optional_text(entry, self.description_field)
        self.described += bool(description) and not query
        metadata = {self.description_field: description or None}
        metadata |= self.metadata(entry, file, place)
        named = tuple(item for item in ids if item in self.items)
        self.sets[set_id] = ReferenceSet(set_id, query or description, named, metadata)

    def _add_item(self, row: Any, set_id: str, place: str) -> str:
        item = self.item_id(row, set_id, place)
        if item not in self.items and item not in self.nameless:
            values = self.values(row, place)
            if values[0]:
                self.items[item] = values
            else:
                self.nameless.add(item)
        return item
