"""Objectives → torchmetrics metrics, reduced across ranks: the third door."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from r4t.objective import Objective
from r4t.sets import SetBatch


class ObjectiveMetric(Metric):
    """Mean of an objective over all queries seen, on every rank.

    The state names carry the objective's name, because ``MetricCollection`` merges metrics whose
    states look alike.

    Args:
        objective: What to average.
        name: What the states are called; the objective's own name by default.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    def __init__(self, objective: Objective, name: str | None = None) -> None:
        super().__init__()
        self.objective = objective
        self.state_name = name if name is not None else objective.name
        zero = torch.zeros((), dtype=torch.float64)
        self.add_state(f"{self.state_name}_sum", default=zero, dist_reduce_fx="sum")
        self.add_state(f"{self.state_name}_count", default=zero.clone(), dist_reduce_fx="sum")

    def update(self, sets: SetBatch | Tensor) -> None:
        """Add the scores of B queries.

        Args:
            sets: What to score, or scores (B,) that were computed already (``Reward.components``).
        """
        scores = sets if isinstance(sets, Tensor) else self.objective(sets)
        total = getattr(self, f"{self.state_name}_sum")
        count = getattr(self, f"{self.state_name}_count")
        total += scores.double().sum()
        count += scores.numel()

    def compute(self) -> Tensor:
        """Return the mean over queries; 0 where none was seen."""
        count = getattr(self, f"{self.state_name}_count")
        mean = getattr(self, f"{self.state_name}_sum") / count.clamp(min=1)
        return mean.float()


def objective_metrics(objectives: Mapping[str, Objective], prefix: str = "") -> MetricCollection:
    """Return one metric per objective, logged as ``{prefix}{name}/mean``, none merged with another."""
    metrics: dict[str, Metric | MetricCollection] = {
        name: ObjectiveMetric(objective, name) for name, objective in objectives.items()
    }
    return MetricCollection(metrics, prefix=prefix, postfix="/mean", compute_groups=False)
