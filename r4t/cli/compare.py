"""``r4t compare``: a run and broad queries → what each method answers, on the terminal and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError

if TYPE_CHECKING:
    from r4t.data.queries import Query
    from r4t.report.answers import Answer
    from r4t.report.comparison import Comparison

EXAMPLES = (
    'r4t compare runs/toy "bohemian festival style"',
    'r4t compare runs/toy "rainy day" "garden wedding" --with folm,mmr --fields category,price',
    "r4t compare runs/toy --queries runs/toy/queries/val.jsonl --html compare.html",
)
COLUMN = 36  # characters a method needs to stand beside others


def parser() -> ArgumentParser:
    """Return the parser; nothing heavy is imported for ``--help``."""
    made = verb_parser(
        "compare",
        "Ask several methods the same queries: sub-queries, items and scores side by side.",
        EXAMPLES,
    )
    made.add_argument("folder", metavar="RUN", type=str, help="Run folder.")
    made.add_argument("queries", metavar="QUERY", type=str, nargs="*", help="Broad queries.")
    made.add_argument(
        "--queries",
        dest="file",
        metavar="FILE",
        type=str,
        help="More queries: a .jsonl of a queries folder (references mark items), or a line each.",
    )
    made.add_argument(
        "--with",
        dest="methods",
        type=str,
        help="Methods of the tables, with commas between (zero-shot,folm,diffusion,student,mmr,no-fan-out).",
    )
    made.add_argument("--size", type=int, default=10, help="Items a method returns (10).")
    made.add_argument(
        "--seed",
        type=int,
        default=0,
        help="Draw of the methods that sample; 0, the default, is that of the tables. The others (MMR, "
        "No fan-out, …) answer alike at every seed.",
    )
    made.add_argument(
        "--fields",
        type=str,
        help="Metadata columns to show, with commas between (the first three that are short).",
    )
    made.add_argument("--index", type=str, default="torch", help="torch (exact; default) or faiss.")
    made.add_argument("--html", type=str, help="The page to write (RUN/results/compare.html).")
    return made


def run(arguments: list[str]) -> None:
    """Print the comparison and write its page.

    Raises:
        InputError: There is no query, or what ``compare_answers`` raises.
    """
    options = parse(parser(), arguments)
    queries: list[Query | str] = [*_typed(options.queries)]
    if options.file is not None:
        queries += read_file(options.file)
    if not queries:
        raise InputError(
            "A comparison needs at least one query — found none; write some behind the run, in "
            "quotes, or name a file with --queries."
        )
    from r4t.cli.quiet import quiet
    from r4t.report.comparison import COMPARED, compare_answers
    from r4t.report.page import page

    quiet()
    found = compare_answers(
        options.folder,
        queries,
        methods=COMPARED if options.methods is None else _listed(options.methods),
        size=options.size,
        seed=options.seed,
        fields=None if options.fields is None else _listed(options.fields),
        index=options.index,
    )
    path = Path(options.folder) / "results" / "compare.html"
    path = path if options.html is None else Path(options.html)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(found), encoding="utf-8")
    console = Console(width=None if Console().is_terminal else 120)
    print_comparison(console, found)
    console.print(f"the same as a page: {path}", highlight=False, markup=False, soft_wrap=True)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _typed(texts: Sequence[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]


def read_file(path: str) -> "Sequence[Query | str]":
    """Read queries of a split's ``.jsonl``, or the texts of a file with one a line.

    Raises:
        InputError: There is no such file, a line of a ``.jsonl`` is no query, or a text file is not
            UTF-8.
    """
    from r4t.data.queries import read_queries

    file = Path(path)
    if file.suffix == ".jsonl":
        return read_queries(file.parent, file.stem)
    if not file.is_file():
        raise InputError(
            f"--queries names a .jsonl or a text file with one query a line — found none at {path}; "
            "correct the path."
        )
    try:
        return _typed(file.read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise InputError(
            f"--queries names a .jsonl or a text file in UTF-8 — found other bytes at position "
            f"{error.start} of {path}; save it as UTF-8."
        ) from error


def print_comparison(console: Console, comparison: "Comparison") -> None:
    """Print scores and sets, side by side where the methods fit, else one below the other."""
    for answers in comparison.by_query():
        console.print()
        console.rule(_text(answers[0].query, "bold"), align="left")
        console.print(_scores(answers))
        if len(answers) > 1 and console.width >= COLUMN * len(answers):
            console.print(_beside(answers))
        else:
            for answer in answers:
                console.print()
                console.print(_below(answer, comparison.about.get(answer.method, "")))
    console.print()
    for note in comparison.notes:
        console.print(_text(note, "dim"))


def _text(words: str, style: str = "") -> Text:
    """Words as they are: brackets are no markup, and control characters do nothing."""
    from r4t.report.answers import readable

    return Text(readable(words), style)


def _scores(answers: "Sequence[Answer]") -> Table:
    """Scores by methods; the highest of each is bold."""
    from r4t.report.comparison import highest, score_names
    from r4t.report.page import BLOCKS

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for answer in answers:
        table.add_column(_text(answer.method), justify="right")
    for block, heading in BLOCKS.items():
        names = score_names(answers, block)
        if names:
            table.add_row(Text(heading, "dim"))
        for name in names:
            best = highest(answers, name)
            values = [answer.scores.get(name) for answer in answers]
            cells = [_score(value, value is not None and value == best) for value in values]
            table.add_row(Text(f"  {name.removeprefix(block)}"), *cells)
    return table


def _score(value: float | None, best: bool) -> Text:
    from r4t.report.answers import shown_number

    return Text("–" if value is None else shown_number(value, 3), "bold" if best else "")


def _beside(answers: "Sequence[Answer]") -> Table:
    """A column for each method: its sub-queries, then its items, rank by rank."""
    table = Table(show_lines=True, expand=True)
    for answer in answers:
        table.add_column(_text(answer.method), overflow="fold", ratio=1)
    if any(answer.directions for answer in answers):
        table.add_row(*(_subqueries(answer, "\n") for answer in answers))
    for rank in range(max(len(answer.items) for answer in answers)):
        table.add_row(*(_cell(answer, rank) for answer in answers))
    return table


def _cell(answer: "Answer", rank: int) -> Text:
    from r4t.report.answers import shown_number

    if rank >= len(answer.items):
        return Text()
    item = answer.items[rank]
    told = [] if item.direction is None else [f"({item.direction})"]
    told += [value for value in _metadata(answer, rank) if value]
    told += ["in the reference set"] if item.is_reference else []
    return Text.assemble(
        item.title, "\n", (" · ".join([*told, shown_number(item.cosine, 2)]), "dim")
    )


def _below(answer: "Answer", about: str) -> Group:
    """One method's set: rank, title, metadata, number of the direction, cosine."""
    from r4t.report.answers import shown_number

    heading = Text.assemble((answer.method, "bold"), ("  " + about, "dim"))
    if answer.directions:
        heading.append("\n").append(_subqueries(answer, "  "))
    if not answer.items:
        return Group(heading, Text("nothing was found"))
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("item", overflow="fold", ratio=3)
    for name in answer.items[0].metadata:
        table.add_column(_text(name), overflow="fold", ratio=1)
    if answer.directions:
        table.add_column("by", justify="right")
    table.add_column("cosine", justify="right")
    for rank, item in enumerate(answer.items):
        cells = [Text(str(rank + 1)), _text(item.title), *map(_text, _metadata(answer, rank))]
        if answer.directions:
            cells.append(Text(str(item.direction)))
        if item.is_reference:
            cells[1].append(" (in the reference set)", "bold")
        table.add_row(*cells, Text(shown_number(item.cosine, 2)))
    return Group(heading, table)


def _metadata(answer: "Answer", rank: int) -> list[str]:
    """Values of the item's metadata; those it lacks are empty."""
    from r4t.report.answers import readable

    values = answer.items[rank].metadata.values()
    return ["" if value is None else readable(str(value)) for value in values]


def _subqueries(answer: "Answer", between: str) -> Text:
    """Numbered sub-queries, those that begin with the query as "… what they add"."""
    if not answer.subqueries:
        return Text(f"{answer.directions} directions without words" if answer.directions else "")
    from r4t.report.answers import added_words, readable

    added = [added_words(text, answer.query) for text in answer.subqueries]
    texts = [a if b is None else f"… {b}" for a, b in zip(answer.subqueries, added)]
    lines = [f"({number}) {readable(text)}" for number, text in enumerate(texts, 1)]
    return Text(between.join(lines))
