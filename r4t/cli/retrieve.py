"""``r4t retrieve``: a run and a broad query → the set, printed."""

import json

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError


def run(arguments: list[str]) -> None:
    """Print the set.

    Raises:
        InputError: If the method finds nothing to search with, or as ``Retriever`` raises.
    """
    options = parse(verb_parser("retrieve"), arguments)
    from r4t.retriever import POOL, Retriever

    if options.method != "diffusion":
        from r4t.cli.quiet import quiet

        quiet()
    retriever = Retriever.load(
        options.folder,
        options.method,
        options.index,
        pool_size=max(options.size, POOL),
        distinct_by=options.distinct_by,
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
