"""How a prompt asks for a list of entries, and how the list is written and read."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from r4t.errors import InputError, nearest
from r4t.fanout.reading import entry_spans, find_entries, list_ends, read_entries, without_tags

TASKS = ("oar", "wscr")  # built-in prompts
SLOTS = ("query", "set_size", "think")  # the broad query, k, permission to think first
THINK = "You may think inside <think>...</think> first. "
_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")


class ListFormat(ABC):
    """How a prompt requests a list of entries, and how the list is written and read."""

    think: bool = False  # whether the model may think before its list
    end: str  # what a complete list ends with
    end_per_entry: bool = False  # whether each entry ends with it too
    chat: bool = (
        True  # whether the prompt goes through the tokenizer's chat template, if it has one
    )

    @property
    def ends(self) -> tuple[str, ...]:
        """What can complete a list."""
        return (self.end,)

    @abstractmethod
    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return what the model reads; ``entry`` is ``full`` or ``expand``."""

    @abstractmethod
    def write(self, entries: Sequence[str]) -> str:
        """Return the completion that lists ``entries``."""

    @abstractmethod
    def read(self, completion: str) -> list[str]:
        """Return the entries of a completion, trimmed, none blank; empty if it cannot be parsed."""

    @abstractmethod
    def complete(self, completion: str, set_size: int) -> bool:
        """Whether the list of ``set_size`` entries is complete, so that the rest is not read."""

    def spans(self, completion: str) -> list[tuple[int, int] | None]:
        r"""Return where each entry that ``read`` finds stands, as (start, end) of its characters.

        None for an entry that was not written as it is read (escaped, or in other white space).

        Examples:
            >>> Lines().spans("linen shirt\n\n straw hat ")
            [(0, 11), (14, 23)]
        """
        return find_entries(self.read(completion), completion)

    def spec(self, entry: str) -> dict[str, Any]:
        """Return what ``load_format`` rebuilds it from."""
        return {"name": type(self).__name__}


class Lines(ListFormat):
    r"""The bare query, then one entry per line: a small model can learn this from scratch.

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
        """Return one entry per line; a line break within an entry becomes a space."""
        return "\n".join(" ".join(entry.splitlines()) for entry in entries) + "\n"

    def read(self, completion: str) -> list[str]:
        """Return the lines that are not blank."""
        return [line.strip() for line in completion.splitlines() if line.strip()]

    def complete(self, completion: str, set_size: int) -> bool:
        """Whether there are as many line breaks as entries."""
        return completion.count("\n") >= set_size


@dataclass(eq=False)
class JsonList(ListFormat):
    """The paper's prompt: think first if allowed, then write a JSON list inside ``<queries>``.

    Completions are read forgivingly, see ``r4t.fanout.reading``. The template is saved with a model,
    so that later versions send the prompt that it was trained with.

    Args:
        task: ``oar`` or ``wscr`` for a built-in prompt, or the path of a text file with the slot
            ``{query}`` and, optionally, ``{set_size}`` and ``{think}``.
        think: Whether the prompt, and a chat template with ``enable_thinking``, allow a thought
            inside ``<think>`` first.
        template: The text itself instead of the file's.

    Raises:
        InputError: If there is no such prompt, it lacks the query or the tag around the list, or it
            has a slot that nothing fills.

    Examples:
        >>> JsonList().read('<think>hm</think><queries>["linen shirt", "straw hat",]</queries>')
        ['linen shirt', 'straw hat']
        >>> JsonList().read("I cannot help with that.")
        []
    """

    task: str = "oar"
    think: bool = True
    template: str | None = None

    end = "</queries>"

    def __post_init__(self) -> None:
        text = self._template("full")
        for part, remedy in (
            ("{query}", "Write it where the broad query belongs."),
            ("<queries>", "Ask for the list inside <queries>...</queries>: the rest is not read."),
        ):
            if part not in text:
                found = f"none in '{self.task}'"
                raise InputError(expected=f"a prompt with {part}", found=found, remedy=remedy)
        unknown = sorted(set(_SLOT.findall(text)) - set(SLOTS))
        if unknown:
            raise InputError(
                expected=f"a prompt with no slots but {', '.join(SLOTS)}",
                found=f"{{{unknown[0]}}} in '{self.task}'",
                remedy=f"Correct it or drop its braces.{nearest(unknown[0], SLOTS)}",
            )

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the template with its slots filled; braces in the query stay."""
        values = {"query": query, "set_size": f"{set_size}", "think": THINK if self.think else ""}
        return _SLOT.sub(lambda slot: values[slot.group(1)], self._template(entry))

    def write(self, entries: Sequence[str]) -> str:
        """Return the entries as JSON inside ``<queries>``; a tag within an entry is escaped."""
        return f"<queries>{without_tags(json.dumps(list(entries), ensure_ascii=False))}</queries>"

    def read(self, completion: str) -> list[str]:
        """Return the entries of the first list inside ``<queries>``."""
        return read_entries(completion)

    def spans(self, completion: str) -> list[tuple[int, int] | None]:
        """See ``ListFormat.spans``; drafts outside the list that is read do not count."""
        return entry_spans(completion)

    def complete(self, completion: str, set_size: int) -> bool:
        """Whether it has the closing tag outside any thought."""
        return list_ends(completion)

    def spec(self, entry: str) -> dict[str, Any]:
        """Return name, arguments and the text of the template."""
        return {"name": "JsonList", **vars(self), "template": self._template(entry)}

    def _template(self, entry: str) -> str:
        """Return the text with slots; only built-in prompts depend on ``entry``."""
        if self.template is not None:
            return self.template
        prompts = resources.files("r4t.fanout") / "prompts"
        path = prompts / f"{self.task}_{entry}.txt" if self.task in TASKS else Path(self.task)
        if path.is_file():
            return path.read_text(encoding="utf-8")
        raise InputError(
            expected=f"a task of {', '.join(TASKS)}, or the path of a text file with a prompt",
            found=f"'{self.task}'",
            remedy=f"Correct task.{nearest(self.task, TASKS)}",
        )
