"""``r4t completion``: a shell's name → a script that completes verbs, options, files and names there.

shtab writes it from the parsers of all verbs. The script that jsonargparse itself prints also has the
arguments of every class that a config can choose, which makes it 87 MB. Write the script anew after
an update, or when an objective was installed.
"""

import importlib

import shtab
from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.cli.brief import WHOLE

EXAMPLES = (
    "r4t completion bash > r4t.bash                                then: source r4t.bash",
    "r4t completion bash > ~/.local/share/bash-completion/completions/r4t",
    "r4t completion zsh > ~/.zfunc/_r4t                           a folder of your fpath",
    "r4t completion fish > ~/.config/fish/completions/r4t.fish",
)
SHELLS = ("bash", "zsh", "tcsh", "fish")
# What an option or a positional takes, by the last part of its name.
FILES = {"config", "sets", "subqueries", "vectors", "file", "html", "ckpt_path"}
FILES |= {"source", "overlay"}
FOLDERS = {"run", "runs", "folder", "catalog", "out"}
CHOICES = {
    "index": ("torch", "faiss"),
    "split": ("test", "val", "train", "all"),
    "accelerator": ("cpu", "gpu", "auto"),
    "retrieve model": ("diffusion", "student", "folm", "zero-shot"),
}


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    shell = {"metavar": "SHELL", "choices": SHELLS, "help": f"{', '.join(SHELLS[:-1])} or fish"}
    what = "Print a script with which a shell completes verbs, options, files and objectives."
    return verb_parser("completion", what, EXAMPLES, {"": {"shell": shell}})


def run(arguments: list[str]) -> None:
    """Print the script."""
    shell = parse(parser(), arguments).shell
    print(shtab.complete(program(), shell))


def program() -> ArgumentParser:
    """Return the parser of the whole program, whose actions say what to complete."""
    from r4t.__main__ import LIGHTNING_VERBS, VERBS
    from r4t.cli import lightning
    from r4t.plugins import OBJECTIVES, installed

    whole = ArgumentParser(prog="r4t")
    verbs = whole.add_subcommands()
    for verb, what in VERBS.items():
        if verb in LIGHTNING_VERBS:
            part = lightning.parser(verb)
        else:
            part = importlib.import_module(f"r4t.cli.{verb.replace('-', '_')}").parser()
        if verb in (*LIGHTNING_VERBS, "evaluate"):
            part.add_argument(WHOLE, action="store_true", help="every option")
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
