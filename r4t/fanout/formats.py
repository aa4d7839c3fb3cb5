"""Query ↔ prompt, completion ↔ sub-queries: what the language model reads and writes.

Two choices combine. The *contract* says how a list is written: ``Lines`` (one entry a line; small
models) or ``JsonList`` (the paper's prompt, with the list as JSON inside ``<queries>``). The
*format* says what an entry means: ``Full`` (the whole sub-query) or ``Expand`` (only the words to
add to the query).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from r4t.errors import InputError
from r4t.fanout.reading import list_ends, read_entries, without_tags
from r4t.fanout.templates import filled, template
from r4t.search import check_anchor


class Contract(ABC):
    """How a list of entries is asked for, written and read.

    Attributes:
        think: Whether the model may think before its list.
    """

    think: bool

    @abstractmethod
    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return what the model is told; ``entry`` is ``full`` or ``expand``."""

    @abstractmethod
    def write(self, entries: Sequence[str]) -> str:
        """Return the completion that lists ``entries``."""

    @abstractmethod
    def read(self, completion: str) -> list[str]:
        """Return the entries of a completion; none if it cannot be parsed."""

    @abstractmethod
    def end(self, set_size: int) -> tuple[str, int]:
        """Return a string and how often it stands in a complete list of ``set_size`` entries."""

    @abstractmethod
    def complete(self, completion: str, set_size: int) -> bool:
        """Whether the list of ``set_size`` entries is complete: what follows is not read."""

    @abstractmethod
    def spec(self, entry: str) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds the contract from."""


class Lines(Contract):
    r"""One entry a line after the bare query; what a small model can learn from scratch.

    Examples:
        >>> Lines().read("linen shirt\n\n straw hat ")
        ['linen shirt', 'straw hat']
    """

    think = False

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the query and a line break."""
        return f"{query}\n"

    def write(self, entries: Sequence[str]) -> str:
        """Return one entry a line."""
        return "\n".join(entries) + "\n"

    def read(self, completion: str) -> list[str]:
        """Return the lines that are not blank, trimmed."""
        return [line.strip() for line in completion.splitlines() if line.strip()]

    def end(self, set_size: int) -> tuple[str, int]:
        """Return the line break, once for each entry."""
        return "\n", set_size

    def complete(self, completion: str, set_size: int) -> bool:
        """Whether there are as many line breaks as entries."""
        return completion.count("\n") >= set_size

    def spec(self, entry: str) -> dict[str, Any]:
        """Return the name."""
        return {"name": "Lines"}


class JsonList(Contract):
    """The paper's prompt contract: think if you like, then a JSON list inside ``<queries>``.

    Completions are read forgivingly, see ``r4t.fanout.reading``. The template goes along with a
    saved model, which is asked later as it was asked in training.

    Args:
        task: ``oar`` or ``wscr``, for the prompts that ship; or the path of a text file with the
            slot ``{query}`` and, if you like, ``{set_size}`` and ``{think}``.
        think: Whether the prompt allows a thought inside ``<think>`` first. Chat templates that
            know ``enable_thinking`` are told the same.
        template: The text itself in place of the file's.

    Raises:
        InputError: There is no such prompt, or its slots are not right.

    Examples:
        >>> JsonList().read('<think>hm</think><queries>["linen shirt", "straw hat",]</queries>')
        ['linen shirt', 'straw hat']
        >>> JsonList().read("I cannot help with that.")
        []
    """

    def __init__(self, task: str = "oar", think: bool = True, template: str | None = None) -> None:
        self.task = task
        self.think = think
        self.template = template
        self._template("full")

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the template with its slots filled in."""
        return filled(self._template(entry), query, set_size, self.think)

    def write(self, entries: Sequence[str]) -> str:
        """Return the entries as JSON inside ``<queries>``; a tag within an entry is escaped."""
        return f"<queries>{without_tags(json.dumps(list(entries), ensure_ascii=False))}</queries>"

    def read(self, completion: str) -> list[str]:
        """Return the entries of the first list inside ``<queries>``, trimmed, none blank."""
        return read_entries(completion)

    def end(self, set_size: int) -> tuple[str, int]:
        """Return the closing tag, once."""
        return "</queries>", 1

    def complete(self, completion: str, set_size: int) -> bool:
        """Whether the closing tag is there, outside of any thought."""
        return list_ends(completion)

    def spec(self, entry: str) -> dict[str, Any]:
        """Return task and template."""
        text = self._template(entry)
        return {"name": "JsonList", "task": self.task, "think": self.think, "template": text}

    def _template(self, entry: str) -> str:
        return template(self.task, entry, self.template)


class FanoutFormat(ABC):
    """What the model reads for a query and how its completion becomes k sub-queries.

    Args:
        contract: How the list is written; ``Lines`` by default.
        set_size: Number k of sub-queries asked for.
        anchor: Share a of the query in the direction that a sub-query means, from 0 (none, as in
            the paper) to below 1: ``normalize(a·query + (1 − a)·sub-query)``. Groundedness and
            alignment see that direction. It goes along with a saved model.
    """

    entry: str

    def __init__(
        self, contract: Contract | None = None, set_size: int = 10, anchor: float = 0.0
    ) -> None:
        if set_size < 1:
            raise InputError(f"set_size must be at least 1, found {set_size}; ask for 10, say.")
        check_anchor(anchor)
        self.contract: Contract = Lines() if contract is None else contract
        self.set_size = set_size
        self.anchor = anchor

    def prompt(self, query: str) -> str:
        """Return what the model is told."""
        return self.contract.prompt(query, self.set_size, self.entry)

    def parse(self, query: str, completion: str) -> list[str]:
        """Return at most k sub-queries; none for a completion that cannot be parsed."""
        entries = self.contract.read(completion)[: self.set_size]
        return [self.subquery(query, entry) for entry in entries]

    def complete(self, query: str, additions: Sequence[str]) -> str:
        """Return the completion that adds each of ``additions`` to the query (for warm starts)."""
        return self.contract.write([self.written(query, words) for words in additions])

    @abstractmethod
    def subquery(self, query: str, entry: str) -> str:
        """Return the sub-query that an entry means."""

    @abstractmethod
    def written(self, query: str, addition: str) -> str:
        """Return the entry that adds the words ``addition`` to the query."""

    def spec(self) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds the format from."""
        contract = self.contract.spec(self.entry)
        return {
            "format": self.entry,
            "set_size": self.set_size,
            "anchor": self.anchor,
            "contract": contract,
        }


