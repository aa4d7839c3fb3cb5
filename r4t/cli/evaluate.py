"""``r4t evaluate``: a run and its test queries → the table."""

from jsonargparse import ActionConfigFile, ArgumentParser

EXAMPLE = "example: r4t evaluate runs/toy --config configs/toy/5_evaluate.yaml"


def run(arguments: list[str]) -> None:
    """Measure, print and write the table."""
    from rich.console import Console

    from r4t.cli.quiet import quiet
    from r4t.cli.show import print_examples
    from r4t.evaluation.report import (
        Evaluation,
        differences,
        ratios,
        results_folder,
    )
    from r4t.evaluation.table import print_results, write_results
    from r4t.run import Run

    parser = ArgumentParser(
        prog="r4t evaluate",
        description="Compare baselines and a run's models on held-out queries.",
        epilog=EXAMPLE,
    )
    parser.add_argument("folder", metavar="RUN", type=str, nargs="?", help="Run folder.")
    parser.add_argument("--config", action=ActionConfigFile, help="A file such as 5_evaluate.yaml.")
    parser.add_argument("--examples", type=int, default=0, help="Example sets to print.")
    parser.add_class_arguments(Evaluation)
    options = parser.parse_args(arguments)
    settings = {
        name: value
        for name, value in vars(options).items()
        if name not in ("folder", "config", "examples", "__path__")
    }
    if options.folder is not None:
        settings["run"] = options.folder
    quiet()
    evaluation = Evaluation(**settings)
    console = Console(width=None if Console().is_terminal else 150)
    results = evaluation.measure(console)
    compared = differences(results)
    folder = results_folder(evaluation.run)
    write_results(folder, results, compared)
    print_results(console, results, compared)
    for line in ratios(results):
        console.print(line, highlight=False)
    console.print(
        f"every value of every query: {folder}/results.json; the table: {folder}/results.md"
    )
    if options.examples:
        queries = Run.open(evaluation.run).read_queries(evaluation.split)
        step = max(1, len(queries) // options.examples)
        print_examples(evaluation.run, queries[::step][: options.examples])
