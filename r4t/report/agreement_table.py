"""How objectives agree with the truth → a table, what its columns mean, and what to train on."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from r4t.evaluation.resampling import Interval
from r4t.report.table import Block, markdown
from r4t.support.files import write_csv, write_text

NAME = "agreement"  # of the files
DRAWS = 8  # of each method that samples, at most
HEADER = ("objective", "column", "method", "value", "low", "high", "queries")


@dataclass(frozen=True)
class Row:
    """How one objective agrees with the truth; None where that cannot be said."""

    in_group: Interval | None = None
    fan: Interval | None = None
    across: float | None = None
    query_free: float | None = None
    methods: int = 0  # that it can score
    by_method: dict[str, Interval] = field(default_factory=dict)  # in-group, of each method

    @property
    def decisive(self) -> Interval | None:
        """In-group, which is what tuning sees; fan if no method samples."""
        return self.fan if self.in_group is None else self.in_group


@dataclass(frozen=True)
class Agreement:
    """How objectives agree with the truth about the sets of a run."""

    truth: str  # what is known about a set
    queries: int
    methods: list[str]  # that were compared
    drawn: list[str]  # those with several draws
    lists: str  # the method whose lists were exchanged
    rows: dict[str, Row]  # objective, or "composite" → row
    excluded: list[str] = field(default_factory=list)  # objectives that read this truth
    left_out: dict[str, str] = field(default_factory=dict)  # objective → why it was not measured

    @property
    def ordered(self) -> dict[str, Row]:
        """The rows, the objective that agrees most first."""
        heights = {
            name: -math.inf if row.decisive is None else row.decisive.mean
            for name, row in self.rows.items()
        }
        return {name: self.rows[name] for name in sorted(heights, key=lambda n: -heights[n])}

    def sentence(self) -> str:
        """Say which objective to train on, and why."""
        column = "in-group" if self.drawn else "fan"
        for name, row in self.ordered.items():
            found = row.decisive
            if name in self.excluded or found is None or not found.low > 0:
                continue
            text = (
                f"Train on {name}: of all objectives here it ranks the sets of a query most as "
                f"{self.truth} does ({column} {found.mean:+.3f}, 95 % interval {found.low:+.3f} … "
                f"{found.high:+.3f})"
            )
            if row.query_free is None:
                return text + "."
            share = f"{row.query_free:.0%} of its variance does not depend on the query"
            if row.query_free > 0.5:
                return f"{text}, but {share}: add one with a lower share."
            return f"{text}, and only {share}."
        return (
            f"No objective here ranks the sets of a query as {self.truth} does ({column}: no interval "
            "is above 0). Tuning on any of them is not likely to help: train on references or a judge."
        )


def blocks(agreed: Agreement) -> list[Block]:
    """Return the table, the objective that agrees most first."""
    title = f"Agreement with {agreed.truth}, {agreed.queries} queries"
    header = ["objective", "in-group", "fan", "across", "methods", "query-free"]
    rows = [
        [
            name,
            *(_interval(each) for each in (row.in_group, row.fan)),
            "–" if row.across is None else f"{row.across:+.3f}",
            str(row.methods),
            "–" if row.query_free is None else f"{row.query_free:.2f}",
        ]
        for name, row in agreed.ordered.items()
    ]
    return [Block(title, header, rows)]


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.mean:+.3f} ±{interval.half:.3f}"


def notes(agreed: Agreement) -> list[str]:
    """Return what each column means, what is missing, and last which objective to train on."""
    drawn = ", ".join(agreed.drawn) if agreed.drawn else "none here"
    lines = [
        f"in-group: correlation of score and truth over {DRAWS} draws of one method for one query, mean "
        f"over queries and methods that sample ({drawn}). Tuning sees this, because it compares the "
        "draws of a query with each other. Queries whose draws are equally good do not count.",
        "fan: rank correlation over the methods' sets for one query, mean over queries. across: "
        "correlation of the methods' means; an objective can rank methods well and still say nothing "
        "about two sets of one query. methods: how many it can score; some read directions, which "
        "re-ranked items do not have.",
        f"query-free: every query is given every other query's list ({agreed.lists}); the share of the "
        "score's variance within a query that is the same for all queries. Near 1, one list for all "
        "queries pays nearly as much as an answer, and tuning will find it.",
        "± is half the width of a 95 % bootstrap interval over queries.",
    ]
    if agreed.excluded:
        one = len(agreed.excluded) == 1
        lines.append(
            f"{' and '.join(agreed.excluded)} read{'s' * one} the references that all are compared with "
            f"here. If the training queries have references, "
            f"{'it is the reward' if one else 'they are the rewards'} to use."
        )
    lines += [f"Left out: {name}. {reason}" for name, reason in agreed.left_out.items()]
    return [*lines, agreed.sentence()]


def write_agreement(folder: str | Path, agreed: Agreement) -> None:
    """Write `agreement.json`, `.csv` and `.md`."""
    path = Path(folder) / NAME
    write_text(path.with_suffix(".json"), json.dumps(asdict(agreed), indent=2) + "\n")
    write_text(path.with_suffix(".md"), markdown(blocks(agreed), notes(agreed)))
    write_csv(path.with_suffix(".csv"), HEADER, _lines(agreed))


def _lines(agreed: Agreement) -> Iterator[list[str | float | int | None]]:
    for name, row in agreed.ordered.items():
        found = {("in-group", ""): row.in_group, ("fan", ""): row.fan}
        found |= {("in-group", method): each for method, each in row.by_method.items()}
        for (column, method), each in found.items():
            if each is not None:
                yield [name, column, method, each.mean, each.low, each.high, each.queries]
        for column, value in (("across", row.across), ("query-free", row.query_free)):
            if value is not None:
                yield [name, column, "", value, None, None, agreed.queries]
