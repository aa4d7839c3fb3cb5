"""Results → tables on the terminal, in Markdown and CSV, and plots: what people read."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r4t.evaluation.latency import PARTS
from r4t.evaluation.results import DIRECTIONS, ITEMS, Difference, Results
from r4t.support.files import write_text

if TYPE_CHECKING:
    from rich.console import Console

NOTE = (
    "Two kinds of numbers, kept apart: directions/ judges the directions that were searched with, "
    "for methods that have them; items/ judges the items returned, as many for every method and out "
    "of pools of equal size. Rank methods with and without directions by items/ only."
)
TITLES = {DIRECTIONS: "Directions", ITEMS: "Returned items"}
WIDTH = 120  # letters across, where nobody says
BORDER = 3  # letters between two columns
MISSING = "–"


@dataclass(frozen=True)
class Block:
    """A titled part of the table, as text."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def widths(self) -> list[int]:
        """Letters across of each column: of its cells, and of the longest word above them."""
        return [
            max(len(text) for text in (*name.split(), *cells))
            for name, *cells in zip(self.header, *self.rows)
        ]

    def fitted(self, width: int) -> list[int]:
        """The same, where a table this wide can have them: names may break between words."""
        found = self.widths()
        for number in (0, len(found) - 1, 1):
            words = [word for row in self.rows for word in row[number].split()]
            least = max(len(word) for word in (*self.header[number].split(), *words))
            spare = sum(found) + BORDER * len(found) + 1 - width
            found[number] = max(least, found[number] - max(spare, 0))
        return found


