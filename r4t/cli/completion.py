"""``r4t completion``: a shell's name → a script that completes verbs, options, files and objectives.

shtab writes it from the parsers of all verbs. The script that jsonargparse itself prints also has the
arguments of every class that a config can choose, which makes it 87 MB. Print it again after an update
or after installing an objective.
"""

import shtab
from jsonargparse import ArgumentParser

from r4t.cli.arguments import HELP_ALL, parse, verb_parser

# What an option or a positional takes, by the last part of its name.
FILES = {
    *("config", "sets", "subqueries", "vectors", "file"),
    *("html", "ckpt_path", "source", "overlay"),
}
FOLDERS = {"run", "runs", "folder", "catalog", "out"}
CHOICES = {
    "index": ("torch", "faiss"),
    "split": ("test", "val", "train", "all"),
    "accelerator": ("cpu", "gpu", "auto"),
    "retrieve method": ("diffusion", "student", "folm", "zero-shot"),
}


def run(arguments: list[str]) -> None:
    """Print the script."""
    shell = parse(verb_parser("completion"), arguments).shell
    print(shtab.complete(program(), shell))


def program() -> ArgumentParser:
    """Return the parser of the whole program, whose actions say what to complete."""
    from r4t.__main__ import LIGHTNING_VERBS, VERBS
    from r4t.cli import evaluate, lightning
    from r4t.plugins import OBJECTIVES, installed

    whole = ArgumentParser(prog="r4t")
    verbs = whole.add_subcommands()
    for verb, what in VERBS.items():
        if verb in LIGHTNING_VERBS:
            part: ArgumentParser = lightning.parser(verb)
        else:
            part = evaluate.parser() if verb == "evaluate" else verb_parser(verb)
        if verb in (*LIGHTNING_VERBS, "evaluate"):
            part.add_argument(HELP_ALL, action="store_true", help="every option")
        for action in part._actions:
            last = action.dest.split(".")[-1]
            if (verb, last) == ("objectives", "name"):
                action.choices = sorted(installed(OBJECTIVES))
            elif action.choices is None:
                action.choices = CHOICES.get(f"{verb} {last}", CHOICES.get(last))
            if action.choices is None and last in FILES | FOLDERS:
                completed = shtab.FILE if last in FILES else shtab.DIRECTORY
                action.complete = completed  # type: ignore[attr-defined]
        verbs.add_subcommand(verb, part, help=what)
    return whole
