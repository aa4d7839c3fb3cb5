"""``r4t report``: the results of several runs → their means, spread and paired differences."""

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser

EXAMPLES = (
    "r4t report runs/seed0 runs/seed1 runs/seed2",
    'r4t report runs/seed0 runs/seed1 --compare R4T-FOLM "No fan-out" --out runs/report',
)


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    made = verb_parser(
        "report",
        "Average the results of several runs (seeds or folds) of one experiment.",
        EXAMPLES,
    )
    made.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        type=str,
        help="Run folders, or folders with results.json.",
    )
    made.add_argument(
        "--compare", metavar=("A", "B"), nargs=2, type=str, help="Two methods to compare, paired."
    )
    made.add_argument(
        "--across_catalogs",
        "--across-catalogs",
        action="store_true",
        help="Average over runs on different catalogs, such as seeds of a generated one.",
    )
    made.add_argument("--out", type=str, help="Folder for report.md, report.csv and report.json.")
    return made


def run(arguments: list[str]) -> None:
    """Average runs, print the tables and, if asked, write them."""
    options = parse(parser(), arguments)

    from rich.console import Console

    from r4t.report.aggregate import Report
    from r4t.report.runs import load_runs
    from r4t.report.table import print_blocks

    report = Report(load_runs(options.runs), options.across_catalogs)
    differences = report.differences(*options.compare) if options.compare else []
    console = Console(width=None if Console().is_terminal else 120)
    print_blocks(console, report.blocks(differences, console.width), report.notes())
    if options.out is not None:
        written = report.write(options.out, differences)
        console.print("written: " + ", ".join(str(path) for path in written), highlight=False)
