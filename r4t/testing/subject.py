"""An objective and its sets → scores to compare, and sentences about those that differ."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch

CLOSE = 1e-5  # float32 round-off, absolute and relative


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        objective: The objective.
        sets: What it scores.
        every: All that it is given to score, one after another.
        padded: Scores and sets → what they should be once a missing member more is asked for; None
            if both usual answers will do.
    """

    objective: Objective
    sets: SetBatch
    every: Sequence[SetBatch]
    padded: Callable[[Tensor, SetBatch], Tensor] | None

    @property
    def name(self) -> str:
        """As sentences call it."""
        return f"Objective '{self.objective.name}'"


def scores_of(objective: Objective, sets: SetBatch) -> Tensor:
    """Scores (B,) without a look at the bounds, which have a rule of their own.

    Raises:
        InputError: The shape or the type is wrong.
        Exception: Whatever ``score`` raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = objective.score(copied(sets))
    if not isinstance(scores, Tensor) or scores.shape != (len(sets),):
        objective(sets)  # says so in its own words
    scores = scores if scores.is_floating_point() else scores.to(sets.item_embeddings)
    low = torch.full_like(scores, objective.bounds[0])
    return torch.where(sets.mask.any(-1), scores, low)


def copied(sets: SetBatch) -> SetBatch:
    """The same sets, so that a change of them stays with who made it."""
    own = {n: copy.deepcopy(v) for n, v in vars(sets).items() if isinstance(v, Tensor | list)}
    return sets.extended(**own)


def close(one: Tensor, other: Tensor) -> bool:
    """Whether scores are equal where both are known."""
    known = ~(one.isnan() | other.isnan())
    return torch.allclose(one[known].double(), other[known].double(), rtol=CLOSE, atol=CLOSE)


def differ(subject: Subject, one: Tensor, other: Tensor, must: str, remedy: str) -> Iterator[str]:
    """Yield a sentence if two tensors of scores (B,) differ."""
    if not close(one, other):
        yield (
            f"{subject.name} must {must} — found {rounded(one)} and {rounded(other)} — {remedy}."
        )


def rounded(scores: Tensor) -> list[float]:
    """Return scores as a sentence shows them."""
    return [round(score, 4) for score in scores.tolist()]
