"""Methods and test queries → per-query values, and their table in the terminal and in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from r4t.evaluation.latency import PARTS
from r4t.evaluation.results import DIRECTIONS, ITEMS, Difference, Results

if TYPE_CHECKING:
    from rich.console import Console

NOTE = (
    "The two kinds of numbers are kept apart: the first block judges the directions that were "
    "searched with, which methods that only pick items do not have; the second judges the items "
    "returned, as many for every method and out of pools of equal size. Compare methods with and "
    "without directions by the second block only."
)


@dataclass(frozen=True)
class Block:
    """A titled part of the table, as text."""

    title: str
    header: list[str]
    rows: list[list[str]]


def blocks(results: Results, differences: Sequence[Difference] = ()) -> list[Block]:
    """Lay results out: directions, returned items, seconds, paired differences."""
    size, pool = results.settings["set_size"], results.settings["pool_size"]
    count = len(results.queries)
    titles = {
        DIRECTIONS: f"Directions, mean of {count} queries",
        ITEMS: f"Returned items: {size} items, pool of {pool}, mean of {count} queries",
    }
    found = []
    for prefix, title in titles.items():
        names = [name for name in results.measures if name.startswith(prefix)]
        rows = [
            [method, *(_number(results.mean(method, name)) for name in names)]
            for method in results.values
        ]
        found.append(Block(title, ["method", *(name.removeprefix(prefix) for name in names)], rows))
    found += _latency_block(results)
    if differences:
        rows = [
            [f"{d.first} − {d.second}", d.measure, f"{d.mean:+.3f}", _interval(d)]
            for d in differences
        ]
        header = ["paired difference", "measure", "mean", "95 % interval"]
        found.append(Block("Differences over the same queries", header, rows))
    return [block for block in found if block.rows and len(block.header) > 1]


def _latency_block(results: Results) -> list[Block]:
    batches = list(dict.fromkeys(b for timed in results.latency.values() for b in timed))
    parts = (*PARTS, "total")
    header = ["method", *(f"{part}, batch {batch}" for batch in batches for part in parts)]
    rows = [
        [method, *(_milliseconds(timed[batch][part]) for batch in batches for part in parts)]
        for method, timed in results.latency.items()
    ]
    return [Block("Milliseconds per query", header, rows)]


def _interval(difference: Difference) -> str:
    return f"{difference.low:+.3f} … {difference.high:+.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"


def markdown(found: Iterable[Block]) -> str:
    """The blocks as Markdown tables, and the note that keeps the two kinds apart."""
    parts = []
    for block in found:
        rule = ["---", *["---:"] * (len(block.header) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (block.header, rule, *block.rows)]
        parts.append("\n".join([f"**{block.title}**", "", *lines]))
    return "\n\n".join([*parts, NOTE]) + "\n"


def write_results(
    folder: str | Path, results: Results, differences: Sequence[Difference] = ()
) -> None:
    """Write `results.json`, with every value of every query, and `results.md`."""
    results.save(folder)
    text = markdown(blocks(results, differences))
    (Path(folder) / "results.md").write_text(text, encoding="utf-8")


def print_results(
    console: "Console", results: Results, differences: Sequence[Difference] = ()
) -> None:
    """Print the blocks as tables, and the note."""
    from rich.table import Table

    for block in blocks(results, differences):
        table = Table(title=block.title, title_justify="left")
        for number, name in enumerate(block.header):
            table.add_column(name, justify="right" if number else "left")
        for row in block.rows:
            table.add_row(*row)
        console.print(table)
    console.print(NOTE)
