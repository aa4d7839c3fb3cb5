"""Numbers → cells → a Markdown table."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.page.index import RESULTS

MISSING = "–"


@cache
def read(name: str) -> Any:
    """Read a JSON file of the results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def number(value: float | None, form: str = ".3f") -> str:
    """Return a number with a typographic minus sign.

    Example:
        >>> number(-0.5, "+.2f")
        '−0.50'
    """
    return MISSING if value is None else format(value, form).replace("-", "−")


def half(mean: float, low: float, high: float) -> str:
    """Mean and half the width of its interval.

    Example:
        >>> half(0.5, 0.4, 0.62)
        '0.500 ±0.110'
    """
    return f"{number(mean)} ±{(high - low) / 2:.3f}"


def between(mean: float, low: float, high: float, form: str = ".3f") -> str:
    """Mean and the ends of its interval.

    Example:
        >>> between(0.5, -0.1, 1.0, "+.1f")
        '+0.5 (−0.1 … +1.0)'
    """
    return f"{number(mean, form)} ({number(low, form)} … {number(high, form)})"


def chance(value: float) -> str:
    """A p value.

    Example:
        >>> chance(0.0004), chance(0.25)
        ('<0.001', '0.250')
    """
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """Lay out cells as a Markdown table, without the rows that have no value.

    The first ``texts`` columns are text, the others numbers.

    Example:
        >>> print(table(["", "x"], [["a", "1"], ["b", "–"]]))
        |  | x |
        |---|---:|
        | a | 1 |
    """
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * texts + "---:|" * (len(header) - texts)]
    for first, *cells in rows:
        if any(cell != MISSING for cell in cells):
            lines.append(f"| {' | '.join([first, *cells])} |")
    return "\n".join(lines)


def markdown_tables(path: Path) -> list[list[list[str]]]:
    """Read the tables of a Markdown file, each as rows of cells with the header first."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not inside:
            tables.append([])
        if not set(line) <= set("|-: "):
            tables[-1].append([cell.strip() for cell in cells])
        inside = True
    return tables
