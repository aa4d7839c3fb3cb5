"""``r4t retrieve``: a run and a broad query → the set, printed."""

import json

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError

EXAMPLES = (
    'r4t retrieve runs/toy "bohemian festival style"',
    'r4t retrieve runs/toy "bohemian festival style" --with folm --size 5',
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
        dest="model",
        type=str,
        default="diffusion",
        help="Who answers: diffusion (default), student, folm or zero-shot.",
    )
    made.add_argument("--size", type=int, default=10, help="Number of distinct items (10).")
    made.add_argument("--seed", type=int, default=0, help="Other seeds give other sets (0).")
    made.add_argument("--index", type=str, default="torch", help="torch (exact; default) or faiss.")
    made.add_argument("--json", action="store_true", help="Print one JSON object instead.")
    return made


def run(arguments: list[str]) -> None:
    """Print the set.

    Raises:
        InputError: The model wrote nothing to search with, or what ``Retriever`` raises.
    """
    options = parse(parser(), arguments)
    from r4t.retriever import Retriever

    if options.model != "diffusion":
        from r4t.cli.quiet import quiet

        quiet()
    retriever = Retriever.load(options.folder, options.model, options.index)
    answer = retriever(options.query, options.size, options.seed)
    if len(answer) == 0:
        raise InputError(
            f"A set needs at least one sub-query that the encoder knows a word of — "
            f"'{options.model}' wrote none for '{options.query}'; try --seed {options.seed + 1}, or "
            "another model (--with)."
        )
    if options.json:
        from dataclasses import asdict

        print(json.dumps(asdict(answer), ensure_ascii=False))
        return
    from r4t.report.terminal import print_set

    print_set(answer)
    unknown = retriever.searcher.unknown(options.query)
    if unknown:
        print(f"not known to the encoder, and so not asked for: {', '.join(unknown)}")
