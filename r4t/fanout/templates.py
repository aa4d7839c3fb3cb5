"""Name or path of a prompt → its template, and a template → a prompt."""

import re
from importlib import resources
from pathlib import Path

from r4t.errors import InputError, nearest

TASKS = ("oar", "wscr")  # prompts that ship
SLOTS = ("query", "set_size", "think")  # the broad query, the number k, permission to think first
THINK = "You may think inside <think>...</think> first. "
_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")


def load_template(task: str, entry: str, text: str | None = None) -> str:
    """Return a prompt with slots in it.

    Args:
        task: Name of a prompt that ships (``oar``, ``wscr``), or the path of a text file.
        entry: ``full`` or ``expand``: what the prompts that ship ask for.
        text: Checked and returned instead of the file's.

    Raises:
        InputError: There is no such prompt; or it lacks the query or the tag around the list, or has
            a slot that nothing fills.
    """
    if text is None:
        text = _read(task, entry)
    if "{query}" not in text:
        raise InputError(
            expected="a prompt with the slot {query}",
            found=f"none in '{task}'",
            remedy="Put it where the broad query belongs.",
        )
    unknown = sorted(set(_SLOT.findall(text)) - set(SLOTS))
    if unknown:
        raise InputError(
            expected=f"a prompt with no slots but {', '.join(SLOTS)}",
            found=f"{{{unknown[0]}}} in '{task}'",
            remedy=f"Correct it or drop its braces.{nearest(unknown[0], SLOTS)}",
        )
    if "<queries>" not in text:
        raise InputError(
            expected="a prompt that asks for the list inside <queries>...</queries>",
            found=f"no such tag in '{task}'",
            remedy="Add it: nothing outside the tag is read.",
        )
    return text


def fill(text: str, query: str, set_size: int, think: bool) -> str:
    """Return a template with its slots filled; braces in the query stay.

    Examples:
        >>> fill("{think}Up to {set_size}: {query}", "a {set_size}", 5, think=False)
        'Up to 5: a {set_size}'
    """
    values = {"query": query, "set_size": str(set_size), "think": THINK if think else ""}
    return _SLOT.sub(lambda slot: values[slot.group(1)], text)


def _read(task: str, entry: str) -> str:
    if task in TASKS:
        shipped = resources.files("r4t.fanout") / "prompts" / f"{task}_{entry}.txt"
        return shipped.read_text(encoding="utf-8")
    if Path(task).is_file():
        return Path(task).read_text(encoding="utf-8")
    raise InputError(
        expected=f"a task of {', '.join(TASKS)}, or the path of a text file with a prompt",
        found=f"'{task}'",
        remedy=f"Correct task.{nearest(task, TASKS)}",
    )
