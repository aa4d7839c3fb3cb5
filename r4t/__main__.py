"""The program ``r4t``: its first argument → the verb that runs.

Verbs that train go to LightningCLI; the others have a parser of their own and do not import
Lightning, so that they start quickly.
"""

import errno
import importlib
import os
import shlex
import sys
from collections.abc import Sequence

from r4t import __version__
from r4t.errors import InputError, PluginError, nearest
from r4t.support.interruption import Interrupted

VERBS = {
    "catalog": "files of items → a catalog folder",
    "queries": "broad training queries for a catalog",
    "quickstart": "the whole method on the embedded data",
    "init": "copy the configs into a folder, to edit them",
    "fit": "train a step: warm start, tune, distill, accelerate",
    "synthesize": "write target sets with the tuned model",
    "validate": "validate a step",
    "test": "test a model of your own",
    "predict": "predict with a step",
    "retrieve": "ask a run for a set",
    "compare": "the sets of several methods, side by side",
    "evaluate": "the table: baselines and models on test queries",
    "report": "the tables of several runs (seeds, folds), averaged",
    "objectives": "list the installed objectives, or show one",
    "new-objective": "a package with an objective of your own, to edit",
    "completion": "a script that completes verbs and options in your shell",
}
GROUPS = {
    "Data": ("catalog", "queries"),
    "Train": ("quickstart", "init", "fit", "synthesize", "validate", "test", "predict"),
    "Ask": ("retrieve", "compare"),
    "Measure": ("evaluate", "report"),
    "Own objectives": ("objectives", "new-objective"),
    "This program": ("completion",),
}
LIGHTNING_VERBS = ("fit", "validate", "test", "predict", "synthesize")
HELP = {"-h", "--help"}
STOPPED = 130  # exit code after Ctrl-C, as shells have it
# What stands in the way of a file, for the user to mend; a missing file is told where it is read.
BLOCKED = {
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENAMETOOLONG,
}


def usage() -> str:
    """Return the text of ``r4t --help``."""
    lines = []
    for group, verbs in GROUPS.items():
        lines.append(group)
        lines += [f"  {verb:<15}{VERBS[verb]}" for verb in verbs]
        lines.append("")
    return "\n".join(
        [
            f"r4t {__version__}: set-valued fan-out retrieval",
            "",
            "usage: r4t VERB [--help] ...",
            "",
            *lines,
            "Examples",
            "  r4t quickstart",
            '  r4t retrieve runs/quickstart "bohemian festival style"',
            "",
            "Read on: 'r4t VERB --help' has what a verb takes, with examples; docs/index.md the rest.",
        ]
    )


def run(arguments: Sequence[str]) -> None:
    """Run one verb.

    Raises:
        InputError: There is no such verb, or what the verb itself raises.
    """
    if not arguments or arguments[0] in (*HELP, "help"):
        print(usage())
        return
    verb, rest = arguments[0], list(arguments[1:])
    if verb == "--version":
        print(__version__)
        return
    if verb not in VERBS:
        raise InputError(
            f"r4t knows the verbs {', '.join(VERBS)} — found '{verb}'; see 'r4t --help'."
            f"{nearest(verb, [*VERBS, '--help', '--version'])}"
        )
    if verb in LIGHTNING_VERBS and HELP & set(rest):
        from r4t.cli.brief import brief_help

        print(brief_help(verb))
        return
    name = "lightning" if verb in LIGHTNING_VERBS else verb.replace("-", "_")
    module = importlib.import_module(f"r4t.cli.{name}")
    module.run([verb, *rest] if verb in LIGHTNING_VERBS else rest)


def main() -> None:
    """Run the program; what the user can mend is printed as one sentence, without a traceback.

    Threads of OpenMP wait asleep unless the user says otherwise: on a machine whose cores are taken,
    threads that spin made a warm start five times as slow.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
    from r4t.support.progress import show

    show()
    try:
        run(sys.argv[1:])
    except InputError as error:
        _tell(str(error))
        if isinstance(error, PluginError):
            import traceback

            traceback.print_exception(error.__cause__)
        sys.exit(2)
    except OSError as error:
        if error.errno not in BLOCKED:
            raise
        _tell(
            f"Files go below folders that can be made, on a disk with room — found "
            f"'{error.strerror}' at {error.filename} — name another path, or clear the way."
        )
        sys.exit(2)
    except Interrupted as stop:
        _tell(str(stop))
        sys.exit(STOPPED)
    except KeyboardInterrupt:
        command = shlex.join(["r4t", *sys.argv[1:]])
        _tell(f"stopped; nothing is left half-written; begin again with: {command}")
        sys.exit(STOPPED)


def _tell(sentence: str) -> None:
    """Print a sentence, of several processes in the first."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"r4t: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
