"""Objectives + weights → one reward per set, with every component kept: the first door."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective, load_objective
from r4t.sets import SetBatch

# What logs, tables and target sets call by these names is something else.
RESERVED = {
    *("reward", "composite", "loss", "nll", "parsed", "tokens", "distinct_items"),
    *("clipped", "kl_new_old", "kl_old_new", "entropy", "truncated", "zero_variance"),
    *("subqueries", "duplicate_subqueries", "query_copies", "universal_subqueries"),
    *("commonest_word", "alarms", "generate", "encode", "search", "score", "update", "step"),
    *("compute", "reset", "clone", "plot", "persistent", "set_dtype", "add_metrics"),
    *("compute_groups", "metric_state", "prefix", "postfix"),  # of a MetricCollection
}
NAME = re.compile(r"[^\W\d][\w -]*")


@dataclass(frozen=True)
class Ramp:
    """A weight that moves in a straight line over the optimizer steps, then stays.

    Attributes:
        begin: Weight at step 0.
        end: Weight from step ``steps`` on; wherever there are no steps (synthesis, evaluation) it
            is the weight.
        steps: Length of the line, at least 1.

    Raises:
        InputError: ``steps`` is below 1, or a weight is not finite.

    Examples:
        >>> Ramp(begin=0.0, end=0.4, steps=10)(5)
        0.2
    """

    begin: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"A ramp needs at least 1 step, found {self.steps}; give more.")
        if not (math.isfinite(self.begin) and math.isfinite(self.end)):
            raise InputError(
                f"A ramp leads from one finite weight to another, found {self.begin} and "
                f"{self.end}; correct them."
            )

    def __call__(self, step: int) -> float:
        """Return the weight at an optimizer step."""
        return self.begin + (self.end - self.begin) * min(step / self.steps, 1.0)


class Reward:
    """Weighted sum of objectives (paper, eq. 1): ``Σ weight · score``.

    A weight of 0 is allowed: that objective is *audited* (scored and logged), not trained on.

    Args:
        weights: Weight of each objective by name, a number or a ``Ramp``. A name found in
            ``objectives`` means that object, any other an installed plug-in built without
            arguments.
        objectives: Objects for names that need constructor arguments or are not installed.

    Attributes:
        weights: The weights as numbers; of a ramp, its end.
        given: Names whose objects came through ``objectives``.

    Raises:
        InputError: A name is unknown or means something else in logs and tables, ``objectives``
            names one that has no weight, a weight is not finite, or none (in the end) differs from
            0.

    Examples:
        >>> reward = Reward({"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2})
        >>> reward.bounds
        (-0.8, 1.0)
    """

    def __init__(
        self,
        weights: Mapping[str, float | Ramp],
        objectives: Mapping[str, Objective] | None = None,
    ) -> None:
        given = dict(objectives) if objectives is not None else {}
        self.given = frozenset(given)
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
        self._ramps = {name: w for name, w in weights.items() if isinstance(w, Ramp)}
        self.weights = {
            name: weight.end if isinstance(weight, Ramp) else float(weight)
            for name, weight in weights.items()
        }
        check_names(self.weights)
        endless = {name: w for name, w in self.weights.items() if not math.isfinite(w)}
        if endless:
            raise InputError(
                f"Weights must be finite numbers, found {endless}; correct them (0 means audited)."
            )
        if not any(self.weights.values()):
            raise InputError(
                f"A reward needs a weight other than 0, found 0 for all of {sorted(weights)}; such "
                "objectives are only audited: give at least one a weight."
            )
        self.objectives = {
            name: given[name] if name in given else load_objective(name) for name in weights
        }
        for objective in self.objectives.values():
            objective.check()

    @property
    def needs(self) -> frozenset[str]:
        """Optional ``SetBatch`` fields read by any of the objectives."""
        return frozenset().union(*(objective.needs for objective in self.objectives.values()))

    @property
    def weighted_objectives(self) -> dict[str, Objective]:
        """Objectives whose weight is not 0: those that decide, where the others are audited."""
        return {
            name: objective
            for name, objective in self.objectives.items()
            if self.weights[name] or name in self._ramps
        }

    @property
    def deciding_needs(self) -> frozenset[str]:
        """Optional ``SetBatch`` fields read by the weighted objectives: those of ``score``."""
        found = [objective.needs for objective in self.weighted_objectives.values()]
        return frozenset().union(*found)

    @property
    def partial(self) -> bool:
        """Whether a set may stay without a reward, because a weighted objective may fail on it."""
        return any(objective.partial for objective in self.weighted_objectives.values())

    @property
    def costly(self) -> bool:
        """Whether a weighted objective costs money or minutes to score."""
        return any(objective.costly for objective in self.weighted_objectives.values())

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest reward that the (final) weights and the objectives' bounds admit."""
        ends = [
            sorted(weight * end for end in self.objectives[name].bounds)
            for name, weight in self.weights.items()
        ]
        return round(sum(low for low, _ in ends), 12), round(sum(high for _, high in ends), 12)

    def weights_at(self, step: int | None = None) -> dict[str, float]:
        """Return the weights at an optimizer step; without one, the final weights."""
        if step is None:
            return dict(self.weights)
        return self.weights | {name: ramp(step) for name, ramp in self._ramps.items()}

    def components(self, sets: SetBatch) -> dict[str, Tensor]:
        """Return the raw score (B,) of every objective by name."""
        return {name: objective(sets) for name, objective in self.objectives.items()}

    def weighted(
        self, components: Mapping[str, Tensor], step: int | None = None
    ) -> dict[str, Tensor]:
        """Return weight · score (B,) of every objective by name."""
        weights = self.weights_at(step)
        return {name: weights[name] * score for name, score in components.items()}

    def total(self, components: Mapping[str, Tensor], step: int | None = None) -> Tensor:
        """Return the weighted sum (B,) of raw ``components`` (eq. 1).

        It is NaN where a weighted objective could not score the set (``Objective.partial``); an
        objective of weight 0 has no say, not even so.
        """
        weights = self.weights_at(step)
        parts = [
            torch.zeros_like(score) if weights[name] == 0 else weights[name] * score
            for name, score in components.items()
        ]
        return sum(parts[1:], start=parts[0])

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what the objectives want stored beside their scores, by name."""
        found = {name: objective.facts() for name, objective in self.objectives.items()}
        return {name: facts for name, facts in found.items() if facts}

    def score(self, sets: SetBatch) -> Tensor:
        """Return the reward (B,) alone; audited objectives are not scored, and cost nothing."""
        weighted = self.weighted_objectives
        return self.total({name: objective(sets) for name, objective in weighted.items()})

    def __call__(self, sets: SetBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the reward (B,) and the raw components it is made of."""
        components = self.components(sets)
        return self.total(components), components


def check_names(names: Iterable[str]) -> None:
    """Refuse names of objectives that logs, tables or YAML could not carry.

    Raises:
        InputError: Names the first.
    """
    for name in names:
        if not NAME.fullmatch(name) or name in RESERVED or hasattr(torch.nn.ModuleDict, name):
            raise InputError(
                f"An objective's name begins with a letter, goes on with letters, digits, spaces, - "
                f"and _, and means nothing else in logs and tables — found {name!r} among the "
                "weights; choose another."
            )
