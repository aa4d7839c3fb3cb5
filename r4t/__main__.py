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
        "catalog": "turn items into a catalog folder",
        "queries": "write broad queries for a catalog",
    },
    "Train": {
        "quickstart": "run the whole method on the built-in data",
        "init": "copy the configs into a folder for editing",
        "fit": "train a step: warm start, tune, distill or accelerate",
        "synthesize": "write the target sets that a retriever learns from",
        "validate": "measure a step on the validation queries",
        "test": "run the test loop of a custom model",
        "predict": "run the prediction loop of a model",
    },
    "Retrieve": {
        "retrieve": "answer a query with a set of items",
        "compare": "answer queries with several methods, side by side",
    },
    "Measure": {
        "evaluate": "compare baselines and models on test queries",
        "report": "average the results of several runs (seeds, folds)",
    },
    "Objectives": {
        "objectives": "list the installed objectives, or describe one",
        "new-objective": "create a package for a new objective",
    },
    "Shell": {"completion": "print a script that completes verbs and options"},
}
VERBS = {verb: what for verbs in GROUPS.values() for verb, what in verbs.items()}
EXAMPLES = """

Examples
  r4t quickstart
  r4t retrieve runs/quickstart "bohemian festival style"

'r4t VERB --help' describes a verb, with examples. Start with docs/index.md."""
LIGHTNING_VERBS = ("fit", "validate", "test", "predict", "synthesize")
HELP = {"-h", "--help"}
STOPPED = 130  # the exit code that shells use after Ctrl-C
# What the user can fix about a path; a missing file is reported by the code that reads it.
BLOCKED = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM}
BLOCKED |= {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG}


def usage() -> str:
    """Return the text of ``r4t --help``."""
    lines = [f"r4t {__version__}: set-valued fan-out retrieval", "", "usage: r4t VERB [--help] ..."]
    for group, verbs in GROUPS.items():
        lines += ["", group, *(f"  {verb:<15}{what}" for verb, what in verbs.items())]
    return "\n".join(lines) + EXAMPLES


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
    """Run the program; a user's mistake is printed without a traceback, and the exit code is 2."""
    # Before torch is imported: on busy cores, idle OpenMP threads that spin instead of sleeping made
    # a warm start five times as slow.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
            expected="a writable path, on a disk with free space",
            found=f"'{error.strerror}' at {error.filename}",
            remedy="Name another path, or free this one.",
        )
        _exit(2, f"r4t: {blocked}")
    except Interrupted as stop:
        _exit(STOPPED, f"r4t: {stop}")
    except KeyboardInterrupt:
        command = shlex.join(["r4t", *sys.argv[1:]])
        _exit(STOPPED, f"r4t: stopped; no file is half-written; start again with: {command}")


def _exit(code: int, message: str, cause: BaseException | None = None) -> None:
    """Print a message, in the first of several processes only, and exit."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(message, file=sys.stderr)
    if cause is not None:
        import traceback

        traceback.print_exception(cause)
    sys.exit(code)


if __name__ == "__main__":
    main()
