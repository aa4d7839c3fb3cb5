"""Query ↔ prompt, completion ↔ sub-queries: what the language model reads and writes.

The *list format* says how a list is written (``Lines``, ``JsonList``), the *fan-out format* what an
entry means: the whole sub-query (``Full``) or the words to add to the query (``Expand``).
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from r4t.errors import InputError, check_least, nearest
from r4t.fanout.reading import list_ends, read_entries, without_tags
from r4t.search import check_anchor

TASKS = ("oar", "wscr")  # prompts that ship
SLOTS = ("query", "set_size", "think")  # the broad query, the number k, permission to think first
THINK = "You may think inside <think>...</think> first. "
_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")


class ListFormat(ABC):
    """How a list of entries is asked for, written and read."""

    think: bool = False  # whether the model may think before its list
    end: str  # a complete list ends with it
    end_per_entry: bool = False  # whether it ends each entry too

    @abstractmethod
    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return what the model reads; ``entry`` is ``full`` or ``expand``."""

    @abstractmethod
    def write(self, entries: Sequence[str]) -> str:
        """Return the completion that lists ``entries``."""

    @abstractmethod
    def read(self, completion: str) -> list[str]:
        """Return the entries of a completion; none if it cannot be parsed."""

    @abstractmethod
    def complete(self, completion: str, set_size: int) -> bool:
        """Whether the list of ``set_size`` entries is complete: what follows is not read."""

    def spec(self, entry: str) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds it from."""
        return {"name": type(self).__name__}


class Lines(ListFormat):
    r"""One entry a line after the bare query; what a small model can learn from scratch.

    Examples:
        >>> Lines().read("linen shirt\n\n straw hat ")
        ['linen shirt', 'straw hat']
    """

    end = "\n"
    end_per_entry = True

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the query and a line break."""
        return f"{query}\n"

    def write(self, entries: Sequence[str]) -> str:
        """Return one entry a line."""
        return "\n".join(entries) + "\n"

    def read(self, completion: str) -> list[str]:
        """Return the lines that are not blank, trimmed."""
        return [line.strip() for line in completion.splitlines() if line.strip()]

    def complete(self, completion: str, set_size: int) -> bool:
        """Whether there are as many line breaks as entries."""
        return completion.count("\n") >= set_size


