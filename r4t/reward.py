"""Objectives + weights → one reward per set, with every component kept: the first use."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, check_least
from r4t.objective import Objective, load_objective
from r4t.sets import SetBatch

# Names that mean something else in logs, tables, target sets and a MetricCollection.
RESERVED = {
    *("reward", "composite", "loss", "nll", "parsed", "tokens", "distinct_items"),
    *("clipped", "kl_new_old", "kl_old_new", "entropy", "truncated", "zero_variance"),
    *("subqueries", "duplicate_subqueries", "query_copies", "universal_subqueries"),
    *("commonest_word", "alarms", "generate", "encode", "search", "score", "update", "step"),
    *("query_free", "credit", "backend_gap", "pull"),
    *("compute", "reset", "clone", "plot", "persistent", "set_dtype", "add_metrics"),
    *("compute_groups", "metric_state", "prefix", "postfix"),
}
FACTS_FILE = "objectives.json"  # beside a saved model
Scores = Mapping[str, Tensor]  # objective → (B,)
NAME = re.compile(r"[^\W\d][\w -]*")


@dataclass(frozen=True)
class Ramp:
    """A weight that moves in a straight line over the optimizer steps, then stays.

    Args:
        begin: Weight at step 0.
        end: Weight from step ``steps`` on, and where there are no steps (synthesis, evaluation).
        steps: Length of the line, at least 1.

    Raises:
        InputError: If ``steps`` is below 1, or a weight is not finite.

    Examples:
        >>> Ramp(begin=0.0, end=0.4, steps=10)(5)
        0.2
    """

    begin: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        check_least({"steps": (self.steps, 1)})
        if not (math.isfinite(self.begin) and math.isfinite(self.end)):
            ends = f"{self.begin} and {self.end}"
            raise InputError(expected="a ramp of finite weights", found=ends, remedy="Correct it.")

    def __call__(self, step: int) -> float:
        """Return the weight at an optimizer step."""
        return self.begin + (self.end - self.begin) * min(step / self.steps, 1.0)


class Reward:
    """Weighted sum of objectives (paper, eq. 1): ``Σ weight · score``.

    A weight of 0 is allowed: that objective is *audited* (scored and logged), not trained on.

    Args:
        weights: Weight of each objective by name, a number or a ``Ramp``. A name in ``objectives``
            means that object; any other name, an installed plug-in built without arguments.
        objectives: Objects for names that need constructor arguments or are not installed.

    Raises:
        InputError: If a name is unknown or reserved, one of ``objectives`` has no weight, a weight
            is not finite, or all weights (in the end) are 0.

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
        objectives = {} if objectives is None else objectives
        self.given = frozenset(objectives)  # names
        self._ramps = {name: w for name, w in weights.items() if isinstance(w, Ramp)}
        self.weights = {  # of a ramp, its end
            name: weight.end if isinstance(weight, Ramp) else float(weight)
            for name, weight in weights.items()
        }
        check_names(weights)
        unweighted, names = sorted(self.given - set(weights)), sorted(weights)
        infinite = {name: w for name, w in self.weights.items() if not math.isfinite(w)}
        if unweighted:
            raise InputError(
                expected="a weight for each objective",
                found=f"none for {unweighted} among {names}",
                remedy="Add them to weights; 0 means audited only.",
            )
        if infinite:
            raise InputError(expected="finite weights", found=f"{infinite}", remedy="Correct them.")
        if not any(self.weights.values()):
            raise InputError(
                expected="an objective with a weight other than 0",
                found=f"0 for all of {names}, which only audits them" if names else "no weight",
                remedy="Weight at least one objective, as in {diversity: 1.0}.",
            )
        self.objectives = {
            name: objectives[name] if name in objectives else load_objective(name)
            for name in weights
        }
        for objective in self.objectives.values():
            objective.check()

    @property
    def weighted_objectives(self) -> dict[str, Objective]:
        """Objectives that decide: those whose weight is not always 0."""
        deciding = {name for name, weight in self.weights.items() if weight} | self._ramps.keys()
        return {name: each for name, each in self.objectives.items() if name in deciding}

    @property
    def deciding_needs(self) -> frozenset[str]:
        """Optional ``SetBatch`` fields that ``score`` reads."""
        return frozenset().union(*(each.needs for each in self.weighted_objectives.values()))

    @property
    def partial(self) -> bool:
        """Whether a weighted objective may fail to score a set, which then has no reward."""
        return any(objective.partial for objective in self.weighted_objectives.values())

    @property
    def costly(self) -> bool:
        """Whether a weighted objective costs money or minutes to score."""
        return any(objective.costly for objective in self.weighted_objectives.values())

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest reward that the (final) weights and the objectives' bounds admit."""
        ends = [
            sorted(self.weights[name] * end for end in each.bounds)
            for name, each in self.objectives.items()
        ]
        return round(sum(low for low, _ in ends), 12), round(sum(high for _, high in ends), 12)

    def weights_at(self, step: int | None = None) -> dict[str, float]:
        """Return the weights at an optimizer step; without one, the final weights."""
        if step is None:
            return dict(self.weights)
        return self.weights | {name: ramp(step) for name, ramp in self._ramps.items()}

    def components(self, sets: SetBatch, audited: bool = True) -> dict[str, Tensor]:
        """Return the raw score (B,) of every objective by name; without the audited ones on request."""
        chosen = self.objectives if audited else self.weighted_objectives
        return {name: objective(sets) for name, objective in chosen.items()}

    def weighted(self, components: Scores, step: int | None = None) -> dict[str, Tensor]:
        """Return weight · score (B,) of every objective by name."""
        weights = self.weights_at(step)
        return {name: weights[name] * score for name, score in components.items()}

    def total(self, components: Scores, step: int | None = None) -> Tensor:
        """Return the weighted sum (B,) of raw ``components`` (eq. 1).

        It is NaN where a weighted objective could not score the set (``Objective.partial``).
        Objectives of weight 0 never affect it, even when they return NaN.
        """
        weights = self.weights_at(step)
        parts = [
            torch.zeros_like(score) if weights[name] == 0 else weights[name] * score
            for name, score in components.items()
        ]
        return sum(parts[1:], start=parts[0])

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what the objectives want stored beside their scores, by name."""
        return {name: facts for name, each in self.objectives.items() if (facts := each.facts())}

    def save_facts(self, folder: str | Path) -> None:
        """Write the facts, if there are any, into ``objectives.json`` in a model's folder."""
        if facts := self.facts():
            text = json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n"
            (Path(folder) / FACTS_FILE).write_text(text, encoding="utf-8")

    def score(self, sets: SetBatch) -> Tensor:
        """Return the reward (B,) alone; audited objectives are not scored, and cost nothing."""
        return self.total(self.components(sets, audited=False))

    def __call__(self, sets: SetBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the reward (B,) and its raw components."""
        components = self.components(sets)
        return self.total(components), components


def query_free_share(scores: Tensor) -> float:
    """Return what share of the variance within a query does not depend on the query.

    Every one of n queries is given every one of m lists, which yields n × m scores s. Within a query
    only differences between lists teach (eq. 6 subtracts the mean), so center each row. A centered
    score is what list j is worth to all queries, the mean t_j of its column, plus what it is worth to
    this query, which sums to 0 over the column. Hence the squares add up:

        Σ_ij (s_ij − s̄_i)² = n Σ_j t_j² + Σ_ij (s_ij − s̄_i − t_j)²,
        share = n Σ_j t_j² / Σ_ij (s_ij − s̄_i)²: the variance of list means over that within queries.

    It is 1 if one list is the best for all queries, which can then be written without reading any;
    about 1/n if lists are worth nothing to other queries than their own.

    Args:
        scores: (n, m); rows with NaN are left out.

    Returns:
        From 0 to 1; NaN if fewer than two rows are left, or no score differs within a row.

    Examples:
        The first list is better by 2 for one query and by 4 for the other: centered rows are ±1 and
        ±2, list means ±1.5, so that 2 · (1.5² + 1.5²) of 10 are query-free.

        >>> query_free_share(torch.tensor([[3.0, 1.0], [5.0, 1.0]]))
        0.9
    """
    rows = scores[~scores.isnan().any(1)].double()
    rows = rows - rows.mean(1, keepdim=True)
    total = rows.square().sum()
    if len(rows) < 2 or total <= 1e-12 * rows.numel():  # round-off
        return math.nan
    return float(len(rows) * rows.mean(0).square().sum() / total)


def check_names(names: Iterable[str]) -> None:
    """Refuse names of objectives that logs, tables or YAML cannot carry.

    Raises:
        InputError: If a name is malformed or reserved.
    """
    for name in names:
        if not NAME.fullmatch(name) or name in RESERVED or hasattr(torch.nn.ModuleDict, name):
            raise InputError(
                expected="a name of letters, digits, spaces, - and _ that begins with a letter and "
                "has no other meaning in logs and tables",
                found=f"{name!r} as an objective's name",
                remedy="Choose another.",
            )
