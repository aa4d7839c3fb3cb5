"""Name or path of a prompt → its template, and a template with its slots filled in."""

import re
from importlib import resources
from pathlib import Path

from r4t.errors import InputError, nearest

SLOTS = ("query", "set_size", "think")  # the broad query, the number k, leave to think first
THINK = "You may think inside <think>...</think> first. "
_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")


def template(task: str, entry: str, text: str | None = None) -> str:
    """Return a prompt with slots in it.

    Args:
        task: Of the prompts that ship (``oar``, ``wscr``), or the path of a text file.
        entry: ``full`` or ``expand``: what the prompts that ship ask for.
        text: Checked and returned in place of a file's.

    Raises:
        InputError: There is no such prompt, it lacks the query, it has a slot that nothing fills,
            or it never names the tag in which the list is looked for.
    """
    if text is None:
        text = _file(task, entry)
    if "{query}" not in text:
        raise InputError(
            f"A prompt must contain the slot {{query}}, found none in '{task}'; "
            "put it where the broad query belongs."
        )
    unknown = sorted(set(_SLOT.findall(text)) - set(SLOTS))
    if unknown:
        raise InputError(
            f"A prompt may have the slots {', '.join(SLOTS)}, found {{{unknown[0]}}} in '{task}'; "
            f"write it in other words.{nearest(unknown[0], SLOTS)}"
        )
    if "<queries>" not in text:
        raise InputError(
            f"A prompt must ask for the list inside <queries>...</queries>, found no such tag in "
            f"'{task}'; nothing outside of it is read."
        )
    return text


def filled(text: str, query: str, set_size: int, think: bool) -> str:
    """Return a template with its slots filled in; braces in the query stay as they are.

    Examples:
        >>> filled("{think}Up to {set_size}: {query}", "a {set_size}", 5, think=False)
        'Up to 5: a {set_size}'
    """
    values = {"query": query, "set_size": str(set_size), "think": THINK if think else ""}
    return _SLOT.sub(lambda slot: values[slot.group(1)], text)


def _file(task: str, entry: str) -> str:
    shipped = resources.files("r4t.fanout") / "prompts"
    suffix = f"_{entry}.txt"
    found = {path.name for path in shipped.iterdir() if path.name.endswith(suffix)}
    names = {name.removesuffix(suffix) for name in found}
    if task in names:
        return (shipped / f"{task}{suffix}").read_text(encoding="utf-8")
    if Path(task).is_file():
        return Path(task).read_text(encoding="utf-8")
    raise InputError(
        f"A prompt must be one of {sorted(names)} or the path of a text file, found '{task}'; "
        f"correct 'task'.{nearest(task, names)}"
    )
