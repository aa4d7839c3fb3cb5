"""``r4t retrieve``: a run and a broad query → the set, printed."""

import json

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError

EXAMPLES = (
    'r4t retrieve runs/toy "bohemian festival style"',
    'r4t retrieve runs/toy "bohemian festival style" --with folm --size 5',
    'r4t retrieve runs/toy "bohemian festival style" --with mmr',
    'r4t retrieve runs/toy "bohemian festival style" --json',
)


def parser() -> ArgumentParser:
    """Return the parser; nothing heavy is imported for ``--help``."""
    made = verb_parser(
        "retrieve", "Ask a run for a set: items that answer a broad query together.", EXAMPLES
    )
    made.add_argument("folder", metavar="RUN", type=str, help="Run folder.")
    made.add_argument("query", metavar="QUERY", type=str, help="Broad query, in quotes.")
    made.add_argument(
        "--with",
        dest="method",
        type=str,
        default="diffusion",
        help="Method that answers: diffusion (default), student, folm, zero-shot, mmr, dpp, no-fan-out, "
        "… or an installed plug-in.",
    )
    made.add_argument("--size", type=int, default=10, help="Number of distinct items (10).")
    made.add_argument(
        "--seed",
        type=int,
        default=0,
        help="Other seeds give other sets, unless the method is deterministic (0).",
    )
    made.add_argument("--index", type=str, default="torch", help="torch (exact; default) or faiss.")
    made.add_argument("--json", action="store_true", help="Print one JSON object instead.")
    return made


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
    retriever = Retriever.load(
        options.folder,
        options.method,
        options.index,
        set_size=max(options.size, 1),
        pool_size=max(options.size, POOL),
    )
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
