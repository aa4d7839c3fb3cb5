"""Results → tables on the terminal, in Markdown and CSV, and plots: what people read."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from r4t.evaluation.latency import PARTS
from r4t.evaluation.results import DIRECTIONS, ITEMS, Difference, Results

if TYPE_CHECKING:
    from rich.console import Console

NOTE = (
    "Two kinds of numbers, kept apart: directions/ judges the directions that were searched with, "
    "for methods that have them; items/ judges the items returned, as many for every method and out "
    "of pools of equal size. Rank methods with and without directions by items/ only."
)
TITLES = {DIRECTIONS: "Directions", ITEMS: "Returned items"}
PER_BLOCK = 6  # measures with their intervals, so that a terminal of 120 columns shows them


@dataclass(frozen=True)
class Block:
    """A titled part of the table, as text."""

    title: str
    header: list[str]
    rows: list[list[str]]


def blocks(results: Results, differences: Sequence[Difference] = ()) -> list[Block]:
    """Lay results out: directions, returned items, paired differences, milliseconds."""

    def cell(method: str, measure: str) -> str:
        interval = results.interval(method, measure)
        if interval is None:
            return "–"
        half = f" ±{interval.half:.3f}" if interval.queries > 1 else ""
        return f"{interval.mean:.3f}{half}"

    of = f"mean of {len(results.queries)} queries"
    found = [
        block
        for prefix in (DIRECTIONS, ITEMS)
        for block in measure_blocks(results, prefix, cell, of)
    ]
    found += [difference_block(differences), *_latency_blocks(results)]
    return [block for block in found if block.rows]


def notes(results: Results) -> list[str]:
    """Sentences that belong below the tables: how to read them, what is missing and why."""
    lines = [
        "± is half the width of the 95 % bootstrap interval over queries; it speaks of other "
        "queries, not of other training runs.",
        NOTE,
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in results.settings.get("left_out", {}).items():
        reasons.setdefault(reason, []).append(name)
    lines += [f"Left out: {', '.join(names)}. {reason}" for reason, names in reasons.items()]
    fewer = [
        f"{measure} on {_fewest(results, measure)}"
        for measure in results.measures
        if _fewest(results, measure) < len(results.queries)
    ]
    if fewer:
        lines.append(f"Of {len(results.queries)} queries, not all have {', '.join(fewer)}.")
    return lines


def _fewest(results: Results, measure: str) -> int:
    """Fewest queries behind a mean; all where no method has one."""
    found = [results.interval(method, measure) for method in results.methods]
    return min((i.queries for i in found if i is not None), default=len(results.queries))


def measure_blocks(
    results: Results,
    prefix: str,
    cell: Callable[[str, str], str],
    of: str,
    per_block: int = PER_BLOCK,
) -> list[Block]:
    """Tables of the measures of one kind, a row for each method that has any.

    Args:
        results: What to show.
        prefix: "directions/" or "items/".
        cell: Method and measure → what stands there.
        of: What the numbers are, such as "mean of 200 queries".
        per_block: Measures in one table.
    """
    names = [
        name
        for name in results.measures
        if name.startswith(prefix) and any(results.interval(m, name) for m in results.methods)
    ]
    methods = [m for m in results.methods if any(results.interval(m, name) for name in names)]
    parts = [names[start : start + per_block] for start in range(0, len(names), per_block)]
    title = f"{TITLES[prefix]}: {_what(results, prefix)}, {of}"
    found = []
    for number, part in enumerate(parts, 1):
        rows = [[method, *(cell(method, name) for name in part)] for method in methods]
        counted = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        header = ["method", *(name.removeprefix(prefix) for name in part)]
        found.append(Block(title + counted, header, rows))
    return found


def _what(results: Results, prefix: str) -> str:
    """What the numbers of a block are measured on."""
    settings = results.settings
    if prefix == DIRECTIONS:
        return f"{settings['set_size']} directions"
    pool, items = settings["pool_size"], settings.get("catalog_items")
    share = "" if items is None else f", {pool / items:.1%} of the catalog"
    return f"{settings['set_size']} items, pool of {pool} distinct items{share}"


def difference_block(differences: Sequence[Difference]) -> Block:
    """Paired differences with interval and chance."""
    rows = [
        [
            f"{d.first} − {d.second}",
            d.measure,
            f"{d.mean:+.3f}",
            f"{d.low:+.3f} … {d.high:+.3f}",
            "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}",
        ]
        for d in differences
    ]
    header = ["paired difference", "measure", "mean", "95 % interval", "p (sign flips)"]
    return Block("Differences over the same queries", header, rows)


def _latency_blocks(results: Results) -> list[Block]:
    batches = list(dict.fromkeys(b for timed in results.latency.values() for b in timed))
    parts = (*PARTS, "total")
    return [
        Block(
            f"Milliseconds per query, batch {batch}",
            ["method", *parts],
            [
                [method, *(f"{1000 * timed[batch][part]:.3g}" for part in parts)]
                for method, timed in results.latency.items()
                if batch in timed
            ],
        )
        for batch in batches
    ]


def markdown(found: Iterable[Block], below: Sequence[str] = (NOTE,)) -> str:
    """The blocks as Markdown tables, and the sentences below them."""
    parts = []
    for block in found:
        rule = ["---", *["---:"] * (len(block.header) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (block.header, rule, *block.rows)]
        parts.append("\n".join([f"**{block.title}**", "", *lines]))
    return "\n\n".join([*parts, *below]) + "\n"


def write_results(
    folder: str | Path,
    results: Results,
    differences: Sequence[Difference] = (),
    *,
    plots: bool = True,
) -> None:
    """Write `results.json` with every value of every query, `results.csv`, `results.md`, and plots.

    Args:
        folder: Where.
        results: Of one evaluation.
        differences: To show among the tables.
        plots: Whether to draw `items`, `directions` and `plane`, each as .png and .svg.
    """
    results.save(folder)
    results.save_csv(folder)
    text = markdown(blocks(results, differences), notes(results))
    (Path(folder) / "results.md").write_text(text, encoding="utf-8")
    if plots:
        from r4t.evaluation.plots import draw

        draw(folder, results)


def print_results(
    console: "Console", results: Results, differences: Sequence[Difference] = ()
) -> None:
    """Print the blocks as tables, and the notes."""
    print_blocks(console, blocks(results, differences), notes(results))


def print_blocks(console: "Console", found: Iterable[Block], below: Sequence[str]) -> None:
    """Print tables, and sentences below them."""
    from rich.table import Table

    for block in found:
        table = Table(title=block.title, title_justify="left")
        for number, name in enumerate(block.header):
            table.add_column(name, justify="right" if number else "left", no_wrap=not number)
        for row in block.rows:
            table.add_row(*row)
        console.print(table)
    for line in below:
        console.print(textwrap.fill(line, console.width), highlight=False, markup=False)