class JsonList(ListFormat):
    """The paper's prompt: think if you like, then write a JSON list inside ``<queries>``.

    Completions are read forgivingly, see ``r4t.fanout.reading``. The template is saved with a model,
    which so reads later what it read in training.

    Args:
        task: ``oar`` or ``wscr``, for the prompts that ship; or the path of a text file with the
            slot ``{query}`` and, if you like, ``{set_size}`` and ``{think}``.
        think: Whether the prompt, and a chat template with ``enable_thinking``, allow a thought
            inside ``<think>`` first.
        template: The text itself instead of the file's.

    Raises:
        InputError: There is no such prompt; or it lacks the query or the tag around the list, or has
            a slot that nothing fills.

    Examples:
        >>> JsonList().read('<think>hm</think><queries>["linen shirt", "straw hat",]</queries>')
        ['linen shirt', 'straw hat']
        >>> JsonList().read("I cannot help with that.")
        []
    """

    end = "</queries>"

    def __init__(self, task: str = "oar", think: bool = True, template: str | None = None) -> None:
        self.task = task
        self.think = think
        self.template = template
        _check_template(self._template("full"), task)

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the template with its slots filled; braces in the query stay."""
        think = THINK if self.think else ""
        values = {"query": query, "set_size": str(set_size), "think": think}
        return _SLOT.sub(lambda slot: values[slot.group(1)], self._template(entry))

    def write(self, entries: Sequence[str]) -> str:
        """Return the entries as JSON inside ``<queries>``; a tag within an entry is escaped."""
        return f"<queries>{without_tags(json.dumps(list(entries), ensure_ascii=False))}</queries>"

    def read(self, completion: str) -> list[str]:
        """Return the entries of the first list inside ``<queries>``, trimmed, none blank."""
        return read_entries(completion)

    def complete(self, completion: str, set_size: int) -> bool:
        """Whether the closing tag is there, outside any thought."""
        return list_ends(completion)

    def spec(self, entry: str) -> dict[str, Any]:
        """Return name, arguments and the text of the template."""
        settings = {"name": "JsonList", "task": self.task, "think": self.think}
        return {**settings, "template": self._template(entry)}

    def _template(self, entry: str) -> str:
        """What the prompts that ship ask for depends on ``entry``; any other text does not."""
        if self.template is not None:
            return self.template
        if self.task in TASKS:
            path = resources.files("r4t.fanout") / "prompts" / f"{self.task}_{entry}.txt"
            return path.read_text(encoding="utf-8")
        if Path(self.task).is_file():
            return Path(self.task).read_text(encoding="utf-8")
        raise InputError(
            expected=f"a task of {', '.join(TASKS)}, or the path of a text file with a prompt",
            found=f"'{self.task}'",
            remedy=f"Correct task.{nearest(self.task, TASKS)}",
        )


def _check_template(text: str, task: str) -> None:
    unknown = sorted(set(_SLOT.findall(text)) - set(SLOTS))
    if unknown:
        raise InputError(
            expected=f"a prompt with no slots but {', '.join(SLOTS)}",
            found=f"{{{unknown[0]}}} in '{task}'",
            remedy=f"Correct it or drop its braces.{nearest(unknown[0], SLOTS)}",
        )
    places = {"{query}": "where the broad query belongs", "<queries>": "around the list asked for"}
    for part, place in places.items():
        if part not in text:
            raise InputError(
                expected=f"a prompt with {part}",
                found=f"none in '{task}'",
                remedy=f"Put it {place}.",
            )


class FanoutFormat(ABC):
    """What the model reads for a query and how its completion becomes k sub-queries.

    Args:
        list_format: How the list is written; ``Lines`` by default.
        set_size: Number k of sub-queries asked for.
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
        self.set_size = set_size
        self.anchor = anchor

    def prompt(self, query: str) -> str:
        """Return what the model reads."""
        return self.list_format.prompt(query, self.set_size, self.entry)

    def parse(self, query: str, completion: str) -> list[str]:
        """Return at most k sub-queries; none for a completion that cannot be parsed."""
        entries = self.list_format.read(completion)[: self.set_size]
        return [self.subquery(query, entry) for entry in entries]

    def completion(self, query: str, additions: Sequence[str]) -> str:
        """Return the completion that adds each of ``additions`` to the query (for warm starts)."""
        return self.list_format.write([self.as_entry(query, words) for words in additions])

    def complete(self, completion: str) -> bool:
        """Whether the list of k entries is complete: what follows is not read."""
        return self.list_format.complete(completion, self.set_size)

    @abstractmethod
    def subquery(self, query: str, entry: str) -> str:
        """Return the sub-query that an entry means."""

    @abstractmethod
    def as_entry(self, query: str, addition: str) -> str:
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

    def subquery(self, query: str, entry: str) -> str:
        """Return the entry itself."""
        return entry

    def as_entry(self, query: str, addition: str) -> str:
        """Return the query followed by the words."""
        return f"{query} {addition}"


class Expand(FanoutFormat):
    r"""Each entry is the one to three words to add: sub-query = query + words.

    Words beyond the limit are not used: without one, tuning for groundedness finds that an entry
    as long as a title buries the query.

    Args:
        list_format: How the list is written; ``Lines`` by default.
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
        list_format: ListFormat | None = None,
        set_size: int = 10,
        words: int = 3,
        anchor: float = 0.0,
    ) -> None:
        super().__init__(list_format, set_size, anchor)
        check_least({"words": (words, 1)})
        self.words = words

    def subquery(self, query: str, entry: str) -> str:
        """Return the query followed by the entry."""
        return " ".join([query, *entry.split()[: self.words]])

    def as_entry(self, query: str, addition: str) -> str:
        """Return the words alone."""
        return addition

    def spec(self) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds the format from."""
        return {**super().spec(), "words": self.words}


def load_format(spec: dict[str, Any]) -> FanoutFormat:
    """Rebuild a format from its ``spec``."""
    formats: dict[str, Callable[..., Any]] = {"full": Full, "expand": Expand}
    formats |= {"Lines": Lines, "JsonList": JsonList}
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
