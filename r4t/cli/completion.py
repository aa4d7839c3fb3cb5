"""``r4t completion``: a shell's name → a script that completes verbs, options, files and names there.

The script knows all that it completes when it is written: a press of TAB starts no Python. It is
written anew after an update, or where an objective was installed.
"""

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.cli.brief import WHOLE
from r4t.errors import InputError, nearest

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = (
    "r4t completion bash > r4t.bash                                then: source r4t.bash",
    "r4t completion bash > ~/.local/share/bash-completion/completions/r4t",
    "r4t completion zsh > ~/.zfunc/_r4t                           a folder of your fpath",
    "r4t completion fish > ~/.config/fish/completions/r4t.fish",
)
# What may stand behind an option, by the last part of its name, or by verb and name.
FILES = ("config", "sets", "subqueries", "vectors", "file", "html", "ckpt_path", "source")
FOLDERS = ("run", "runs", "folder", "catalog", "out", "fit queries")
CHOICES = {
    "task": ("oar", "wscr"),
    "wardrobe": ("oar", "wscr"),
    "collections": ("text", "mean"),
    "index": ("torch", "faiss"),
    "split": ("test", "val", "train", "all"),
    "retrieve model": ("diffusion", "student", "folm", "zero-shot"),
    "accelerator": ("cpu", "gpu", "auto"),
    "shell": SHELLS,
}


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    made = verb_parser(
        "completion",
        "Print a script with which a shell completes verbs, options, files and objectives.",
        EXAMPLES,
    )
    made.add_argument("shell", metavar="SHELL", type=str, help="bash, zsh or fish.")
    return made


def run(arguments: list[str]) -> None:
    """Print the script.

    Raises:
        InputError: There is none for such a shell.
    """
    shell = parse(parser(), arguments).shell
    if shell not in SHELLS:
        raise InputError(
            f"Scripts are written for {', '.join(SHELLS)} — found '{shell}' — name one of them."
            f"{nearest(shell, SHELLS)}"
        )
    import shtab

    print(shtab.complete(program(shell), shell))


def program(shell: str) -> argparse.ArgumentParser:
    """Return the whole program as one parser of the standard library, which shtab reads."""
    from r4t.__main__ import LIGHTNING_VERBS, VERBS

    whole = argparse.ArgumentParser(prog="r4t", description="set-valued fan-out retrieval")
    verbs = whole.add_subparsers()
    for verb, what in VERBS.items():
        made = verbs.add_parser(verb, help=what, description=what)
        if verb in LIGHTNING_VERBS:
            _add_settings(made, verb)
        else:
            module = importlib.import_module(f"r4t.cli.{verb.replace('-', '_')}")
            _copy(made, module.parser(), verb)
            if verb == "evaluate":
                made.add_argument(WHOLE, action="store_true", help="Every option, in full.")
    return whole


def _add_settings(made: argparse.ArgumentParser, verb: str) -> None:
    """Options of a verb that trains: those of the parser, but for help on classes."""
    from r4t.cli.lightning import options

    for name, what in options(verb).items():
        _add(made, [name], name.lstrip("-"), what, verb="fit")
    made.add_argument(WHOLE, action="store_true", help="Every option, in full.")


def _copy(made: argparse.ArgumentParser, own: ArgumentParser, verb: str) -> None:
    for action in own._actions:
        names = [name for name in action.option_strings if not name.endswith(("+", ".help"))]
        if action.dest in ("help", "print_shtab") or (action.option_strings and not names):
            continue
        flag = action.nargs == 0
        what = (action.help or "").split("\n")[0]
        several = action.nargs if action.nargs in ("*", "+") else None
        _add(made, names, action.dest, what, verb=verb, flag=flag, several=several)


def _add(
    made: argparse.ArgumentParser,
    names: Sequence[str],
    dest: str,
    what: str,
    *,
    verb: str = "",
    flag: bool = False,
    several: str | None = None,
) -> None:
    import shtab

    what = what.replace("%", "%%").replace("``", "").replace("'", "").split(". ")[0]
    if flag:
        made.add_argument(*names, dest=dest, action="store_true", help=what)
        return
    last = dest.split(".")[-1]
    choices = CHOICES.get(f"{verb} {dest}", CHOICES.get(last))
    if (verb, dest) == ("objectives", "name"):
        choices = tuple(_objectives())
    settings: dict[str, Any] = {"help": what, "choices": choices}
    settings |= {"dest": dest} if names else {}
    settings |= {"nargs": several} if several else {}
    action = made.add_argument(*(names or [dest]), **settings)
    if choices is None and last in FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif choices is None and (last in FOLDERS or f"{verb} {dest}" in FOLDERS):
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]


def _objectives() -> Sequence[str]:
    from r4t.plugins import OBJECTIVES, installed

    return sorted(installed(OBJECTIVES))
