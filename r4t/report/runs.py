"""Folders of results → several runs (seeds, folds) that may be averaged, query by query."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.evaluation.results import FILE, Results, as_tensor
from r4t.support.chains import chained

# Settings that do not change a number: where the run is, how many queries it has, what was skipped,
# and which numbers were measured at all. Runs must agree in all others.
MAY_DIFFER = {
    *("run", "out", "seed", "queries", "queries_limit", "unknown_queries", "catalog_items"),
    *("left_out", "absent", "lineage", "facts", "curves", "audit", "methods"),
    *("batch_size", "latency_batches", "latency_calls"),
}
REPORTED = ("subqueries",)  # may differ, as the models do, but a note says how
Unit = tuple[str, str, str]  # a query: its catalog, id and text


def load_runs(folders: Sequence[str]) -> dict[str, Results]:
    """Read the results of run folders (in ``RUN/results``), or of folders that hold them.

    Raises:
        InputError: If a folder holds no results, or is named twice.
    """
    runs: dict[str, Results] = {}
    names: dict[Path, str] = {}
    for folder in folders:
        below = Path(folder) / "results"
        place = below if (below / FILE).is_file() else Path(folder)
        earlier = names.setdefault(place.resolve(), folder)
        if folder in runs or earlier != folder:
            raise InputError(
                expected="each run once",
                found=f"{folder} again after {earlier}",
                remedy="Name it once.",
            )
        runs[folder] = Results.load(place)
    return runs


def shared_settings(runs: Mapping[str, Results], across_catalogs: bool = False) -> dict[str, Any]:
    """Return the settings in which all runs agree.

    A setting that a run lacks, as results of older versions do, is compared among the others. With
    ``across_catalogs``, catalogs may differ, and so may encoders that were fitted to them.

    Raises:
        InputError: If two runs differ in a setting on which their numbers depend.
    """
    shared: dict[str, Any] = {}
    for key in dict.fromkeys(key for results in runs.values() for key in results.settings):
        values = {
            name: _comparable(results.settings[key], key, across_catalogs)
            for name, results in runs.items()
            if key in results.settings
        }
        first, *_ = values
        other = next((name for name in values if values[name] != values[first]), None)
        if other is None:
            shared[key] = values[first]
        elif key not in (*MAY_DIFFER, *REPORTED) and not (key == "catalog" and across_catalogs):
            option = ", or add --across-catalogs" if key == "catalog" else ""
            raise InputError(
                expected=f"runs that agree in {key}",
                found=f"{values[first]!r} in {first} and {values[other]!r} in {other}",
                remedy=f"Report them separately{option}.",
            )
    return shared


def _comparable(value: Any, key: str, across_catalogs: bool) -> Any:
    if key == "catalog" and isinstance(value, str):
        return value[:12]  # of the fingerprint, as the program prints it elsewhere
    if key == "encoder" and across_catalogs and isinstance(value, str):
        # Name and width; an encoder that was fitted to its catalog has its own vocabulary.
        return ", ".join(value.split(", ")[:2])
    return value


class Grid:
    """The n queries of R runs, each once (``units``), and which runs asked them (``asked``, (n, R)).

    Two queries are the same if catalog, id and text are; without texts (results of older versions),
    if catalog and id are. Queries that are in one cluster in any run are in one cluster
    (``clusters``, (n,) numbers from 0), in chains.
    """

    def __init__(self, runs: Sequence[Results]) -> None:
        with_texts = all(results.texts for results in runs)
        catalogs = {str(r.settings["catalog"]) for r in runs if "catalog" in r.settings}
        places: dict[Unit, int] = {}
        self._rows: list[list[int]] = []
        for results in runs:
            catalog = str(results.settings.get("catalog")) if len(catalogs) > 1 else ""
            texts = results.texts if with_texts else [""] * len(results.queries)
            units = [(catalog, query, text) for query, text in zip(results.queries, texts)]
            self._rows.append([places.setdefault(unit, len(places)) for unit in units])
        self._runs = runs
        self.units = list(places)
        self.asked = torch.zeros(len(places), len(runs), dtype=torch.bool)
        labels: list[list[tuple[int, str | int]]] = [[] for _ in places]
        for number, (results, rows) in enumerate(zip(runs, self._rows)):
            self.asked[rows, number] = True
            for row, label in zip(rows, results.clusters):
                labels[row].append((number, label))
        self.clusters = torch.tensor(chained(labels), dtype=torch.long)

    def values(self, method: str, measure: str) -> Tensor:
        """Values (n, R) of a method; NaN if a run did not ask the query or has no value for it."""
        values = torch.full(self.asked.shape, torch.nan, dtype=torch.float64)
        for number, (results, rows) in enumerate(zip(self._runs, self._rows)):
            column = results.values.get(method, {}).get(measure)
            if column is not None:
                values[rows, number] = as_tensor(column)
        return values
