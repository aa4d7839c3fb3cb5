"""Objectives → torchmetrics metrics, reduced across ranks: the third door."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from r4t.sets import SetBatch

Score = Callable[[SetBatch], Tensor]  # an Objective, or any function to (B,) numbers


class ObjectiveMetric(Metric):
    """Mean of an objective, or of any measure of sets, over all queries seen on every rank.

    Queries without a score (NaN) are left out and counted. The state names carry the objective's
    name, because ``MetricCollection`` merges metrics whose states look alike.

    Args:
        objective: What to average: an ``Objective``, or a function from B sets to (B,) numbers.
        name: What the states are called; the objective's own name by default.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    def __init__(self, objective: Score, name: str | None = None) -> None:
        super().__init__()
        self.objective = objective
        own = getattr(objective, "name", getattr(objective, "__name__", type(objective).__name__))
        self.state_name = str(own) if name is None else name
        zero = torch.zeros((), dtype=torch.float64)
        self.add_state(f"{self.state_name}_scores_sum", default=zero, dist_reduce_fx="sum")
        self.add_state(
            f"{self.state_name}_scores_count", default=zero.clone(), dist_reduce_fx="sum"
        )
        self.add_state(
            f"{self.state_name}_scores_unscored", default=zero.clone(), dist_reduce_fx="sum"
        )

    def update(self, sets: SetBatch | Tensor) -> None:
        """Add the scores of B queries.

        Args:
            sets: What to score, or scores (B,) that were computed already (``Reward.components``).
        """
        scores = sets if isinstance(sets, Tensor) else self.objective(sets)
        total = getattr(self, f"{self.state_name}_scores_sum")
        count = getattr(self, f"{self.state_name}_scores_count")
        unscored = getattr(self, f"{self.state_name}_scores_unscored")
        missing = scores.isnan()
        total += scores.double().nansum()
        count += (~missing).sum()
        unscored += missing.sum()

    @property
    def unscored(self) -> int:
        """Queries that were left out because they had no score, on this rank."""
        return int(getattr(self, f"{self.state_name}_scores_unscored"))

    def compute(self) -> Tensor:
        """Return the mean over the queries with a score; NaN where there was none."""
        count = getattr(self, f"{self.state_name}_scores_count")
        return (getattr(self, f"{self.state_name}_scores_sum") / count).float()


def objective_metrics(
    objectives: Mapping[str, Score], prefix: str = "", stat: str = "mean"
) -> MetricCollection:
    """Return one metric per objective, logged as ``{prefix}{name}/{stat}``, none merged."""
    metrics: dict[str, Metric | MetricCollection] = {
        name: ObjectiveMetric(objective, name) for name, objective in objectives.items()
    }
    return MetricCollection(metrics, prefix=prefix, postfix=f"/{stat}", compute_groups=False)