def blocks(
    results: Results, differences: Sequence[Difference] = (), width: int = WIDTH
) -> list[Block]:
    """Lay results out: directions, returned items, paired differences, milliseconds.

    Args:
        results: Of one evaluation.
        differences: Between its methods.
        width: Letters across; measures that do not fit go to a table of their own.
    """

    def cell(method: str, measure: str) -> str | None:
        interval = results.interval(method, measure)
        if interval is None:
            return None
        half = f" ±{interval.half:.3f}" if interval.queries > 1 else ""
        return f"{interval.mean:.3f}{half}"

    of = f"mean of {len(results.queries)} queries"
    names, methods = results.measures, results.methods
    found = [
        block
        for prefix in (DIRECTIONS, ITEMS)
        for block in measure_blocks(
            methods, names, prefix, cell, title_of(results.settings, prefix, of), width
        )
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
    left_out = _by_reason(results.settings.get("left_out", {}))
    lines += [f"Left out: {names}. {reason}" for reason, names in left_out.items()]
    absent = _by_reason(results.settings.get("absent", {}))
    lines += [
        f"Not in the table: {names}, for {reason.removesuffix('.')}."
        for reason, names in absent.items()
    ]
    lines += results.settings.get("lineage", [])
    fewer = [
        f"{measure} on {_fewest(results, measure)}"
        for measure in results.measures
        if _fewest(results, measure) < len(results.queries)
    ]
    if fewer:
        lines.append(f"Of {len(results.queries)} queries, not all have {', '.join(fewer)}.")
    return lines


def _by_reason(reasons: Mapping[str, str]) -> dict[str, str]:
    """Reason → all names that share it."""
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        found.setdefault(reason, []).append(name)
    return {reason: ", ".join(names) for reason, names in found.items()}


def _fewest(results: Results, measure: str) -> int:
    """Fewest queries behind a mean; all where no method has one."""
    found = [results.interval(method, measure) for method in results.methods]
    return min((i.queries for i in found if i is not None), default=len(results.queries))


def measure_blocks(
    methods: Sequence[str],
    measures: Sequence[str],
    prefix: str,
    cell: Callable[[str, str], str | None],
    title: str,
    width: int = WIDTH,
) -> list[Block]:
    """Tables of the measures of one kind, a row for each method that has any.

    Args:
        methods: For the rows.
        measures: For the columns; those of other kinds are passed over.
        prefix: The kind, "directions/" or "items/".
        cell: Method and measure → what stands there; None for nothing.
        title: Above each.
        width: Letters across; measures that do not fit go to the next table.
    """
    cells = {
        name: [cell(method, name) for method in methods]
        for name in measures
        if name.startswith(prefix)
    }
    columns = {name: column for name, column in cells.items() if any(column)}
    shown = [row for row in range(len(methods)) if any(column[row] for column in columns.values())]

    def block(names: Sequence[str]) -> Block:
        rows = [[methods[r], *(columns[name][r] or MISSING for name in names)] for r in shown]
        return Block(title, ["method", *(name.removeprefix(prefix) for name in names)], rows)

    parts: list[list[str]] = []
    for name in columns:
        wide = block([*parts[-1], name]).widths() if parts else []
        if parts and sum(wide) + BORDER * len(wide) + 1 <= width:
            parts[-1].append(name)
        else:
            parts.append([name])
    found = [block(part) for part in parts]
    if len(found) < 2:
        return found
    return [
        replace(one, title=f"{title} ({number} of {len(found)})")
        for number, one in enumerate(found, 1)
    ]


def title_of(settings: Mapping[str, Any], prefix: str, of: str) -> str:
    """What the numbers of a kind are measured on, and what they are ("mean of 200 queries")."""
    if prefix == DIRECTIONS:
        return f"{TITLES[prefix]}: {settings['set_size']} directions, {of}"
    pool, items = settings["pool_size"], settings.get("catalog_items")
    share = "" if items is None else f", {pool / items:.1%} of the catalog"
    what = f"{settings['set_size']} items, pool of {pool} distinct items{share}"
    return f"{TITLES[prefix]}: {what}, {of}"


def difference_block(differences: Sequence[Difference]) -> Block:
    """Paired differences with interval and chance; one pair alone stands in the title."""
    pairs = [f"{d.first} − {d.second}" for d in differences]
    rows = [
        [
            pair,
            d.measure,
            f"{d.mean:+.3f}",
            f"{d.low:+.3f} … {d.high:+.3f}",
            "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}",
        ]
        for pair, d in zip(pairs, differences)
    ]
    title = "Differences over the same queries"
    header = ["paired difference", "measure", "mean", "95 % interval", "p (sign flips)"]
    if len(set(pairs)) == 1:
        return Block(f"{title}: {pairs[0]}", header[1:], [row[1:] for row in rows])
    return Block(title, header, rows)


def _latency_blocks(results: Results) -> list[Block]:
    batches = list(dict.fromkeys(b for timed in results.latency.values() for b in timed))
    parts = (*PARTS, "total")
    settings = results.settings
    of = f"{settings['set_size']} items and an ordered pool of {settings['pool_size']}"
    return [
        Block(
            f"Milliseconds per query, from its text to {of}, batch {batch}",
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
    sentences: Sequence[str] = (),
) -> None:
    """Write `results.json`, the tables as `results.md` and .csv files, and plots.

    Each file replaces an older one whole; files of an older evaluation for which this one has
    nothing are removed.

    Args:
        folder: Where.
        results: Of one evaluation.
        differences: To show among the tables.
        plots: Whether to draw `items`, `directions` and `plane`, each as .png and .svg.
        sentences: To stand below the tables, after the notes.
    """
    from r4t.report.plots import clear, draw

    folder = Path(folder)
    results.save(folder, differences)
    results.save_csv(folder, differences)
    below = [*notes(results), *sentences]
    write_text(folder / "results.md", markdown(blocks(results, differences), below))
    if plots:
        draw(folder, results)
    else:
        clear(folder)


def print_results(
    console: "Console",
    results: Results,
    differences: Sequence[Difference] = (),
    sentences: Sequence[str] = (),
) -> None:
    """Print the blocks as tables, the notes, and more sentences."""
    found = blocks(results, differences, console.width)
    print_blocks(console, found, [*notes(results), *sentences])


def print_blocks(console: "Console", found: Iterable[Block], below: Sequence[str]) -> None:
    """Print tables, and sentences below them."""
    from rich.table import Table

    for block in found:
        table = Table(title=block.title, title_justify="left")
        for number, size in enumerate(block.fitted(console.width)):
            name = textwrap.fill(block.header[number], size, break_long_words=False)
            table.add_column(name, justify="right" if number else "left", width=size)
        for row in block.rows:
            table.add_row(*row)
        console.print(table)
    for line in below:
        console.print(textwrap.fill(line, console.width), highlight=False, markup=False)
