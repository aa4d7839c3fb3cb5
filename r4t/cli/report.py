"""``r4t report``: the results of several runs → their means, spread and paired differences."""

from r4t.cli.arguments import parse, verb_parser


def run(arguments: list[str]) -> None:
    """Average runs, print the tables and, with ``--out``, write them."""
    options = parse(verb_parser("report"), arguments)

    from r4t.report.aggregate import Aggregate
    from r4t.report.runs import load_runs
    from r4t.report.terminal import make_console, print_blocks

    aggregate = Aggregate(load_runs(options.runs), options.across_catalogs)
    differences = aggregate.differences(*options.compare) if options.compare else []
    console = make_console()
    print_blocks(console, aggregate.blocks(differences, console.width), aggregate.notes())
    if options.out is not None:
        paths = aggregate.write(options.out, differences)
        console.print("written: " + ", ".join(str(path) for path in paths), highlight=False)
