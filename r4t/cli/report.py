"""``r4t report``: the results of several runs → their means, spread and paired differences."""

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser

EXAMPLES = (
    "r4t report runs/seed0 runs/seed1 runs/seed2",
    'r4t report runs/seed0 runs/seed1 --compare R4T-FOLM "No fan-out" --out runs/report',
)


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    description = "Average the results of several runs (seeds or folds) of one experiment."
    verb = verb_parser("report", description, EXAMPLES)
    folders = "Run folders, or folders with results.json."
    verb.add_argument("runs", metavar="RUN", nargs="+", type=str, help=folders)
    methods = "Two methods to compare on the same queries."
    verb.add_argument("--compare", metavar=("A", "B"), nargs=2, type=str, help=methods)
    verb.add_argument(
        "--across_catalogs",
        "--across-catalogs",
        action="store_true",
        help="Average over runs on different catalogs, such as seeds of a generated one.",
    )
    verb.add_argument("--out", type=str, help="Folder for report.md, report.csv and report.json.")
    return verb


def run(arguments: list[str]) -> None:
    """Average runs, print the tables and, with ``--out``, write them."""
    options = parse(parser(), arguments)

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
