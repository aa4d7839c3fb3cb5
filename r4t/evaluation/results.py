"""Per-query values of several methods ↔ results.json; their means, intervals and differences."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, nearest
from r4t.evaluation.latency import PARTS
from r4t.evaluation.resampling import SAMPLES, bootstrap, mean_of_runs, shares, sign_flip
from r4t.support.files import write_csv, write_text

FILE = "results.json"
SUMMARY = "summary"
MEANS = ("method", "measure", "mean", "low", "high", "queries")
DIRECTIONS, ITEMS = "directions/", "items/"

Values = list[float | None]  # one a query; None where the measure does not apply


def listed(scores: Tensor) -> Values:
    """Numbers (B,) rounded to nine places; None for NaN, where a measure does not apply.

    Examples:
        >>> listed(torch.tensor([0.5, torch.nan]))
        [0.5, None]
    """
    return [None if value != value else round(value, 9) for value in scores.double().tolist()]


def check_name(name: str, options: Sequence[str]) -> None:
    """Refuse a method or measure that was not measured.

    Raises:
        InputError: It is none of ``options``.
    """
    if name not in options:
        raise InputError(
            f"Results have the names {sorted(options)} — found {name!r} — name one of "
            f"them.{nearest(name, options)}"
        )


@dataclass(frozen=True)
class Interval:
    """Mean over queries with its 95 % bootstrap interval.

    Attributes:
        mean: Of the queries to which the measure applies.
        low: Lower end.
        high: Upper end.
        queries: Their number.
    """

    mean: float
    low: float
    high: float
    queries: int

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Results:
    """All that was measured in one evaluation.

    Attributes:
        settings: What the numbers depend on: set size, pool size, encoder, catalog, ... Under
            "curves": curve → methods on it, each with its λ; these belong to the plots alone.
        queries: Ids of the test queries.
        values: Method → measure → one value a query, in the order of ``queries``; None where the
            measure does not apply. A measure's name starts with its block: "directions/" or
            "items/".
        latency: Method → batch size (as text) → part → seconds per query.
        texts: Of the queries; empty in results written before they were kept.
    """

    settings: dict[str, Any]
    queries: list[str]
    values: dict[str, dict[str, Values]]
    latency: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def measures(self) -> list[str]:
        """Names of all measures, in the order in which they were taken."""
        return list(dict.fromkeys(name for values in self.values.values() for name in values))

    @property
    def curves(self) -> dict[str, list[tuple[str, float]]]:
        """Curve → the measured methods on it with their λ, in the order of λ."""
        curves: Mapping[str, Sequence[tuple[str, float]]] = self.settings.get("curves", {})
        return {
            curve: sorted(
                ((name, value) for name, value in points if name in self.values),
                key=lambda point: point[1],
            )
            for curve, points in curves.items()
        }

    @property
    def methods(self) -> list[str]:
        """Names of the methods to compare, without those that are points of a curve."""
        points = {name for curve in self.curves.values() for name, _ in curve}
        return [name for name in self.values if name not in points]

    def mean(self, method: str, measure: str) -> float | None:
        """Mean over the queries to which the measure applies; None where there is none."""
        found = [value for value in self.of(method, measure) if value is not None]
        return sum(found) / len(found) if found else None

    def interval(self, method: str, measure: str) -> Interval | None:
        """Mean with its 95 % bootstrap interval over queries; None where no query has a value.

        The interval speaks of other queries of the same kind, not of other training runs.

        Raises:
            InputError: The method or the measure is unknown.
        """
        self.of(method, measure)
        return self._intervals.get((method, measure))

    @cached_property
    def _intervals(self) -> dict[tuple[str, str], Interval]:
        """All intervals at once: columns with the same missing queries share their draws."""
        columns: dict[tuple[bool, ...], list[tuple[str, str]]] = {}
        for method, values in self.values.items():
            for measure, numbers in values.items():
                pattern = tuple(number is not None for number in numbers)
                if any(pattern):
                    columns.setdefault(pattern, []).append((method, measure))
        found = {}
        for names in columns.values():
            rows = [[v for v in self.values[a][b] if v is not None] for a, b in names]
            matrix = torch.tensor(rows, dtype=torch.float64).T
            low, high = bootstrap(matrix)
            ends = zip(names, matrix.mean(0).tolist(), low.tolist(), high.tolist())
            for name, middle, lowest, highest in ends:
                found[name] = Interval(middle, lowest, highest, len(matrix))
        return found

    def of(self, method: str, measure: str) -> Values:
        """Return the values of a method, one a query.

        Raises:
            InputError: The method or the measure is unknown.
        """
        check_name(method, list(self.values))
        check_name(measure, self.measures)
        return self.values[method].get(measure, [None] * len(self.queries))

    def save(self, folder: str | Path, differences: Sequence["Difference"] | None = None) -> Path:
        """Write `folder/results.json`, every value of every query.

        Args:
            folder: Where.
            differences: To keep, with all means and intervals, as "summary" for other programs;
                without them there is no summary.
        """
        path = Path(folder) / FILE
        held = asdict(self)
        if differences is not None:
            means = [dict(zip(MEANS, row)) for row in self._rows()]
            held[SUMMARY] = {"means": means, "differences": [asdict(d) for d in differences]}
        write_text(path, json.dumps(held) + "\n")
        return path

    def save_csv(self, folder: str | Path, differences: Sequence["Difference"] = ()) -> Path:
        """Write `results.csv` (means), `differences.csv` and `latency.csv`, where there are any."""
        folder = Path(folder)
        write_csv(folder / "results.csv", MEANS, self._rows())
        names = [field.name for field in fields(Difference)]
        write_csv(folder / "differences.csv", names, [astuple(d) for d in differences])
        parts = (*PARTS, "total")
        timed = [
            [method, batch, *(found[part] for part in parts)]
            for method, batches in self.latency.items()
            for batch, found in batches.items()
        ]
        header = ["method", "batch", *(f"{part} seconds per query" for part in parts)]
        write_csv(folder / "latency.csv", header, timed)
        return folder / "results.csv"

    def _rows(self) -> list[list[Any]]:
        """Method, measure, mean, ends and queries of every method and measure with a value."""
        return [
            [method, measure, *astuple(found)]
            for method in self.values
            for measure in self.measures
            if (found := self.interval(method, measure)) is not None
        ]

    @classmethod
    def load(cls, folder: str | Path) -> "Results":
        """Read what ``save`` wrote.

        Raises:
            InputError: The file is missing or holds something else.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise InputError(
                f"Results are read from {FILE} — found none in {folder} — run `r4t evaluate` first."
            )
        try:
            held: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{name: value for name, value in held.items() if name != SUMMARY})
        except (ValueError, TypeError, AttributeError):
            raise InputError(
                f"Results are a JSON object with settings, queries, values and latency — found "
                f"something else in {path} — run `r4t evaluate` again."
            ) from None


