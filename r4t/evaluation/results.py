"""Per-query values of several methods ↔ results.json; two methods → their paired difference."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from r4t.errors import InputError, nearest

FILE = "results.json"


@dataclass(frozen=True)
class Results:
    """All that was measured in one evaluation.

    Attributes:
        settings: What the numbers depend on: set size, pool size, encoder, catalog, ...
        queries: Ids of the test queries.
        values: Method → measure → one value a query, in the order of ``queries``; None where the
            measure does not apply. A measure's name starts with its block: "directions/" or
            "items/".
        latency: Method → batch size (as text) → part → seconds per query.
    """

    settings: dict[str, Any]
    queries: list[str]
    values: dict[str, dict[str, list[float | None]]]
    latency: dict[str, dict[str, dict[str, float]]]

    @property
    def measures(self) -> list[str]:
        """Names of all measures, in the order in which they were taken."""
        return list(dict.fromkeys(name for values in self.values.values() for name in values))

    def mean(self, method: str, measure: str) -> float | None:
        """Mean over the queries to which the measure applies; None where there is none."""
        found = [value for value in self._values(method, measure) if value is not None]
        return sum(found) / len(found) if found else None

    def _values(self, method: str, measure: str) -> list[float | None]:
        for name, options in ((method, list(self.values)), (measure, self.measures)):
            if name not in options:
                raise InputError(
                    f"Results have the names {sorted(options)} — found {name!r} — name one of "
                    f"them.{nearest(name, options)}"
                )
        return self.values[method].get(measure, [None] * len(self.queries))

    def save(self, folder: str | Path) -> Path:
        """Write `folder/results.json`, every value of every query."""
        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        return path

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
            return cls(**held)
        except (ValueError, TypeError):
            raise InputError(
                f"Results are a JSON object with settings, queries, values and latency — found "
                f"something else in {path} — run `r4t evaluate` again."
            ) from None


@dataclass(frozen=True)
class Difference:
    """How much higher one method scores than another on the same queries.

    Attributes:
        mean: Mean of (first − second) over queries.
        low: Lower end of its 95 % interval.
        high: Upper end; the difference is beyond chance where 0 lies outside.
        queries: Number of queries with both values.
    """

    first: str
    second: str
    measure: str
    mean: float
    low: float
    high: float
    queries: int


def compare(
    results: Results, first: str, second: str, measure: str, *, samples: int = 2000, seed: int = 0
) -> Difference:
    """Paired difference of two methods, with a 95 % bootstrap interval over queries.

    Queries are drawn with replacement, both methods' values together; the interval holds the
    middle 95 % of the mean differences (percentile bootstrap). It speaks of other queries of the
    same kind, not of other training runs.

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
    pairs = zip(results._values(first, measure), results._values(second, measure))
    differences = torch.tensor(
        [a - b for a, b in pairs if a is not None and b is not None], dtype=torch.float64
    )
    count = len(differences)
    if count == 0:
        raise InputError(
            f"A paired comparison needs queries with values of both methods — found none for "
            f"{measure!r} of {first!r} and {second!r} — compare a measure that both have."
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (samples, count), generator=generator)
    means = differences[drawn].mean(-1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Difference(first, second, measure, differences.mean().item(), low, high, count)
