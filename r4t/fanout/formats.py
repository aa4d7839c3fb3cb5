"""Query ↔ prompt, completion ↔ sub-queries: what the language model reads and writes.

Two choices combine. The *contract* says how a list is written: ``Lines`` (one entry a line; small
models) or ``JsonList`` (the paper's prompt, with the list as JSON inside ``<queries>``). The
*format* says what an entry means: ``Full`` (the whole sub-query) or ``Expand`` (only the words to
add to the query).
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from r4t.errors import InputError, nearest


class Contract(Protocol):
    """How a list of entries is asked for, written and read."""

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return what the model is told; ``entry`` is ``full`` or ``expand``."""

    def write(self, entries: Sequence[str]) -> str:
        """Return the completion that lists ``entries``."""

    def read(self, completion: str) -> list[str]:
        """Return the entries of a completion; none if it cannot be parsed."""

    def end(self, set_size: int) -> tuple[str, int]:
        """Return a string and how often it stands in a complete list of ``set_size`` entries."""


class Lines:
    r"""One entry a line after the bare query; what a small model can learn from scratch.

    Example:
        >>> Lines().read("linen shirt\n\n straw hat ")
        ['linen shirt', 'straw hat']
    """

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


class JsonList:
    """The paper's prompt contract: think if you like, then a JSON list inside ``<queries>``.

    Args:
        task: ``oar`` or ``wscr``, for the prompts that ship; or the path of a text file with the
            fields ``{query}`` and ``{set_size}``.

    Raises:
        InputError: There is no such prompt, or the file lacks a field.

    Example:
        >>> JsonList().read('<think>hm</think><queries>["linen shirt", "straw hat",]</queries>')
        ['linen shirt', 'straw hat']
        >>> JsonList().read("I cannot help with that.")
        []
    """

    def __init__(self, task: str = "oar") -> None:
        self.task = task
        self._template("full")

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the template with the query and the number of sub-queries filled in."""
        template = self._template(entry)
        return template.replace("{query}", query).replace("{set_size}", str(set_size))

    def write(self, entries: Sequence[str]) -> str:
        """Return the entries as JSON inside ``<queries>``."""
        return f"<queries>{json.dumps(list(entries), ensure_ascii=False)}</queries>"

    def read(self, completion: str) -> list[str]:
        """Return the strings of the first JSON list inside ``<queries>``, trimmed, none blank.

        A missing closing tag, a code fence and a trailing comma are forgiven.
        """
        answer = re.sub(r"<think>.*?(</think>|$)", "", completion, flags=re.DOTALL)
        block = re.search(r"<queries>(.*?)(?:</queries>|$)", answer, flags=re.DOTALL)
        bracket = re.search(r"\[.*\]", block.group(1) if block else "", flags=re.DOTALL)
        if bracket is None:
            return []
        text = re.sub(r",\s*\]$", "]", bracket.group(0))
        try:
            entries = json.loads(text)
        except json.JSONDecodeError:
            return []
        return [entry.strip() for entry in entries if isinstance(entry, str) and entry.strip()]

    def end(self, set_size: int) -> tuple[str, int]:
        """Return the closing tag, once."""
        return "</queries>", 1

    def _template(self, entry: str) -> str:
        shipped = resources.files("r4t.fanout") / "prompts"
        names = {
            path.name.removesuffix(f"_{entry}.txt")
            for path in shipped.iterdir()
            if path.name.endswith(f"_{entry}.txt")
        }
        if self.task in names:
            template = (shipped / f"{self.task}_{entry}.txt").read_text(encoding="utf-8")
        elif Path(self.task).is_file():
            template = Path(self.task).read_text(encoding="utf-8")
        else:
            raise InputError(
                f"A prompt must be one of {sorted(names)} or the path of a text file, found "
                f"'{self.task}'; correct 'task'.{nearest(self.task, names)}"
            )
        if "{query}" not in template:
            raise InputError(
                f"A prompt must contain the field {{query}}, found none in '{self.task}'; "
                "put it where the broad query belongs."
            )
        return template


class FanoutFormat(ABC):
    """What the model reads for a query and how its completion becomes k sub-queries.

    Args:
        contract: How the list is written; ``Lines`` by default.
        set_size: Number k of sub-queries asked for.
    """

    entry: str

    def __init__(self, contract: Contract | None = None, set_size: int = 10) -> None:
        if set_size < 1:
            raise InputError(f"set_size must be at least 1, found {set_size}; ask for 10, say.")
        self.contract: Contract = Lines() if contract is None else contract
        self.set_size = set_size

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
        contract = {"name": type(self.contract).__name__, **vars(self.contract)}
        return {"format": self.entry, "set_size": self.set_size, "contract": contract}


class Full(FanoutFormat):
    r"""Each entry is a whole sub-query: the paper's contract.

    Example:
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

    Example:
        >>> Expand().parse("beach day", "linen shirt\nvery wide brimmed straw hat\n")
        ['beach day linen shirt', 'beach day very wide brimmed']
    """

    entry = "expand"

    def __init__(
        self, contract: Contract | None = None, set_size: int = 10, words: int = 3
    ) -> None:
        super().__init__(contract, set_size)
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
    arguments = {key: spec[key] for key in ("set_size", "words") if key in spec}
    return formats[spec["format"]](contracts[name](**contract), **arguments)
