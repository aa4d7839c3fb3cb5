"""Results of several runs (seeds, folds) → their means, spread across runs, and differences."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from r4t.errors import InputError
from r4t.evaluation.resampling import Interval, drop_missing, intervals
from r4t.evaluation.results import Difference, Results, check_name, paired_difference
from r4t.report.runs import REPORTED, Grid, shared_settings
from r4t.report.table import NOTE, WIDTH, Block, counted, difference_block, markdown, measure_blocks
from r4t.support.files import write_csv, write_text

FILES = ("report.json", "report.csv", "report-differences.csv", "report.md")
SPREAD = ("method", "measure", "runs", "mean", "deviation", "low", "high", "queries", "clusters")


class Aggregate:
    """Several runs of one experiment; each counts the same.

    Args:
        runs: Name → results. Seeds share their queries; folds of a data set have different ones.
        across_catalogs: Whether the runs may have different catalogs, such as seeds of a generated
            one. Then their queries are different queries, even under the same id.

    Raises:
        InputError: If there is no run, or two disagree in a setting on which their numbers depend.
    """

    def __init__(self, runs: Mapping[str, Results], across_catalogs: bool = False) -> None:
        if not runs:
            raise InputError(
                expected="at least one run with results", found="none", remedy="Name run folders."
            )
        self.settings = shared_settings(runs, across_catalogs)  # in which all agree
        self.runs = dict(runs)
        self.grid = Grid(list(runs.values()))

    @property
    def measures(self) -> list[str]:
        """All measures of all runs."""
        return list(dict.fromkeys(name for run in self.runs.values() for name in run.measures))

    @property
    def methods(self) -> list[str]:
        """All methods of all runs, except points of curves."""
        points = set().union(*(run.points for run in self.runs.values()))
        return [name for name in self._all_methods if name not in points]

    @property
    def _all_methods(self) -> list[str]:
        return list(dict.fromkeys(name for run in self.runs.values() for name in run.values))

    @cached_property
    def _intervals(self) -> dict[tuple[str, str], Interval]:
        names = [(method, measure) for method in self._all_methods for measure in self.measures]
        columns = {name: self.grid.values(*name) for name in names}
        return intervals(columns, self.grid.asked, self.grid.clusters)

    def interval(self, method: str, measure: str) -> Interval | None:
        """Mean of the runs' means; None if no run has a value.

        Raises:
            InputError: If no run has the method or the measure.
        """
        check_name(method, self._all_methods)
        check_name(measure, self.measures)
        return self._intervals.get((method, measure))

    def differences(self, first: str, second: str) -> list[Difference]:
        """Paired differences of two methods, by every measure that both have.

        Only queries with both values count, and only runs with such queries. A query that several
        runs asked is resampled as one with its cluster, and its sign is flipped so.

        Raises:
            InputError: If a method is unknown, or there is no such measure.
        """
        for name in (first, second):
            check_name(name, self._all_methods)
        result = []
        for measure in self.measures:
            values = self._paired_values(first, second, measure)
            if not values.isnan().all():
                values, strata, clusters = drop_missing(
                    values.unsqueeze(-1), self.grid.asked, self.grid.clusters
                )
                pair = (first, second, measure, values.squeeze(-1))
                result.append(paired_difference(*pair, clusters, strata))
        if not result:
            raise InputError(
                expected="queries with values of both methods",
                found=f"none for {first!r} and {second!r}",
                remedy="Compare methods that answered the same queries.",
            )
        return result

    def by_run(self, difference: Difference) -> list[float]:
        """The mean difference of each run that has queries with both values."""
        values = self._paired_values(difference.first, difference.second, difference.measure)
        means = values.nanmean(0)
        return means[~means.isnan()].tolist()

    def _paired_values(self, first: str, second: str, measure: str) -> Tensor:
        return self.grid.values(first, measure) - self.grid.values(second, measure)

    def blocks(self, differences: Sequence[Difference] = (), width: int = WIDTH) -> list[Block]:
        """The tables; every mean is that of the runs' means."""
        numbers = f"mean of {len(self.runs)} runs ({', '.join(self.runs)})"
        tables = measure_blocks(self, numbers, width)
        if differences:
            block = difference_block(differences)
            by_run = [" ".join(f"{x:+.3f}" for x in self.by_run(d)) for d in differences]
            rows = [[*row, cell] for row, cell in zip(block.rows, by_run)]
            tables.append(Block(block.title, [*block.header, "by run"], rows))
        return tables

    def notes(self) -> list[str]:
        """Sentences below the tables."""
        lines = [
            f"Every run counts the same. ± is half the width of the 95 % bootstrap interval over "
            f"{counted(int(self.grid.clusters.max()) + 1, len(self.grid.units))}, resampled among those "
            "that the same runs asked; s is the standard deviation of the runs' means.",
            NOTE,
        ]
        runs = self.runs.values()
        counts = {name: sum(name in run.values for run in runs) for name in self.methods}
        counts |= {name: sum(name in run.measures for run in runs) for name in self.measures}
        fewer = [f"{name} ({count})" for name, count in counts.items() if count < len(runs)]
        if fewer:
            lines.append(f"In fewer than all {len(runs)} runs: {', '.join(fewer)}.")
        for key in REPORTED:
            values = {name: run.settings.get(key) for name, run in self.runs.items()}
            if key not in self.settings and any(values.values()):
                each = ", ".join(f"{value} in {name}" for name, value in values.items())
                lines.append(f"The runs differ in {key}: {each}.")
        return lines

    def write(self, folder: str | Path, differences: Sequence[Difference] = ()) -> list[Path]:
        """Write `report.json`, `report.md` and the tables as .csv; return their paths."""
        paths = [Path(folder) / name for name in FILES]
        spreads = [
            [*key, *(getattr(interval, name) for name in SPREAD[2:])]
            for key, interval in self._intervals.items()
            if key[0] in self.methods
        ]
        content: dict[str, Any] = {
            "runs": list(self.runs),
            "settings": self.settings,
            "spreads": [dict(zip(SPREAD, row)) for row in spreads],
            "differences": [asdict(d) | {"by_run": self.by_run(d)} for d in differences],
        }
        write_text(paths[0], json.dumps(content, indent=1) + "\n")
        write_csv(paths[1], SPREAD, spreads)
        names = [field.name for field in fields(Difference)]
        write_csv(paths[2], names, [astuple(difference) for difference in differences])
        write_text(paths[3], markdown(self.blocks(differences), self.notes()))
        return [path for path in paths if path.is_file()]
