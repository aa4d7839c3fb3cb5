"""Objectives + weights → one reward per set, with every component kept: the first door."""

from collections.abc import Mapping

from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.plugins import load_objective
from r4t.sets import SetBatch


class Reward:
    """Weighted sum of objectives (paper, eq. 1): ``Σ weight · score``.

    A weight of 0 is allowed: that objective is *audited* (scored and logged), not trained on.

    Args:
        weights: Weight of each objective by name. A name found in ``objectives`` means that
            object, any other an installed plug-in built without arguments.
        objectives: Objects for names that need constructor arguments or are not installed.

    Raises:
        InputError: A name is unknown, or ``objectives`` names one that has no weight.

    Example:
        >>> reward = Reward({"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2})
        >>> reward.bounds
        (-0.8, 1.0)
    """

    def __init__(
        self, weights: Mapping[str, float], objectives: Mapping[str, Objective] | None = None
    ) -> None:
        given = dict(objectives or {})
        unweighted = sorted(set(given) - set(weights))
        if unweighted:
            raise InputError(
                f"Every objective of a reward needs a weight — {unweighted} have none among "
                f"{sorted(weights)}; add them to weights (0 means audited only)."
            )
        if not weights:
            raise InputError(
                "A reward needs at least one objective, found no weight; "
                "name one, as in {diversity: 1.0}."
            )
        self.weights = {name: float(weight) for name, weight in weights.items()}
        self.objectives = {
            name: given[name] if name in given else load_objective(name) for name in weights
        }

    @property
    def needs(self) -> frozenset[str]:
        """Optional ``SetBatch`` fields read by any of the objectives."""
        return frozenset().union(*(objective.needs for objective in self.objectives.values()))

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest reward that the weights and bounds admit."""
        ends = [
            sorted(weight * end for end in self.objectives[name].bounds)
            for name, weight in self.weights.items()
        ]
        return round(sum(low for low, _ in ends), 12), round(sum(high for _, high in ends), 12)

    def components(self, sets: SetBatch) -> dict[str, Tensor]:
        """Return the raw score (B,) of every objective by name."""
        return {name: objective(sets) for name, objective in self.objectives.items()}

    def total(self, components: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum (B,) of raw ``components`` (eq. 1)."""
        parts = [self.weights[name] * score for name, score in components.items()]
        return sum(parts[1:], start=parts[0])

    def __call__(self, sets: SetBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the reward (B,) and the raw components it is made of."""
        components = self.components(sets)
        return self.total(components), components