class Full(FanoutFormat):
    r"""Each entry is a whole sub-query: the paper's contract.

    Examples:
        >>> Full().parse("beach day", "linen shirt\nstraw hat\n")
        ['linen shirt', 'straw hat']
    """

    entry = "full"

    def subquery(self, query: str, entry: str) -> str:
        """Return the entry itself."""
        return entry

    def written(self, query: str, addition: str) -> str:
        """Return the query followed by the words."""
        return f"{query} {addition}"


class Expand(FanoutFormat):
    r"""Each entry is the one to three words to add: sub-query = query + words.

    Words beyond the limit are not used: without one, tuning for groundedness finds that an entry
    as long as a title buries the query.

    Args:
        contract: How the list is written; ``Lines`` by default.
        set_size: Number k of sub-queries asked for.
        words: Most words that an entry may add, at least 1.
        anchor: Share of the query in each direction, see ``FanoutFormat``.

    Examples:
        >>> Expand().parse("beach day", "linen shirt\nvery wide brimmed straw hat\n")
        ['beach day linen shirt', 'beach day very wide brimmed']
    """

    entry = "expand"

    def __init__(
        self,
        contract: Contract | None = None,
        set_size: int = 10,
        words: int = 3,
        anchor: float = 0.0,
    ) -> None:
        super().__init__(contract, set_size, anchor)
        if words < 1:
            raise InputError(f"words must be at least 1, found {words}; the paper adds 1 to 3.")
        self.words = words

    def subquery(self, query: str, entry: str) -> str:
        """Return the query followed by the entry."""
        return " ".join([query, *entry.split()[: self.words]])

    def written(self, query: str, addition: str) -> str:
        """Return the words alone."""
        return addition

    def spec(self) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds the format from."""
        return {**super().spec(), "words": self.words}


def load_format(spec: dict[str, Any]) -> FanoutFormat:
    """Rebuild a format from its ``spec``."""
    contract = dict(spec["contract"])
    name = contract.pop("name")
    contracts: dict[str, type] = {"Lines": Lines, "JsonList": JsonList}
    formats: dict[str, Callable[..., FanoutFormat]] = {"full": Full, "expand": Expand}
    if name not in contracts or spec["format"] not in formats:
        raise InputError(
            f"A saved fan-out must use a contract of {sorted(contracts)} and a format of "
            f"{sorted(formats)}, found '{name}' and '{spec['format']}'; "
            "save it again with this version."
        )
    arguments = {key: spec[key] for key in ("set_size", "words", "anchor") if key in spec}
    return formats[spec["format"]](contracts[name](**contract), **arguments)
