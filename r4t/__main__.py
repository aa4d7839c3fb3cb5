"""The program ``r4t``: its first argument → the verb that runs.

Verbs that train go to LightningCLI; the others have parsers of their own and do not import
Lightning, so that they start quickly.
"""

import argparse
import errno
import importlib
import os
import shlex
import sys
from collections.abc import Sequence

from r4t import __version__
from r4t.errors import InputError, PluginError, nearest
from r4t.support.interruption import Interrupted

GROUPS = {
    "Data": {
        "catalog": "files of items → a catalog folder",
        "queries": "broad training queries for a catalog",
    },
    "Train": {
        "quickstart": "the whole method on the embedded data",
        "init": "copy the configs into a folder, to edit them",
        "fit": "train a step: warm start, tune, distill, accelerate",
        "synthesize": "write target sets with the tuned model",
        "validate": "validate a step",
        "test": "test a model of your own",
        "predict": "predict with a step",
    },
    "Ask": {
        "retrieve": "ask a run for a set",
        "compare": "the sets of several methods, side by side",
    },
    "Measure": {
        "evaluate": "the table: baselines and models on test queries",
        "report": "the tables of several runs (seeds, folds), averaged",
    },
    "Own objectives": {
        "objectives": "list the installed objectives, or show one",
        "new-objective": "a package with an objective of your own, to edit",
    },
    "This program": {"completion": "a script that completes verbs and options in your shell"},
}
VERBS = {verb: what for verbs in GROUPS.values() for verb, what in verbs.items()}
LIGHTNING_VERBS = ("fit", "validate", "test", "predict", "synthesize")
HELP = {"-h", "--help"}
STOPPED = 130  # the exit code that shells use after Ctrl-C
# What the user can mend about a path; a missing file is reported where it is read.
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
    lines = [f"r4t {__version__}: set-valued fan-out retrieval", "", "usage: r4t VERB [--help] ..."]
    for group, verbs in GROUPS.items():
        lines += ["", group, *(f"  {verb:<15}{what}" for verb, what in verbs.items())]
    lines += ["", "Examples", "  r4t quickstart"]
    lines += ['  r4t retrieve runs/quickstart "bohemian festival style"', ""]
    lines += ["'r4t VERB --help' explains a verb, with examples; docs/index.md is the way in."]
    return "\n".join(lines)


def run(arguments: Sequence[str]) -> None:
    """Run one verb.

    Raises:
        InputError: If there is no such verb, or the verb raises it.
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
            expected=f"one of the verbs {', '.join(VERBS)}",
            found=f"'{verb}'",
            remedy=f"See 'r4t --help'.{nearest(verb, [*VERBS, '--help', '--version'])}",
        )
    if verb in LIGHTNING_VERBS and HELP & set(rest):
        from r4t.cli.arguments import brief_help

        print(brief_help(verb))
        return
    name = "lightning" if verb in LIGHTNING_VERBS else verb.replace("-", "_")
    module = importlib.import_module(f"r4t.cli.{name}")
    module.run([verb, *rest] if verb in LIGHTNING_VERBS else rest)


def main() -> None:
    """Run the program; mistakes of the user are printed without a traceback and exit with 2.

    OpenMP's idle threads sleep unless the user says otherwise: on a machine whose cores are busy,
    threads that spin made a warm start five times as slow.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
    from r4t.support.progress import show

    show()
    try:
        run(sys.argv[1:])
    except InputError as error:
        _exit(2, f"r4t: {error}", error.__cause__ if isinstance(error, PluginError) else None)
    except argparse.ArgumentError as error:
        message = " ".join(str(error).split())
        _exit(2, f"r4t {sys.argv[1]}: {message}; see 'r4t {sys.argv[1]} --help'")
    except OSError as error:
        if error.errno not in BLOCKED:
            raise
        blocked = InputError(
            expected="a path that can be written, on a disk with room",
            found=f"'{error.strerror}' at {error.filename}",
            remedy="Name another path, or clear the way.",
        )
        _exit(2, f"r4t: {blocked}")
    except Interrupted as stop:
        _exit(STOPPED, f"r4t: {stop}")
    except KeyboardInterrupt:
        command = shlex.join(["r4t", *sys.argv[1:]])
        _exit(STOPPED, f"r4t: stopped; no file is half-written; start again with: {command}")


def _exit(code: int, message: str, cause: BaseException | None = None) -> None:
    """Print a message, in the first of several processes only, and leave."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(message, file=sys.stderr)
    if cause is not None:
        import traceback

        traceback.print_exception(cause)
    sys.exit(code)


if __name__ == "__main__":
    main()
