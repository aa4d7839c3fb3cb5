"""``--print_config`` → a config with a short comment on each key, which loads again.

jsonargparse writes the whole help of a key above it, with every class that might stand there. Here
its first sentence and its type are left.
"""

import io
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

OPTION = "--print_config"
WIDTH = 100
JOINED = ("instantiation.Set to", "instantiation. Set to")  # Lightning's, of seed_everything
SECTION = "trainer:"  # whose forty settings nobody sets would drown the others


@contextmanager
def commented(arguments: Sequence[str], command: str) -> Iterator[list[str]]:
    """Give the arguments as jsonargparse has them; what it prints of a config is shortened.

    Args:
        arguments: Of the verb. ``--print_config`` alone leaves out what nobody set of the trainer,
            ``--print_config=all`` nothing.
        command: The verb, such as ``r4t fit``, named at the top of the file.
    """
    named = (OPTION, f"{OPTION}=all")
    words = [f"{OPTION}=comments" if word in named else word for word in arguments]
    flags = [word.split("=", 1)[1].split(",") for word in words if word.startswith(f"{OPTION}=")]
    if not any("comments" in found for found in flags):
        yield words
        return
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield words
    finally:
        sys.stdout.write(shortened(printed.getvalue(), command, whole=OPTION not in arguments))


def shortened(config: str, command: str, whole: bool = True) -> str:
    r"""Return a config whose comments are one sentence each.

    Args:
        config: As jsonargparse writes it with comments.
        command: To name at its top.
        whole: Whether settings of the trainer that are at their default stay.

    Examples:
        >>> print(shortened("# What\n# it is. More. (type: int, default: 1)\na: 2\n", "r4t fit"))
        # r4t fit --config FILE
        # What it is. (int, default: 1)
        a: 2
        <BLANKLINE>
    """
    lines, block = [f"# {command} --config FILE"] if config else [], list[str]()
    section = ""
    given = config.splitlines()
    for number, line in enumerate(given):
        text = line.strip()
        if text.startswith("#"):
            block.append(line)
        elif text:
            section = section if line.startswith((" ", "-")) else text
            held = _holds_more(given[number + 1 :])
            if whole or section != SECTION or held or not _is_default(line, block):
                lines += [*(_comment(block) if block else []), line]
            block = []
        elif block and not block[0].startswith(" ") and len(lines) == 1:
            block = []  # of the file, not of a key
    return "".join(f"{line}\n" for line in lines)


def _holds_more(rest: Sequence[str]) -> bool:
    """Whether what follows a setting of the section is its value: a list, or keys of its own."""
    following = next((line for line in rest if line.strip() and line.strip()[0] != "#"), "")
    return following.startswith(("   ", "  -"))


def _is_default(line: str, block: Sequence[str]) -> bool:
    """Whether a line of the section sets what its comment says is the default."""
    found = re.match(r"^  (\w+):\s*(.*)$", line)
    told = re.search(r"default: ([^,)]*)", _joined(block))
    return found is not None and told is not None and (found[2] or "null") == told[1].lower()


def _joined(block: Sequence[str]) -> str:
    return " ".join(line.strip().lstrip("#").strip() for line in block)


def _comment(block: Sequence[str]) -> list[str]:
    indent = " " * (len(block[0]) - len(block[0].lstrip()))
    text, _, told = _joined(block).replace(*JOINED).partition("known subclasses:")
    kind = ""
    found = re.match(r"^(.*?)\s*\((?:required, )?type: (.*)$", text)
    if found is not None:
        text, kind = found[1], found[2].rstrip(" ,") if told else found[2].rstrip(" ,)")
        kind = re.sub(r"<class '(.+?)'>", r"\1", kind)
    sentence = re.split(r"(?<=\.) (?=[A-Z`])", text, maxsplit=1)[0].replace("``", "")
    shown = f"{sentence} ({kind})".strip() if kind else sentence
    return textwrap.wrap(
        shown, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )
