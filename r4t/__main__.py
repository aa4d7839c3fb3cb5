"""The program ``r4t``: its first argument → the verb that runs.

Verbs that train go to LightningCLI; the others have a parser of their own and do not import
Lightning, so that they start quickly.
"""

import importlib
import sys
from collections.abc import Sequence

from r4t import __version__
from r4t.errors import InputError, PluginError, nearest

VERBS = {
    "catalog": "files of items → a catalog folder",
    "queries": "broad training queries for a catalog",
    "fit": "train a step: warm start, tune, distill",
    "validate": "validate a step",
    "test": "test a step",
    "predict": "predict with a step",
    "synthesize": "write target sets with the tuned model",
    "evaluate": "the table: baselines and models on test queries",
    "report": "the tables of several runs (seeds, folds), averaged",
    "retrieve": "ask a run for a set",
    "compare": "the sets of several methods, side by side",
    "objectives": "list the installed objectives",
    "new-objective": "a package with an objective of your own, to edit",
    "init": "copy the configs into a folder",
    "quickstart": "the whole method on the embedded data",
}
LIGHTNING_VERBS = ("fit", "validate", "test", "predict", "synthesize")


def usage() -> str:
    """Return the text of ``r4t --help``."""
    lines = [f"  {verb:<15}{what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            f"r4t {__version__}: set-valued fan-out retrieval",
            "",
            "usage: r4t VERB [--help] ...",
            "",
            *lines,
            "",
            'example: r4t retrieve runs/toy "bohemian festival style"',
        ]
    )


def run(arguments: Sequence[str]) -> None:
    """Run one verb.

    Raises:
        InputError: There is no such verb, or what the verb itself raises.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    verb, rest = arguments[0], list(arguments[1:])
    if verb == "--version":
        print(__version__)
        return
    if verb not in VERBS:
        raise InputError(
            f"r4t knows the verbs {', '.join(VERBS)} — found '{verb}'; see 'r4t --help'."
            f"{nearest(verb, VERBS)}"
        )
    name = "lightning" if verb in LIGHTNING_VERBS else verb.replace("-", "_")
    module = importlib.import_module(f"r4t.cli.{name}")
    module.run([verb, *rest] if verb in LIGHTNING_VERBS else rest)


def main() -> None:
    """Run the program; what the user can mend is printed as one sentence, without a traceback."""
    try:
        run(sys.argv[1:])
    except InputError as error:
        print(f"r4t: {error}", file=sys.stderr)
        if isinstance(error, PluginError):
            import traceback

            traceback.print_exception(error.__cause__)
        sys.exit(2)


if __name__ == "__main__":
    main()
