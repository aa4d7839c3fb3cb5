"""Results of several runs (seeds, folds) → their means, spread across runs, and pooled queries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import stdev
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.evaluation.resampling import bootstrap, mean_of_runs
from r4t.evaluation.results import (
    DIRECTIONS,
    ITEMS,
    Difference,
    Interval,
    Results,
    check_name,
    paired,
)
from r4t.report.runs import TOLD, Grid, shared_settings
from r4t.report.table import (
    NOTE,
    WIDTH,
    Block,
    difference_block,
    markdown,
    measure_blocks,
    title_of,
)
from r4t.support.files import write_csv, write_text

NAMES = ("report.json", "report.csv", "report-differences.csv", "report.md")
Name = tuple[str, str]  # a method and a measure


@dataclass(frozen=True)
class Spread:
    """A measure of a method over several runs.

    Attributes:
        runs: Number of runs that have it.
        mean: Mean of their means: every run counts alike.
        deviation: Standard deviation of their means (n − 1); None for a single run.
        low: Lower end of the 95 % bootstrap interval of that mean over queries, drawn among those
            that the same runs asked, each with its values in all of them.
        high: Upper end.
        queries: Number of queries; one that occurs in several runs counts once.
    """

    method: str
    measure: str
    runs: int
    mean: float
    deviation: float | None
    low: float
    high: float
    queries: int


class Report:
    """Several runs of one experiment.

    Args:
        runs: Name → results. Seeds hold the same queries, folds of one data set different ones.
        across_catalogs: Whether the runs may have different catalogs, such as seeds of a generated
            one: their queries then are different queries, even of the same id.

    Attributes:
        runs: As given.
        settings: In which all runs agree.
        grid: Their queries, each once.

    Raises:
        InputError: There is no run, or two do not agree in what their numbers depend on.
    """

    def __init__(self, runs: Mapping[str, Results], across_catalogs: bool = False) -> None:
        if not runs:
            raise InputError(
                "A report needs at least one run with results — found none — name run folders."
            )
        self.settings = shared_settings(runs, across_catalogs)
        self.runs = dict(runs)
        self.grid = Grid(list(runs.values()))

    @property
    def measures(self) -> list[str]:
        """All measures of all runs."""
        return list(dict.fromkeys(name for run in self.runs.values() for name in run.measures))

    @property
    def methods(self) -> list[str]:
        """All methods of all runs, but points of curves."""
        runs = self.runs.values()
        points = {name for run in runs for curve in run.curves.values() for name, _ in curve}
        return [name for name in self._all_methods if name not in points]

    @property
    def _all_methods(self) -> list[str]:
        return list(dict.fromkeys(name for run in self.runs.values() for name in run.values))

    def spread(self, method: str, measure: str) -> Spread | None:
        """Mean, deviation and interval; None where no run has a value.

        Raises:
            InputError: No run has the method or the measure.
        """
        check_name(method, self._all_methods)
        check_name(measure, self.measures)
        found = self._intervals.get((method, measure))
        if found is None:
            return None
        means = self._means(self.grid.values(method, measure))
        deviation = stdev(means) if len(means) > 1 else None
        ends = (found.low, found.high, found.queries)
        return Spread(method, measure, len(means), found.mean, deviation, *ends)

    @staticmethod
    def _means(values: Tensor) -> list[float]:
        """Means of those runs that have a value."""
        means = values.nanmean(0)
        return means[~means.isnan()].tolist()

    @cached_property
    def _intervals(self) -> dict[Name, Interval]:
        """All intervals at once: columns that miss the same values share their draws."""
        columns: dict[Name, Tensor] = {}
        alike: dict[tuple[bool, ...], list[Name]] = {}
        for name in [(m, measure) for m in self._all_methods for measure in self.measures]:
            columns[name] = self.grid.values(*name)
            known = tuple((~columns[name].isnan()).flatten().tolist())
            if any(known):
                alike.setdefault(known, []).append(name)
        found = {}
        for names in alike.values():
            stacked = torch.stack([columns[name] for name in names], dim=-1)
            values, strata = self.grid.answered(stacked)
            low, high = bootstrap(values, strata=strata)
            ends = zip(names, mean_of_runs(values).tolist(), low.tolist(), high.tolist())
            for name, middle, lowest, highest in ends:
                found[name] = Interval(middle, lowest, highest, len(values))
        return found

    def spreads(self) -> list[Spread]:
        """Every measure of every method."""
        found = [self.spread(m, name) for m in self.methods for name in self.measures]
        return [spread for spread in found if spread is not None]

    def differences(self, first: str, second: str) -> list[Difference]:
        """Paired differences of two methods, by every measure that both have.

        Only runs that have both methods count, each alike, by the queries with both values; their
        mean is that of the runs' mean differences. A query that occurs in several runs is drawn,
        and its sign is flipped, as one.

        Raises:
            InputError: A method is unknown, or there is no such measure.
        """
        for name in (first, second):
            check_name(name, self._all_methods)
        found = []
        for measure in self.measures:
            values = self._differences(first, second, measure)
            if not values.isnan().all():
                kept, strata = self.grid.answered(values.unsqueeze(-1))
                found.append(paired(first, second, measure, kept.squeeze(-1), strata))
        if not found:
            raise InputError(
                f"A paired comparison needs queries with values of both methods — found none for "
                f"{first!r} and {second!r} — compare methods that answered the same queries."
            )
        return found

    def _differences(self, first: str, second: str, measure: str) -> Tensor:
        return self.grid.values(first, measure) - self.grid.values(second, measure)

    def by_run(self, difference: Difference) -> list[float]:
        """The mean difference of each run that has queries with both values."""
        names = (difference.first, difference.second, difference.measure)
        return self._means(self._differences(*names))

    def blocks(self, differences: Sequence[Difference] = (), width: int = WIDTH) -> list[Block]:
        """The tables: mean of run means ± half the interval, and the deviation across runs."""

        def cell(method: str, measure: str) -> str | None:
            spread = self.spread(method, measure)
            if spread is None:
                return None
            text = f"{spread.mean:.3f} ±{(spread.high - spread.low) / 2:.3f}"
            return text if spread.deviation is None else f"{text}, s {spread.deviation:.3f}"

        of = f"mean of {len(self.runs)} runs ({', '.join(self.runs)})"
        names, methods = self.measures, self.methods
        found = [
            block
            for prefix in (DIRECTIONS, ITEMS)
            for block in measure_blocks(
                methods, names, prefix, cell, title_of(self.settings, prefix, of), width
            )
        ]
        return [*found, *([self._difference_block(differences)] if differences else [])]

    def _difference_block(self, differences: Sequence[Difference]) -> Block:
        """The paired differences, with those of each run by itself."""
        block = difference_block(differences)
        rows = [
            [*row, " ".join(f"{x:+.3f}" for x in self.by_run(difference))]
            for row, difference in zip(block.rows, differences)
        ]
        return Block(block.title, [*block.header, "by run"], rows)

    def notes(self) -> list[str]:
        """Sentences that belong below the tables."""
        lines = [
            f"Every run counts alike. ± is half the width of the 95 % bootstrap interval over "
            f"{len(self.grid.units)} queries, drawn among those that the same runs asked; s is the "
            "standard deviation of the runs' means.",
            NOTE,
        ]
        runs = self.runs.values()
        held = {name: sum(name in run.values for run in runs) for name in self.methods}
        held |= {name: sum(name in run.measures for run in runs) for name in self.measures}
        missing = [f"{name} in {count}" for name, count in held.items() if count < len(runs)]
        if missing:
            lines.append(f"Of {len(runs)} runs, not all have {', '.join(missing)}.")
        for key in TOLD:
            told = {name: run.settings.get(key) for name, run in self.runs.items()}
            if key not in self.settings and any(told.values()):
                each = ", ".join(f"{value} in {name}" for name, value in told.items())
                lines.append(f"The runs differ in {key}: {each}.")
        return lines

    def write(self, folder: str | Path, differences: Sequence[Difference] = ()) -> list[Path]:
        """Write `report.json`, `report.md` and the tables as .csv; return their paths."""
        paths = [Path(folder) / name for name in NAMES]
        spreads = self.spreads()
        content: dict[str, Any] = {
            "runs": list(self.runs),
            "settings": self.settings,
            "spreads": [asdict(spread) for spread in spreads],
            "differences": [asdict(d) | {"by_run": self.by_run(d)} for d in differences],
        }
        write_text(paths[0], json.dumps(content, indent=1) + "\n")
        for path, kind, held in ((paths[1], Spread, spreads), (paths[2], Difference, differences)):
            write_csv(path, [field.name for field in fields(kind)], [astuple(one) for one in held])
        write_text(paths[3], markdown(self.blocks(differences), self.notes()))
        return [path for path in paths if path.is_file()]
