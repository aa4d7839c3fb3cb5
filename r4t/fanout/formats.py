"""Query ↔ prompt, completion ↔ sub-queries: what the language model reads and writes.

The *list format* says how a list is written (``Lines``, ``JsonList``, ``FewShot``), the *fan-out
format* what an entry means: the whole sub-query (``Full``) or the words to add to it (``Expand``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from r4t.errors import InputError, check_least
from r4t.fanout.few_shot import FewShot
from r4t.fanout.lists import JsonList, Lines, ListFormat
from r4t.geometry import check_anchor


class FanoutFormat(ABC):
    """Makes a query's prompt, and k sub-queries of the completion.

    Args:
        list_format: How the list is written; ``Lines`` by default.
        set_size: Number k of sub-queries, at least 1.
        anchor: Share a of the query in the direction of a sub-query, from 0 (none, as in the paper)
            to below 1: ``normalize(a·query + (1 − a)·sub-query)``. It is saved with a model.
    """

    entry: str  # "full" or "expand"

    def __init__(
        self, list_format: ListFormat | None = None, set_size: int = 10, anchor: float = 0.0
    ) -> None:
        check_least({"set_size": (set_size, 1)})
        check_anchor(anchor)
        self.list_format: ListFormat = Lines() if list_format is None else list_format
        self.set_size, self.anchor = set_size, anchor

    def prompt(self, query: str) -> str:
        """Return what the model reads."""
        return self.list_format.prompt(query, self.set_size, self.entry)

    def parse(self, query: str, completion: str) -> list[str]:
        """Return at most k sub-queries; none for a completion that cannot be parsed."""
        entries = self.list_format.read(completion)[: self.set_size]
        return [self._as_subquery(query, entry) for entry in entries]

    def completion(self, query: str, additions: Sequence[str], whole: bool = False) -> str:
        """Return the completion that adds each of ``additions`` to the query (for warm starts).

        ``whole`` additions are whole sub-queries, and are written as they are.
        """
        entries = additions if whole else [self._as_entry(query, words) for words in additions]
        return self.list_format.write(entries)

    def complete(self, completion: str) -> bool:
        """Whether the list of k entries is complete, so that the rest is not read."""
        return self.list_format.complete(completion, self.set_size)

    @abstractmethod
    def _as_subquery(self, query: str, entry: str) -> str:
        """Return the sub-query that an entry means."""

    @abstractmethod
    def _as_entry(self, query: str, addition: str) -> str:
        """Return the entry that adds the words ``addition`` to the query."""

    def spec(self) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds the format from."""
        settings = {"set_size": self.set_size, "anchor": self.anchor}
        return {"format": self.entry, **settings, "list_format": self.list_format.spec(self.entry)}


class Full(FanoutFormat):
    r"""Each entry is a whole sub-query, as in the paper.

    Examples:
        >>> Full().parse("beach day", "linen shirt\nstraw hat\n")
        ['linen shirt', 'straw hat']
    """

    entry = "full"

    def _as_subquery(self, query: str, entry: str) -> str:
        return entry

    def _as_entry(self, query: str, addition: str) -> str:
        return f"{query} {addition}"


class Expand(FanoutFormat):
    r"""Each entry is the one to three words to add: sub-query = query + words.

    Args:
        list_format: See ``FanoutFormat``.
        set_size: See ``FanoutFormat``.
        words: Most words that an entry may add, at least 1; further words are dropped. Without this
            limit, tuning for groundedness learns entries as long as a title, which bury the query.
        anchor: See ``FanoutFormat``.

    Examples:
        >>> Expand().parse("beach day", "linen shirt\nvery wide brimmed straw hat\n")
        ['beach day linen shirt', 'beach day very wide brimmed']
    """

    entry = "expand"

    def __init__(
        self,
        list_format: ListFormat | None = None,
        set_size: int = 10,
        words: int = 3,
        anchor: float = 0.0,
    ) -> None:
        super().__init__(list_format, set_size, anchor)
        check_least({"words": (words, 1)})
        self.words = words

    def _as_subquery(self, query: str, entry: str) -> str:
        return " ".join([query, *entry.split()[: self.words]])

    def _as_entry(self, query: str, addition: str) -> str:
        return addition

    def spec(self) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds the format from."""
        return {**super().spec(), "words": self.words}


def load_format(spec: dict[str, Any]) -> FanoutFormat:
    """Rebuild a format from its ``spec``."""
    formats: dict[str, Callable[..., Any]] = {"full": Full, "expand": Expand}
    formats |= {"Lines": Lines, "JsonList": JsonList, "FewShot": FewShot}
    list_spec = dict(spec["list_format"])
    names = spec["format"], list_spec.pop("name")
    if not formats.keys() >= {*names}:
        raise InputError(
            expected=f"saved formats among {', '.join(formats)}",
            found=" and ".join(map(repr, names)),
            remedy="Save the model again with this version.",
        )
    arguments = {key: spec[key] for key in ("set_size", "words", "anchor") if key in spec}
    return formats[names[0]](formats[names[1]](**list_spec), **arguments)
