"""``r4t retrieve``: a run and a broad query → the set, printed."""

import json

from jsonargparse import ArgumentParser

from r4t.cli.arguments import Options, parse, verb_parser
from r4t.errors import InputError

EXAMPLES = (
    'r4t retrieve runs/toy "bohemian festival style"',
    'r4t retrieve runs/toy "bohemian festival style" --with folm --size 5',
    'r4t retrieve runs/toy "bohemian festival style" --with mmr',
    'r4t retrieve runs/toy "bohemian festival style" --json',
)
OPTIONS: Options = {
    "folder": {"metavar": "RUN", "help": "Run folder."},
    "query": {"metavar": "QUERY", "help": "Broad query, in quotes."},
    "--with": {
        "dest": "method",
        "default": "diffusion",
        "help": "Method that answers: diffusion (default), student, folm, zero-shot, mmr, dpp, "
        "no-fan-out, … or an installed plug-in.",
    },
    "--size": {"type": int, "default": 10, "help": "Number of distinct items (10)."},
    "--seed": {
        "type": int,
        "default": 0,
        "help": "Other seeds give other sets, unless the method is deterministic (0).",
    },
    "--index": {"default": "torch", "help": "torch (exact; default) or faiss."},
    "--json": {"action": "store_true", "help": "Print one JSON object instead."},
}


def parser() -> ArgumentParser:
    """Return the parser; nothing heavy is imported for ``--help``."""
    description = "Ask a run for a set: items that answer a broad query together."
    return verb_parser("retrieve", description, EXAMPLES, {"": OPTIONS})


def run(arguments: list[str]) -> None:
    """Print the set.

    Raises:
        InputError: If the method finds nothing to search with, or as ``Retriever`` raises.
    """
    options = parse(parser(), arguments)
    from r4t.retriever import POOL, Retriever

    if options.method != "diffusion":
        from r4t.cli.quiet import quiet

        quiet()
    sizes = {"set_size": max(options.size, 1), "pool_size": max(options.size, POOL)}
    retriever = Retriever.load(options.folder, options.method, options.index, **sizes)
    answer = retriever(options.query, options.size, options.seed)
    if len(answer) == 0:
        raise InputError(
            expected="at least one sub-query with a word that the encoder knows",
            found=f"none by '{options.method}' for '{options.query}'",
            remedy=f"Try --seed {options.seed + 1}, or another method (--with).",
        )
    if options.json:
        from dataclasses import asdict

        print(json.dumps(asdict(answer), ensure_ascii=False))
        return
    from r4t.report.terminal import print_set

    print_set(answer)
    unknown = retriever.searcher.unknown(options.query)
    if unknown:
        print(f"ignored, because the encoder does not know them: {', '.join(unknown)}")
