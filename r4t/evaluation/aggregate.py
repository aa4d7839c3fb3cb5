"""Results of several runs (seeds, folds) → their means, spread across runs, and pooled queries."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from r4t.errors import InputError
from r4t.evaluation.results import (
    DIRECTIONS,
    FILE,
    ITEMS,
    Difference,
    Results,
    Values,
    compare,
)
from r4t.evaluation.table import NOTE, Block, difference_block, markdown, measure_blocks

AGREE = ("set_size", "pool_size", "split", "weights", "encoder", "catalog")
NAMES = ("report.json", "report.csv", "report.md")
COLUMNS = ("method", "measure", "runs", "mean", "deviation", "low", "high", "queries")
Unit = tuple[str, str, str]  # a query: its catalog, id and text


@dataclass(frozen=True)
class Spread:
    """A measure of a method over several runs.

    Attributes:
        runs: Number of runs that have it.
        mean: Mean of their means.
        deviation: Standard deviation of their means (n − 1); None for a single run.
        low: Lower end of the 95 % bootstrap interval over queries.
        high: Upper end.
        queries: Number of queries; one that occurs in several runs is averaged over them first.
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

    Raises:
        InputError: There is no run, or two do not agree in what their numbers depend on.
    """

    def __init__(self, runs: Mapping[str, Results], across_catalogs: bool = False) -> None:
        if not runs:
            raise InputError(
                "A report needs at least one run with results — found none — name run folders."
            )
        _agree(runs, across_catalogs)
        self.runs = dict(runs)
        self.pooled = _pooled(list(runs.values()))

    def spread(self, method: str, measure: str) -> Spread | None:
        """Mean, deviation and interval; None where no run has a value.

        Raises:
            InputError: No run has the method or the measure.
        """
        found = self.pooled.interval(method, measure)
        if found is None:
            return None
        means = self._means(method, measure)
        deviation = stdev(means) if len(means) > 1 else None
        ends = (found.low, found.high, found.queries)
        return Spread(method, measure, len(means), fmean(means), deviation, *ends)

    def _means(self, method: str, measure: str) -> list[float]:
        """The means of those runs that have a value."""
        there = [run for run in self.runs.values() if measure in run.values.get(method, {})]
        return [m for run in there if (m := run.mean(method, measure)) is not None]

    def spreads(self) -> list[Spread]:
        """Every measure of every method."""
        found = [self.spread(m, name) for m in self.pooled.methods for name in self.pooled.measures]
        return [spread for spread in found if spread is not None]

    def differences(self, first: str, second: str) -> list[Difference]:
        """Paired differences of two methods, by every measure that both have.

        A query that occurs in several runs is averaged over them first.

        Raises:
            InputError: A method is unknown, or there is no such measure.
        """
        found = []
        for measure in self.pooled.measures:
            pairs = zip(self.pooled.of(first, measure), self.pooled.of(second, measure))
            if any(a is not None and b is not None for a, b in pairs):
                found.append(compare(self.pooled, first, second, measure))
        if not found:
            raise InputError(
                f"A paired comparison needs queries with values of both methods — found none for "
                f"{first!r} and {second!r} — compare methods that answered the same queries."
            )
        return found

    def blocks(self, differences: Sequence[Difference] = ()) -> list[Block]:
        """The tables: mean of run means ± half the interval, and the deviation across runs."""

        def cell(method: str, measure: str) -> str:
            spread = self.spread(method, measure)
            if spread is None:
                return "–"
            text = f"{spread.mean:.3f} ±{(spread.high - spread.low) / 2:.3f}"
            return text if spread.deviation is None else f"{text}, s {spread.deviation:.3f}"

        title = f"mean of {len(self.runs)} runs ({', '.join(self.runs)})"
        found = [
            block
            for prefix in (DIRECTIONS, ITEMS)
            for block in measure_blocks(self.pooled, prefix, cell, title, per_block=4)
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

    def by_run(self, difference: Difference) -> list[float]:
        """The mean difference of each run that has queries with both values."""
        found = []
        for run in self.runs.values():
            values = (
                run.values.get(method, {}).get(difference.measure, [])
                for method in (difference.first, difference.second)
            )
            pairs = [a - b for a, b in zip(*values) if a is not None and b is not None]
            found += [fmean(pairs)] if pairs else []
        return found

    def notes(self) -> list[str]:
        """Sentences that belong below the tables."""
        lines = [
            f"± is half the width of the 95 % bootstrap interval over {len(self.pooled.queries)} "
            "queries, a query that occurs in several runs averaged over them first; s is the "
            "standard deviation of the runs' means.",
            NOTE,
        ]
        runs = self.runs.values()
        held = {name: sum(name in run.values for run in runs) for name in self.pooled.methods}
        held |= {name: sum(name in run.measures for run in runs) for name in self.pooled.measures}
        missing = [f"{name} in {count}" for name, count in held.items() if count < len(runs)]
        if missing:
            lines.append(f"Of {len(runs)} runs, not all have {', '.join(missing)}.")
        return lines

    def write(self, folder: str | Path, differences: Sequence[Difference] = ()) -> list[Path]:
        """Write `report.json`, `report.csv` and `report.md`; return their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in NAMES]
        held = [asdict(spread) for spread in self.spreads()]
        content: dict[str, Any] = {
            "runs": list(self.runs),
            "settings": self.pooled.settings,
            "spreads": held,
            "differences": [asdict(d) | {"by_run": self.by_run(d)} for d in differences],
        }
        paths[0].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        with paths[1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(held)
        text = markdown(self.blocks(differences), self.notes())
        paths[2].write_text(text, encoding="utf-8")
        return paths


def load_runs(folders: Sequence[str]) -> dict[str, Results]:
    """Read the results of runs.

    Args:
        folders: Run folders (``RUN/results`` is read), or folders that hold results themselves.

    Raises:
        InputError: A folder holds no results, or is named twice.
    """
    runs: dict[str, Results] = {}
    places: dict[Path, str] = {}
    for folder in folders:
        below = Path(folder) / "results"
        place = below if (below / FILE).is_file() else Path(folder)
        if place.resolve() in places:
            raise InputError(
                f"A report takes each run once — found {folder} again after "
                f"{places[place.resolve()]} — name it once."
            )
        places[place.resolve()] = folder
        runs[folder] = Results.load(place)
    return runs


def _agree(runs: Mapping[str, Results], across_catalogs: bool) -> None:
    """Refuse runs whose numbers cannot be averaged."""
    first, *others = runs
    for key in AGREE:
        if key == "catalog" and across_catalogs:
            continue
        wanted = _setting(runs[first], key, across_catalogs)
        for name in others:
            found = _setting(runs[name], key, across_catalogs)
            if found != wanted:
                way = ", or add --across-catalogs" if key == "catalog" else ""
                raise InputError(
                    f"Runs are averaged where they agree in {key} — found {wanted!r} in {first} "
                    f"and {found!r} in {name} — report them apart{way}."
                )


def _setting(results: Results, key: str, across_catalogs: bool) -> Any:
    value = results.settings.get(key)
    if key == "catalog" and isinstance(value, str):
        return value[:12]  # of a fingerprint, as elsewhere
    if key == "encoder" and across_catalogs and isinstance(value, str):
        # An encoder that was fitted to its catalog has a vocabulary of its own: name and width.
        return ", ".join(value.split(", ")[:2])
    return value


def _pooled(runs: Sequence[Results]) -> Results:
    """One ``Results`` whose queries are those of all runs, each averaged over the runs it is in."""
    units = _units(runs)
    methods = dict.fromkeys(method for results in runs for method in results.values)
    names = list(dict.fromkeys(name for results in runs for name in results.measures))

    def averaged(method: str, measure: str) -> Values:
        found = (unit.get((method, measure)) for unit in units.values())
        return [None if numbers is None else fmean(numbers) for numbers in found]

    settings = {key: runs[0].settings.get(key) for key in (*AGREE, "catalog_items")}
    settings["curves"] = _curves(runs)
    return Results(
        settings,
        [query for _, query, _ in units],
        {method: {name: averaged(method, name) for name in names} for method in methods},
        texts=[text for _, _, text in units],
    )


def _units(runs: Sequence[Results]) -> dict[Unit, dict[tuple[str, str], list[float]]]:
    """Query → (method, measure) → its values in the runs that it is in."""
    # Results of before texts were kept tell queries apart by their ids alone.
    with_texts = all(results.texts for results in runs)
    units: dict[Unit, dict[tuple[str, str], list[float]]] = {}
    for results in runs:
        catalog = str(results.settings.get("catalog"))
        texts = results.texts if with_texts else [""] * len(results.queries)
        found = [
            units.setdefault((catalog, query, text), {})
            for query, text in zip(results.queries, texts)
        ]
        for method, values in results.values.items():
            for measure, numbers in values.items():
                for unit, number in zip(found, numbers):
                    if number is not None:
                        unit.setdefault((method, measure), []).append(number)
    return units


def _curves(runs: Sequence[Results]) -> dict[str, list[tuple[str, float]]]:
    """The points of every run's curves."""
    found: dict[str, list[tuple[str, float]]] = {}
    for results in runs:
        for curve, points in results.curves.items():
            held = found.setdefault(curve, [])
            held += [point for point in points if point not in held]
    return found
