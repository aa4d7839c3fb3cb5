"""Values of each query by method and measure ↔ results.json; means, intervals and differences."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, nearest
from r4t.evaluation.latency import PARTS
from r4t.evaluation.resampling import (
    Interval,
    bootstrap,
    intervals,
    mean_of_runs,
    shares,
    sign_flip,
)
from r4t.support.files import write_csv, write_text

FILE = "results.json"
SUMMARY = "summary"
MEANS = ("method", "measure", "mean", "low", "high", "queries", "clusters")
DIRECTIONS, ITEMS = "directions/", "items/"

Values = list[float | None]  # one per query; None where the measure does not apply


def listed(scores: Tensor) -> Values:
    """Numbers (B,) rounded to nine decimals; None for NaN, where a measure does not apply.

    Examples:
        >>> listed(torch.tensor([0.5, torch.nan]))
        [0.5, None]
    """
    return [None if value != value else round(value, 9) for value in scores.double().tolist()]


def as_tensor(values: Values) -> Tensor:
    """The reverse of ``listed``: float64 numbers (B,), NaN for None."""
    return torch.tensor([torch.nan if v is None else v for v in values], dtype=torch.float64)


def numbered(labels: Iterable[str | int]) -> Tensor:
    """Return the number (n,) of each label, from 0 in order of appearance.

    Examples:
        >>> numbered(["b", "a", "b"]).tolist()
        [0, 1, 0]
    """
    labels = list(labels)
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([numbers[label] for label in labels], dtype=torch.long)


def check_name(name: str, options: Sequence[str]) -> None:
    """Raise an InputError if a method or measure was not measured."""
    if name not in options:
        raise InputError(
            expected=f"one of the measured names {sorted(options)}",
            found=repr(name),
            remedy=f"Name one of them.{nearest(name, options)}",
        )


@dataclass(frozen=True)
class Results:
    """The values and latencies of one evaluation.

    Attributes:
        settings: What the numbers depend on: set size, pool size, encoder, catalog, … Under
            "curves": curve → methods on it, each with its λ; only the plots show these methods.
        queries: Ids of the test queries.
        values: Method → measure → values in the order of ``queries``. The name of a measure
            starts with its block: "directions/" or "items/".
        latency: Method → batch size (as text) → part → seconds per query.
        texts: Texts of the queries; empty in files that are older than this field.
        clusters: Label of each query's cluster, see ``GroundTruth.clusters``; empty in older files,
            where every query counts as a cluster of its own.

    Raises:
        ValueError: If there are clusters, but not one per query.
    """

    settings: dict[str, Any]
    queries: list[str]
    values: dict[str, dict[str, Values]]
    latency: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    clusters: list[str | int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.clusters and len(self.clusters) != len(self.queries):
            raise ValueError(f"{len(self.clusters)} clusters of {len(self.queries)} queries")

    @cached_property
    def cluster_numbers(self) -> Tensor:
        """Number (n,) of each query's cluster, from 0 in order of appearance."""
        labels = self.clusters if self.clusters else range(len(self.queries))
        return numbered(labels)

    @property
    def measures(self) -> list[str]:
        """Names of all measures, in the order of measuring."""
        return list(dict.fromkeys(name for values in self.values.values() for name in values))

    @property
    def curves(self) -> dict[str, list[tuple[str, float]]]:
        """Curve → the measured methods on it with their λ, in the order of λ."""
        curves: Mapping[str, Sequence[tuple[str, float]]] = self.settings.get("curves", {})
        return {
            curve: sorted([(n, x) for n, x in points if n in self.values], key=lambda p: p[1])
            for curve, points in curves.items()
        }

    @property
    def points(self) -> set[str]:
        """Names of the methods that are points of a curve."""
        return {name for curve in self.curves.values() for name, _ in curve}

    @property
    def methods(self) -> list[str]:
        """Names of the methods to compare: all that are not points of a curve."""
        return [name for name in self.values if name not in self.points]

    def mean(self, method: str, measure: str) -> float | None:
        """Mean over the queries to which the measure applies; None if there is none."""
        interval = self.interval(method, measure)
        return None if interval is None else interval.mean

    def interval(self, method: str, measure: str) -> Interval | None:
        """Mean with its 95 % bootstrap interval over clusters; None if no query has a value.

        Raises:
            InputError: If the method or the measure is unknown.
        """
        self.column(method, measure)
        return self._intervals.get((method, measure))

    @cached_property
    def _intervals(self) -> dict[tuple[str, str], Interval]:
        names = [(method, measure) for method in self.values for measure in self.measures]
        columns = {name: as_tensor(self.column(*name)).unsqueeze(1) for name in names}
        asked = torch.ones(len(self.queries), 1, dtype=torch.bool)
        return intervals(columns, asked, self.cluster_numbers)

    def column(self, method: str, measure: str) -> Values:
        """Return the values of a method, one per query.

        Raises:
            InputError: If the method or the measure is unknown.
        """
        check_name(method, list(self.values))
        check_name(measure, self.measures)
        return self.values[method].get(measure, [None] * len(self.queries))

    def save(self, folder: str | Path, differences: Sequence["Difference"] | None = None) -> Path:
        """Write `folder/results.json`, every value of every query.

        With ``differences``, it also holds them, with all means and intervals, as a "summary" for
        other programs.
        """
        path = Path(folder) / FILE
        content = asdict(self)
        if differences is not None:
            means = [dict(zip(MEANS, row)) for row in self._rows()]
            content[SUMMARY] = {"means": means, "differences": [asdict(d) for d in differences]}
        write_text(path, json.dumps(content) + "\n")
        return path

    def save_csv(self, folder: str | Path, differences: Sequence["Difference"] = ()) -> Path:
        """Write `results.csv` (means), `differences.csv` and `latency.csv`; skip empty ones."""
        folder = Path(folder)
        write_csv(folder / "results.csv", MEANS, self._rows())
        names = [field.name for field in fields(Difference)]
        write_csv(folder / "differences.csv", names, [astuple(d) for d in differences])
        parts = (*PARTS, "total")
        header = ["method", "batch", *(f"{part} seconds per query" for part in parts)]
        rows = [
            [method, batch, *(seconds[part] for part in parts)]
            for method, by_batch in self.latency.items()
            for batch, seconds in by_batch.items()
        ]
        write_csv(folder / "latency.csv", header, rows)
        return folder / "results.csv"

    def _rows(self) -> list[list[Any]]:
        """Rows under ``MEANS``, for every method and measure with a value."""
        return [[*key, *astuple(interval)[:5]] for key, interval in self._intervals.items()]

    @classmethod
    def load(cls, folder: str | Path) -> "Results":
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is missing or holds something else.
        """
        path = Path(folder) / FILE
        try:
            content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{name: value for name, value in content.items() if name != SUMMARY})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            missing = isinstance(error, OSError)
            raise InputError(
                expected=f"results of an evaluation in {FILE}",
                found=f"no readable file in {folder}" if missing else f"something else in {path}",
                remedy="Run `r4t evaluate` first.",
            ) from error


@dataclass(frozen=True)
class Difference:
    """How much higher one method scores than another on the queries with values of both."""

    first: str
    second: str
    measure: str
    mean: float  # of first − second over queries; with several runs, the mean of the runs' means
    low: float  # lower end of its 95 % bootstrap interval
    high: float  # upper end; if 0 is outside, the difference is more than chance
    queries: int
    clusters: int  # of these queries
    p_value: float  # chance of a mean this far from 0 if neither were better (``sign_flip``)


def compare(results: Results, first: str, second: str, measure: str) -> Difference:
    """Paired difference of two methods by a measure, such as "items/recall", over queries.

    Raises:
        InputError: If a name is unknown, or no query has a value of both methods.
    """
    values = as_tensor(results.column(first, measure)) - as_tensor(results.column(second, measure))
    present = ~values.isnan()
    if not present.any():
        raise InputError(
            expected="queries with values of both methods",
            found=f"none for {measure!r} of {first!r} and {second!r}",
            remedy="Compare a measure that both have.",
        )
    clusters = results.cluster_numbers[present].unique(return_inverse=True)[1]
    return paired_difference(first, second, measure, values[present].unsqueeze(1), clusters)


def paired_difference(
    first: str,
    second: str,
    measure: str,
    differences: Tensor,
    clusters: Tensor,
    strata: Tensor | None = None,
) -> Difference:
    """Mean, interval and p-value of differences (n, R) of n queries in R runs.

    Differences are NaN where a run lacks a value of either method; every query and every run has
    one. ``clusters`` (n,) and ``strata`` (C,) are those of ``bootstrap``. Interval and p-value cover
    other clusters of the same kind, not other training runs.
    """
    values = differences.unsqueeze(-1)
    low, high = bootstrap(values, strata=strata, clusters=clusters).flatten().tolist()
    mean, chance = mean_of_runs(values).item(), sign_flip(shares(differences), clusters=clusters)
    counts = (len(differences), int(clusters.max()) + 1)
    return Difference(first, second, measure, mean, low, high, *counts, chance)
