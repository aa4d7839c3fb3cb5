"""Objectives → the scores of the table: the composite, and which score belongs to which block."""

from collections.abc import Mapping

from torch import Tensor

from r4t.metrics import Score
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.sets import SetBatch

COMPOSITE = "composite"
OF_DIRECTIONS = frozenset({"directions", "texts"})


class Composite:
    """A reward as one more score of the table: its weighted sum."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward
        self.needs = reward.deciding_needs  # fields that the weighted objectives read

    def accepts(self, sets: SetBatch) -> bool:
        """Whether ``sets`` carries every field that the weighted objectives need."""
        return self.needs <= sets.present

    def __call__(self, sets: SetBatch) -> Tensor:
        """Return (B,) weighted sums."""
        return self._reward.score(sets)

    def from_components(self, scores: Mapping[str, Tensor]) -> Tensor | None:
        """Return (B,) weighted sums of scores computed before, so that no judge is asked twice.

        None if a score is missing.
        """
        parts = self._reward.weighted_objectives
        if not parts.keys() <= scores.keys():
            return None
        return self._reward.total({name: scores[name] for name in parts})


def scores_by_block(
    reward: Reward, audited: Mapping[str, Objective]
) -> tuple[dict[str, Score], dict[str, Score]]:
    """Sort scores into those of the fan-out and those of the items returned.

    The fan-out is scored as in training, by the composite and all its objectives, and by every
    objective that reads directions or texts. Items are scored by all others, except distinctness:
    the items returned are distinct for every method.
    """
    every = {**reward.objectives, **audited}
    fan_out_only = {name for name, objective in every.items() if objective.needs & OF_DIRECTIONS}
    fan_out_only |= {"distinctness"}
    fan_out = fan_out_only | set(reward.objectives)
    directions: dict[str, Score] = {name: every[name] for name in every if name in fan_out}
    items: dict[str, Score] = {name: every[name] for name in every if name not in fan_out_only}
    return directions | {COMPOSITE: Composite(reward)}, items
