"""``r4t evaluate``: a run and its test queries → the table, plots and readable sets."""

from typing import TYPE_CHECKING

from jsonargparse import ActionConfigFile, ArgumentParser

from r4t.cli.arguments import HELP_ALL, brief_help, parse, verb_parser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from r4t.data.queries import Query
    from r4t.methods.lineup import MethodOptions
    from r4t.report.evaluation import Evaluation
    from r4t.run import Run

VERB_OPTIONS = ("folder", "config", "examples", "headroom", "agreement", "plots", "__path__")


def parser() -> ArgumentParser:
    """Return the parser of the verb; it names the settings from the classes that measure."""
    from r4t.methods.lineup import MethodOptions
    from r4t.report.evaluation import Evaluation

    verb = verb_parser("evaluate")
    verb.add_argument("--config", action=ActionConfigFile, help="config, such as 6_evaluate.yaml")
    verb.add_argument("--plots", type=bool, default=True, help="draw the figures (true)")
    verb.add_class_arguments(Evaluation)
    verb.add_class_arguments(MethodOptions)
    return verb


def run(arguments: list[str]) -> None:
    """Measure, print and write the table; help imports nothing heavy."""
    if {"-h", "--help"} & set(arguments):
        print(brief_help("evaluate"))
        return
    from dataclasses import fields

    from r4t.cli.quiet import quiet
    from r4t.methods.lineup import MethodOptions
    from r4t.report.evaluation import Evaluation
    from r4t.report.terminal import make_console

    verb = parser()
    parsed = parse(verb, ["--help" if word == HELP_ALL else word for word in arguments])
    options = verb.instantiate_classes(parsed)
    settings = {name: value for name, value in vars(options).items() if name not in VERB_OPTIONS}
    if options.folder is not None:
        settings["run"] = options.folder
    quiet()
    names = {field.name for field in fields(MethodOptions)}
    methods = MethodOptions(**{name: settings.pop(name) for name in names})
    evaluation = Evaluation(**settings)
    console = make_console()
    if options.headroom or options.agreement:
        if options.headroom:
            _headroom(evaluation, methods, console)
        if options.agreement:
            _agreement(evaluation, methods, console)
        return
    _tables(evaluation, methods, console, options.plots)
    if options.examples:
        run = evaluation.open()
        queries = run.read_queries(evaluation.split)
        step = max(1, len(queries) // options.examples)
        print_examples(run, queries[::step][: options.examples])


def _tables(
    evaluation: "Evaluation", methods: "MethodOptions", console: "Console", plots: bool
) -> None:
    from r4t.report.headline import differences, ratios, verdict
    from r4t.report.table import blocks, notes, write_results
    from r4t.report.terminal import print_blocks

    results = evaluation.measure(methods, console)
    compared, sentences = differences(results), [*ratios(results), *verdict(results)]
    write_results(evaluation.folder, results, compared, plots=plots, sentences=sentences)
    tables = blocks(results, compared, console.width)
    print_blocks(console, tables, [*notes(results), *sentences])
    console.print(
        f"In {evaluation.folder}: the table (results.md, .csv), every value of every query "
        "(results.json), every set (sets.jsonl)",
        highlight=False,
    )


def _headroom(evaluation: "Evaluation", methods: "MethodOptions", console: "Console") -> None:
    from r4t.report.headroom import blocks, measure_headroom, notes, write_headroom
    from r4t.report.terminal import print_blocks

    headroom = measure_headroom(evaluation, methods, console)
    write_headroom(evaluation.folder, headroom)
    print_blocks(console, blocks(headroom), notes(headroom))


def _agreement(evaluation: "Evaluation", methods: "MethodOptions", console: "Console") -> None:
    from r4t.report.agreement import measure_agreement
    from r4t.report.agreement_table import blocks, notes, write_agreement
    from r4t.report.terminal import print_blocks

    agreed = measure_agreement(evaluation, methods, console)
    write_agreement(evaluation.folder, agreed)
    print_blocks(console, blocks(agreed), notes(agreed))


def print_examples(run: "Run", queries: "Sequence[Query | str]") -> None:
    """Print the sets that the run's best model gives for queries, but those it knows no word of."""
    from r4t.report.terminal import print_set
    from r4t.retriever import Retriever

    models = run.models()
    if not models:
        return
    retriever = Retriever.load(run.folder, models[0])
    for query in retriever.searcher.searchable(run.as_queries(queries))[0]:
        print_set(retriever(query.text), f"{query.text}   (answered by {models[0]})")
