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
KEPT = "comments,skip_default"
WIDTH = 100


def asked(arguments: Sequence[str], alone: str = KEPT) -> list[str]:
    """Return the arguments as jsonargparse has them.

    Args:
        arguments: Of the verb.
        alone: What the option asks for alone: by default, to leave out what nobody set.

    Example:
        >>> asked(["--print_config"]), asked(["--print_config=all"])
        (['--print_config=comments,skip_default'], ['--print_config=comments'])
    """
    flags = {OPTION: f"{OPTION}={alone}", f"{OPTION}=all": f"{OPTION}=comments"}
    return [flags.get(word, word) for word in arguments]


@contextmanager
def commented(arguments: Sequence[str], command: str, alone: str = KEPT) -> Iterator[list[str]]:
    """Give the arguments to parse; what a parser prints of a config is shortened.

    Args:
        arguments: Of the verb.
        command: The verb, such as ``r4t fit``, named at the top of the file.
        alone: As for ``asked``.
    """
    words = asked(arguments, alone)
    flags = [word.split("=", 1)[1].split(",") for word in words if word.startswith(f"{OPTION}=")]
    if not any("comments" in found for found in flags):
        yield words
        return
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield words
    finally:
        sys.stdout.write(shortened(printed.getvalue(), command))


def shortened(config: str, command: str) -> str:
    """Return a config whose comments are one sentence each.

    Example:
        >>> print(shortened("# What\\n# it is. More. (type: int, default: 1)\\na: 2\\n", "r4t fit"))
        # r4t fit --config FILE
        # What it is. (int, default: 1)
        a: 2
        <BLANKLINE>
    """
    lines, block = [f"# {command} --config FILE"] if config else [], list[str]()
    for line in config.splitlines():
        text = line.strip()
        if text.startswith("#"):
            block.append(line)
        elif text or block:
            if block and text:
                lines += _comment(block)
                block = []
            if text:
                lines.append(line)
            else:
                block = []  # of the file, not of a key
    return "".join(f"{line}\n" for line in lines)


def _comment(block: Sequence[str]) -> list[str]:
    indent = " " * (len(block[0]) - len(block[0].lstrip()))
    text = " ".join(line.strip().lstrip("#").strip() for line in block)
    text, _, told = text.partition("known subclasses:")
    kind = ""
    found = re.match(r"^(.*?)\s*\((?:required, )?type: (.*)$", text)
    if found is not None:
        text, kind = found[1], found[2].rstrip(" ,") if told else found[2].rstrip(" ,)")
        kind = re.sub(r"<class '(.+?)'>", r"\1", kind)
    sentence = re.split(r"(?<=\.) (?=[A-Z`])", text, maxsplit=1)[0].replace("``", "")
    shown = f"{sentence} ({kind})" if kind else sentence
    return textwrap.wrap(
        shown, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )
