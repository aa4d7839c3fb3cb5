"""Folders of results → several runs (seeds, folds) that may be averaged, query by query."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.evaluation.results import FILE, Results

# Settings in which runs may differ: where they lie, how many queries, what was found on the way,
# and what decides which numbers there are, not how high. All others must agree.
FREE = {
    *("run", "out", "seed", "queries", "queries_limit", "unknown_queries", "catalog_items"),
    *("left_out", "absent", "lineage", "facts", "curves", "audit", "methods"),
    *("batch_size", "latency_batches", "latency_calls"),
}
TOLD = ("subqueries",)  # files of the runs, as their models are; differing ones are told
Unit = tuple[str, str, str]  # a query: its catalog, id and text


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


def shared_settings(runs: Mapping[str, Results], across_catalogs: bool = False) -> dict[str, Any]:
    """Return the settings in which all runs agree.

    Results of older versions hold fewer settings; what a run does not tell is not compared.

    Args:
        runs: Name → results.
        across_catalogs: Whether they may have different catalogs, and encoders fitted to them.

    Raises:
        InputError: Two runs differ in a setting on which their numbers depend.
    """
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for results in runs.values() for key in results.settings):
        told = {
            name: _setting(results.settings[key], key, across_catalogs)
            for name, results in runs.items()
            if key in results.settings
        }
        first, *_ = told
        other = next((name for name in told if told[name] != told[first]), None)
        if other is None:
            found[key] = told[first]
        elif key not in (*FREE, *TOLD) and not (key == "catalog" and across_catalogs):
            way = ", or add --across-catalogs" if key == "catalog" else ""
            raise InputError(
                f"Runs are averaged where they agree in {key} — found {told[first]!r} in {first} "
                f"and {told[other]!r} in {other} — report them apart{way}."
            )
    return found


def _setting(value: Any, key: str, across_catalogs: bool) -> Any:
    if key == "catalog" and isinstance(value, str):
        return value[:12]  # of a fingerprint, as elsewhere
    if key == "encoder" and across_catalogs and isinstance(value, str):
        # An encoder that was fitted to its catalog has a vocabulary of its own: name and width.
        return ", ".join(value.split(", ")[:2])
    return value


class Grid:
    """The queries of R runs, each once, and their values run by run.

    A query is one where catalog, id and text are; results of before texts were kept go by ids.

    Attributes:
        units: The n queries.
        asked: (n, R) bool: which runs asked them.
    """

    def __init__(self, runs: Sequence[Results]) -> None:
        with_texts = all(results.texts for results in runs)
        catalogs = {str(r.settings["catalog"]) for r in runs if "catalog" in r.settings}
        places: dict[Unit, int] = {}
        self._rows: list[list[int]] = []
        for results in runs:
            catalog = str(results.settings.get("catalog")) if len(catalogs) > 1 else ""
            texts = results.texts if with_texts else [""] * len(results.queries)
            self._rows.append(
                [
                    places.setdefault((catalog, query, text), len(places))
                    for query, text in zip(results.queries, texts)
                ]
            )
        self._runs = runs
        self.units = list(places)
        self.asked = torch.zeros(len(places), len(runs), dtype=torch.bool)
        for number, rows in enumerate(self._rows):
            self.asked[rows, number] = True

    def values(self, method: str, measure: str) -> Tensor:
        """Values (n, R) of a method; NaN where a run did not ask the query, or has no value."""
        found = torch.full(self.asked.shape, torch.nan, dtype=torch.float64)
        for number, (results, rows) in enumerate(zip(self._runs, self._rows)):
            numbers = results.values.get(method, {}).get(measure)
            if numbers is not None:
                held = [torch.nan if value is None else value for value in numbers]
                found[rows, number] = torch.tensor(held, dtype=torch.float64)
        return found

    def answered(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the queries and runs that have any value, and tell which runs asked which query.

        Args:
            values: (n, R, m), of which all m columns miss the same.

        Returns:
            Values (n', R', m), and (n',) numbers: alike for queries that the same runs asked.
        """
        known = ~values[..., 0].isnan()
        rows, runs = known.any(1), known.any(0)
        strata = self.asked[rows][:, runs].unique(dim=0, return_inverse=True)[1]
        return values[rows][:, runs], strata
