"""Objectives → torchmetrics metrics, reduced across ranks: the third use of objectives."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from r4t.sets import SetBatch

Score = Callable[[SetBatch], Tensor]  # an Objective, or any function to (B,) numbers


class ObjectiveMetric(Metric):
    """Mean of an objective, or of any measure of sets, over all queries seen on every rank.

    Queries without a score (NaN) are skipped and counted.

    Args:
        objective: What to average: an ``Objective``, or a function from B sets to (B,) numbers.
        name: Part of the state names; the objective's own name by default.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    def __init__(self, objective: Score, name: str | None = None) -> None:
        super().__init__()
        self.objective = objective
        if name is None:
            default = getattr(objective, "__name__", type(objective).__name__)
            name = getattr(objective, "name", default)
        # MetricCollection merges metrics whose states have equal names and values.
        self._states = [f"{name}_scores_{part}" for part in ("sum", "count", "unscored")]
        for state in self._states:
            self.add_state(state, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, sets: SetBatch | Tensor) -> None:
        """Add B queries: sets to score, or their scores (B,)."""
        scores = sets if isinstance(sets, Tensor) else self.objective(sets)
        missing = scores.isnan()
        parts = scores.double().nansum(), (~missing).sum(), missing.sum()
        for state, part in zip(self._states, parts):
            setattr(self, state, getattr(self, state) + part)

    @property
    def unscored(self) -> int:
        """Queries without a score, on this rank."""
        return int(getattr(self, self._states[2]))

    def compute(self) -> Tensor:
        """Return the mean over the queries with a score; NaN if there is none."""
        total, count, _ = (getattr(self, state) for state in self._states)
        return (total / count).float()


def objective_metrics(
    objectives: Mapping[str, Score], prefix: str = "", stat: str = "mean"
) -> MetricCollection:
    """Return one metric per objective, logged as ``{prefix}{name}/{stat}``, none merged."""
    metrics: dict[str, Metric | MetricCollection] = {
        name: ObjectiveMetric(objective, name) for name, objective in objectives.items()
    }
    return MetricCollection(metrics, prefix=prefix, postfix=f"/{stat}", compute_groups=False)
