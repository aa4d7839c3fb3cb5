"""Tables, comparisons and retrieved sets → text on the terminal."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from r4t.report.answers import Answer
from r4t.report.comparison import Comparison
from r4t.report.sections import Section, readable, sections, shown_number
from r4t.report.table import WIDTH, Block
from r4t.retriever import RetrievedSet

COLUMN = 36  # characters that each of several methods needs


def make_console() -> Console:
    """A console as wide as the terminal; ``WIDTH`` characters for files and pipes."""
    return Console(width=None if Console().is_terminal else WIDTH)


def print_blocks(console: Console, tables: Iterable[Block], below: Sequence[str]) -> None:
    """Print tables, and sentences below them."""
    for block in tables:
        table = Table(title=block.title, title_justify="left")
        for number, size in enumerate(block.fitted(console.width)):
            name = textwrap.fill(block.header[number], size, break_long_words=False)
            table.add_column(name, justify="right" if number else "left", width=size)
        for row in block.rows:
            table.add_row(*row)
        console.print(table)
    for line in below:
        console.print(textwrap.fill(line, console.width), highlight=False, markup=False)


def print_set(answer: RetrievedSet, title: str | None = None) -> None:
    """Print one set: rank, title, both scores and, if there is any, the sub-query."""
    with_subqueries = any(item.subquery for item in answer)
    heading = Text(answer.query if title is None else title)  # not markup: [red] is no color
    table = Table(title=heading, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("item", overflow="fold", min_width=40)
    for name in ("direction", "query"):
        table.add_column(name, justify="right")
    if with_subqueries:
        table.add_column("sub-query", overflow="fold")
    for rank, item in enumerate(answer, 1):
        cells = [str(rank), item.text, f"{item.score:.3f}", f"{item.query_score:.3f}"]
        table.add_row(*map(_text, [*cells, item.subquery][: len(table.columns)]))
    console = make_console()
    console.print(table)
    console.print(
        "direction, query: cosine of the item with its nearest direction, and with the query"
    )


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print scores and sets, as many methods side by side as fit."""
    fit = max(1, console.width // COLUMN)
    for section in sections(comparison):
        console.print()
        console.rule(_text(section.query, "bold"), align="left")
        console.print(_scores(section))
        for start in range(0, len(section.answers), fit):
            console.print(_sets(section.answers[start : start + fit], comparison.about))
    console.print()
    for note in comparison.notes:
        console.print(_text(note, "dim"))


def _text(words: str, style: str = "") -> Text:
    """Literal words: brackets are no markup, and control characters do nothing."""
    return Text(readable(words), style)


def _scores(section: Section) -> Table:
    """Scores by methods; the highest of each is bold."""
    table = Table("", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for answer in section.answers:
        table.add_column(_text(answer.method), justify="right")
    for heading, rows in section.scores.items():
        table.add_row(Text(heading, "dim"))
        for row in rows:
            cells = [Text(cell.number, "bold" if cell.is_best else "") for cell in row.cells]
            table.add_row(Text("  ") + _text(row.name), *cells)
    return table


def _sets(answers: Sequence[Answer], about: Mapping[str, str]) -> Table:
    """A column for each method: its sub-queries, then its items, rank by rank."""
    table = Table(show_lines=True, expand=True)
    for answer in answers:
        heading = _text(answer.method)
        if about.get(answer.method):
            heading.append("\n").append(_text(about[answer.method], "not bold dim"))
        table.add_column(heading, overflow="fold", ratio=1)
    if any(answer.directions for answer in answers):
        table.add_row(*map(_subqueries, answers))
    for rank in range(max(1, *(len(answer.items) for answer in answers))):
        table.add_row(*(_item(answer, rank) for answer in answers))
    return table


def _item(answer: Answer, rank: int) -> Text:
    """Title, number of the direction, metadata and cosine of an item."""
    if rank >= len(answer.items):
        return Text("" if rank else "nothing was found")
    item = answer.items[rank]
    parts = [] if item.direction is None else [f"({item.direction})"]
    parts += [str(value) for value in item.metadata.values() if value is not None and value != ""]
    parts += ["in the reference set"] if item.is_reference else []
    parts.append(shown_number(item.cosine))
    return Text.assemble(_text(item.title), "\n", _text(" · ".join(parts), "dim"))


def _subqueries(answer: Answer) -> Text:
    """Numbered sub-queries; of those that begin with the query, only the rest, after "…"."""
    texts = [f"… {text}" if repeated else text for repeated, text in answer.split_subqueries]
    lines = [_text(f"({number}) {text}") for number, text in enumerate(texts, 1)]
    return Text("\n").join(lines) if lines else Text(answer.heading)
