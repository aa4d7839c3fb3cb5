"""A comparison → a section per query, with the scores that both the page and the terminal show."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from r4t.evaluation.results import DIRECTIONS, ITEMS
from r4t.report.answers import Answer
from r4t.report.comparison import Comparison

HEADINGS = {DIRECTIONS: "Directions searched with", ITEMS: "Items returned"}


@dataclass(frozen=True)
class Score:
    """A score of one answer, as text."""

    number: str  # a dash without a value
    is_best: bool  # the highest of values that differ
    bar: tuple[float, float] | None  # left end and width, in percent of the scale
    reason: str


@dataclass(frozen=True)
class ScoreRow:
    """A score of all answers: its name, the ends of its scale, and a cell for each."""

    name: str
    low: float
    high: float
    cells: list[Score]


@dataclass(frozen=True)
class Section:
    """A query with an answer per method."""

    query: str
    answers: list[Answer]
    scores: dict[str, list[ScoreRow]]  # by heading
    unique: set[str]  # ids of the items that only one of several answers has


def sections(comparison: Comparison) -> list[Section]:
    """Lay out a comparison, query by query."""
    result = []
    for answers in comparison.by_query():
        counts = Counter(item.id for answer in answers for item in answer.items)
        unique = {item for item, count in counts.items() if count == 1 < len(answers)}
        blocks = {heading: _rows(answers, b, comparison) for b, heading in HEADINGS.items()}
        scores = {heading: rows for heading, rows in blocks.items() if rows}
        result.append(Section(answers[0].query, answers, scores, unique))
    return result


def _rows(answers: Sequence[Answer], block: str, comparison: Comparison) -> list[ScoreRow]:
    """Rows of the scores of a block ("items/") that any answer has."""
    names = dict.fromkeys(name for answer in answers for name in answer.scores)
    rows = []
    for name in (name for name in names if name.startswith(block)):
        column = [answer.scores.get(name) for answer in answers]
        numbers = [value for value in column if value is not None]
        if not numbers:
            continue
        low, high = comparison.scales.get(name, (min(0.0, *numbers), max(1.0, *numbers)))
        start = low if min(numbers) < 0 else max(low, 0.0)
        best = max(numbers) if len(set(numbers)) > 1 else None
        cells = [
            Score(
                "–" if value is None else shown_number(value, 3),
                value is not None and value == best,
                None if value is None else _bar(value, start, high),
                answer.reasons.get(name, ""),
            )
            for answer, value in zip(answers, column)
        ]
        rows.append(ScoreRow(name.removeprefix(block), low, high, cells))
    return rows


def _bar(value: float, low: float, high: float) -> tuple[float, float] | None:
    """A bar from zero (or the end nearest to it) to ``value``."""
    if high <= low:
        return None
    ends = (100 * (min(max(x, low), high) - low) / (high - low) for x in (0.0, value))
    left, right = sorted(ends)
    return left, right - left


def readable(text: str) -> str:
    r"""A text as one line, without the control characters that a model or a file may hold.

    Examples:
        >>> readable("red\n  hat")
        'red hat'
    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "�" for c in line)


def shown_number(value: float, places: int = 2) -> str:
    """A number to read, without a minus before zero.

    Examples:
        >>> shown_number(-0.0012), shown_number(-0.5, 1)
        ('0.00', '−0.5')
    """
    text = f"{abs(value):.{places}f}"
    return f"−{text}" if value < 0 and float(text) else text
