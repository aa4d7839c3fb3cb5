"""Results → tables as text, with notes below them; written as Markdown beside the other files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from r4t.evaluation.latency import PARTS
from r4t.evaluation.resampling import Interval
from r4t.evaluation.results import DIRECTIONS, ITEMS, Difference, Results
from r4t.support.files import write_text

NOTE = (
    "Two kinds of numbers: directions/ scores the directions that a method searched with, if it has "
    "any; items/ scores the items returned, with the same set size and pool size for every method. "
    "Rank methods with and without directions by items/ only."
)
WIDTH = 120  # characters, unless the terminal says otherwise
BORDER = 3  # characters between two columns


class Measured(Protocol):
    """The content of a table: the ``Results`` of an evaluation, or an ``Aggregate`` of several."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Set size, pool size and, if known, the size of the catalog; for the titles."""

    @property
    def methods(self) -> list[str]:
        """For the rows."""

    @property
    def measures(self) -> list[str]:
        """For the columns."""

    def interval(self, method: str, measure: str) -> Interval | None:
        """For the cells; None for no value."""


@dataclass(frozen=True)
class Block:
    """One titled table, as text."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def widths(self) -> list[int]:
        """Characters that each column needs: for its cells and the longest word of its heading."""
        return [
            max(len(text) for text in (*name.split(), *cells))
            for name, *cells in zip(self.header, *self.rows)
        ]

    def fitted(self, width: int) -> list[int]:
        """Widths of the columns in a table of ``width`` characters.

        To fit, the first, the last and the second column may break between words.
        """
        widths = self.widths()
        for number in (0, len(widths) - 1, 1):
            words = [word for row in (self.header, *self.rows) for word in row[number].split()]
            spare = sum(widths) + BORDER * len(widths) + 1 - width
            widths[number] = max(max(map(len, words)), widths[number] - max(spare, 0))
        return widths

    def split(self, width: int) -> list["Block"]:
        """Tables of at most ``width`` characters that share the first column; none without rows."""
        sizes = [size + BORDER for size in self.widths()]
        parts: list[list[int]] = []
        for column in range(1, len(self.header)):
            if not parts or sum(sizes[n] for n in (*parts[-1], column)) + 1 > width:
                parts.append([0])
            parts[-1].append(column)
        if not self.rows or len(parts) < 2:
            return [self] if self.rows else []
        return [
            Block(
                f"{self.title} ({number} of {len(parts)})",
                [self.header[n] for n in part],
                [[row[n] for n in part] for row in self.rows],
            )
            for number, part in enumerate(parts, 1)
        ]


def blocks(
    results: Results, differences: Sequence[Difference] = (), width: int = WIDTH
) -> list[Block]:
    """Lay out the directions, the returned items, the paired differences and the milliseconds.

    Measures that do not fit into ``width`` characters go into further tables.
    """
    tables = measure_blocks(results, f"mean of {len(results.queries)} queries", width)
    tables += [difference_block(differences), *_latency_blocks(results)]
    return [block for block in tables if block.rows]


def notes(results: Results) -> list[str]:
    """Sentences below the tables: how to read them, what is missing and why."""
    lines = [
        "± is half the width of the 95 % bootstrap interval over "
        f"{counted(len(set(results.clusters)), len(results.queries))}: it covers other queries of "
        "the same kind, not other training runs.",
        NOTE,
    ]
    left_out, absent = (_by_reason(results.settings.get(key, {})) for key in ("left_out", "absent"))
    lines += [f"Left out: {names}. {reason}" for reason, names in left_out.items()]
    for reason, names in absent.items():
        lines.append(f"Not in the table: {names}, because {reason.removesuffix('.')}.")
    draws = results.settings.get("consensus")
    if choice := results.settings.get("choice"):
        size, other = results.settings.get("set_size"), ' and "+ consensus"' if draws else ""
        lines.append(
            f'Rows "+ choice" keep the best {size} of {choice} × {size} directions, of {choice} draws, by '
            f"the composite. All other rows but Best-of-N{other} are one draw."
        )
    if draws:
        lines.append(f'Rows "+ consensus" return the items that most of {draws} draws hold.')
    lines += results.settings.get("lineage", [])
    for name, facts in results.settings.get("facts", {}).items():
        measures = {m for m in results.measures if m.partition("/")[2] == name}
        columns = [results.interval(method, m) for method in results.methods for m in measures]
        lines += [f"{name}: {facts['note']}"] if "note" in facts and any(columns) else []
    total, fewer = len(results.queries), []
    for measure in results.measures:
        intervals = [results.interval(method, measure) for method in results.methods]
        least = min((i.queries for i in intervals if i is not None), default=total)
        fewer += [f"{measure} ({least})"] if least < total else []
    if fewer:
        lines.append(f"Measured on fewer than all {total} queries: {', '.join(fewer)}.")
    return lines


def counted(clusters: int, queries: int) -> str:
    """Say what was resampled: "41 groups of 198 queries", or "198 queries" if all are independent.

    ``clusters`` is 0 if none are known.
    """
    if clusters in (0, queries):
        return f"{queries} queries"
    return f"{clusters} group{'s' if clusters > 1 else ''} of {queries} queries"


def _by_reason(reasons: Mapping[str, str]) -> dict[str, str]:
    """Reason → the names that share it."""
    return {
        reason: ", ".join(name for name in reasons if reasons[name] == reason)
        for reason in reasons.values()
    }


def measure_blocks(measured: Measured, of: str, width: int = WIDTH) -> list[Block]:
    """Tables of directions, then of items, for the methods and measures with values.

    ``of`` says what the numbers are, such as "mean of 200 queries". Measures that do not fit into
    ``width`` characters go into further tables.
    """
    settings = measured.settings
    size, pool, items = (settings.get(n) for n in ("set_size", "pool_size", "catalog_items"))
    share = "" if items is None or pool is None else f", {pool / items:.1%} of the catalog"
    titles = {
        DIRECTIONS: f"Directions: {size} directions, {of}",
        ITEMS: f"Returned items: {size} items, pool of {pool} distinct items{share}, {of}",
    }
    tables: list[Block] = []
    for prefix, title in titles.items():
        names = [name for name in measured.measures if name.startswith(prefix)]
        cells = {name: [_cell(measured, m, name) for m in measured.methods] for name in names}
        columns = {name: column for name, column in cells.items() if any(column)}
        rows = [
            [method, *(text if text else "–" for text in row)]
            for method, *row in zip(measured.methods, *columns.values())
            if any(row)
        ]
        header = ["method", *(name.removeprefix(prefix) for name in columns)]
        tables += Block(title, header, rows).split(width)
    return tables


def _cell(measured: Measured, method: str, measure: str) -> str:
    """Mean, half the width of its interval and the deviation of runs, as far as there are any."""
    interval = measured.interval(method, measure)
    if interval is None:
        return ""
    half = f" ±{interval.half:.3f}" if interval.clusters > 1 or interval.runs > 1 else ""
    deviation = "" if interval.deviation is None else f", s {interval.deviation:.3f}"
    return f"{interval.mean:.3f}{half}{deviation}"


def difference_block(differences: Sequence[Difference]) -> Block:
    """Paired differences with intervals and p-values; if there is one pair, the title names it."""
    pairs = [f"{d.first} − {d.second}" for d in differences]
    rows = []
    for pair, d in zip(pairs, differences):
        chance = "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}"
        interval = f"{d.low:+.3f} … {d.high:+.3f}"
        rows.append([pair, d.measure, f"{d.mean:+.3f}", interval, chance])
    title = "Differences over the same queries"
    header = ["paired difference", "measure", "mean", "95 % interval", "p (sign flips)"]
    if len(set(pairs)) == 1:
        return Block(f"{title}: {pairs[0]}", header[1:], [row[1:] for row in rows])
    return Block(title, header, rows)


def _latency_blocks(results: Results) -> list[Block]:
    size, pool = (results.settings.get(name) for name in ("set_size", "pool_size"))
    title = f"Milliseconds per query, from its text to {size} items and an ordered pool of {pool}"
    parts = (*PARTS, "total")
    rows: dict[str, list[list[str]]] = {}  # by batch size
    for method, timed in results.latency.items():
        for batch, seconds in timed.items():
            cells = [f"{1000 * seconds[part]:.3g}" for part in parts]
            rows.setdefault(batch, []).append([method, *cells])
    return [Block(f"{title}, batch {n}", ["method", *parts], rows[n]) for n in rows]


def markdown(tables: Iterable[Block], below: Sequence[str] = (NOTE,)) -> str:
    """The tables as Markdown, and the sentences below them."""
    parts = []
    for block in tables:
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
    """Write `results.json`, the tables as `results.md` and .csv, and the plots as .png and .svg.

    Each file replaces an older one as a whole; files of an older evaluation for which this one has
    no content are removed. ``sentences`` follow the notes.
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