@dataclass(frozen=True)
class Difference:
    """How much higher one method scores than another on the same queries.

    Attributes:
        mean: Mean of (first − second) over queries; of several runs, the mean of theirs.
        low: Lower end of its 95 % interval.
        high: Upper end; the difference is beyond chance where 0 lies outside.
        queries: Number of queries with both values.
        p_value: Chance of a mean this far from 0 if neither method were better (sign-flip test).
    """

    first: str
    second: str
    measure: str
    mean: float
    low: float
    high: float
    queries: int
    p_value: float


def compare(
    results: Results,
    first: str,
    second: str,
    measure: str,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Difference:
    """Paired difference of two methods, with a 95 % bootstrap interval over queries.

    Queries are drawn with replacement, both methods' values together (``bootstrap``), and the
    signs of their differences are flipped at random for the chance (``sign_flip``). Both speak of
    other queries of the same kind, not of other training runs.

    Args:
        results: Of one evaluation.
        first: A method.
        second: The method to subtract.
        measure: Name with block, such as "items/recall".
        samples: Number of draws.
        seed: Of the draws.

    Raises:
        InputError: A name is unknown, or no query has a value for both methods.
    """
    pairs = zip(results.of(first, measure), results.of(second, measure))
    found = [a - b for a, b in pairs if a is not None and b is not None]
    if not found:
        raise InputError(
            f"A paired comparison needs queries with values of both methods — found none for "
            f"{measure!r} of {first!r} and {second!r} — compare a measure that both have."
        )
    values = torch.tensor(found, dtype=torch.float64).unsqueeze(1)
    return paired(first, second, measure, values, samples=samples, seed=seed)


def paired(
    first: str,
    second: str,
    measure: str,
    differences: Tensor,
    strata: Tensor | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Difference:
    """Mean, interval and chance of differences (n, R) of n queries in R runs.

    Args:
        first: A method.
        second: The method subtracted.
        measure: Their measure.
        differences: NaN where a run has not both values; every query and run has one.
        strata: As of ``bootstrap``.
        samples: Number of draws.
        seed: Of the draws.
    """
    values = differences.unsqueeze(-1)
    low, high = bootstrap(values, samples, seed, strata).flatten().tolist()
    mean = mean_of_runs(values).item()
    chance = sign_flip(shares(differences), seed=seed)
    return Difference(first, second, measure, mean, low, high, len(differences), chance)
