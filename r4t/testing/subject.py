"""An objective and its sets → scores to compare, and sentences about the rules that it breaks."""

import copy
import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch

CLOSE = 1e-5  # float32 round-off, absolute and relative


@dataclass(frozen=True)
class Subject:
    """An objective under test."""

    objective: Objective
    sets: SetBatch  # the batch that it scores now
    batches: Sequence[SetBatch] = ()  # all batches of the test
    padded: Callable[[Tensor, SetBatch], Tensor] | None = None  # see check_objective

    def scores(self, sets: SetBatch | None = None) -> Tensor:
        """Return scores (B,), by default of ``self.sets``, whether within the bounds or not.

        Raises:
            InputError: If the type or the shape is wrong.
            Exception: Whatever ``score`` raises.
        """
        sets = self.sets if sets is None else sets
        with warnings.catch_warnings(action="ignore"):
            scores = self.objective.score(copied(sets))
        if not isinstance(scores, Tensor) or scores.shape != (len(sets),):
            self.objective(sets)  # raises the InputError
        scores = scores if scores.is_floating_point() else scores.to(sets.item_embeddings)
        low = torch.full_like(scores, self.objective.bounds[0])
        return torch.where(sets.mask.any(-1), scores, low)

    def fault(self, expected: str, found: str, remedy: str) -> str:
        """Return the sentence about a broken rule; ``expected`` follows the objective's name."""
        expected = f"objective '{self.objective.name}' {expected}"
        return str(InputError(expected=expected, found=found, remedy=remedy))


Rule = Callable[[Subject], list[str]]


def rule(remedy: str) -> Callable[[Callable[[Subject], str]], Rule]:
    """Turn a function into a rule: its docstring says what to do, it returns what was done instead."""

    def decorate(check: Callable[[Subject], str]) -> Rule:
        command = (check.__doc__ or "").rstrip(".")

        @functools.wraps(check)
        def sentences(subject: Subject) -> list[str]:
            fault = check(subject)
            expected = f"to {command[:1].lower()}{command[1:]}"
            return [subject.fault(expected, fault, remedy)] if fault else []

        return sentences

    return decorate


def copied(sets: SetBatch) -> SetBatch:
    """Return the same sets with tensors and lists that may be changed."""
    values = {n: copy.deepcopy(v) for n, v in vars(sets).items() if isinstance(v, Tensor | list)}
    return sets.extended(**values)


def close(one: Tensor, other: Tensor) -> bool:
    """Whether scores are equal where neither is NaN."""
    known = ~(one.isnan() | other.isnan())
    return torch.allclose(one[known].double(), other[known].double(), rtol=CLOSE, atol=CLOSE)


def difference(one: Tensor, other: Tensor) -> str:
    """Return both scores (B,) if they differ, else nothing."""
    return "" if close(one, other) else f"{rounded(one)} and {rounded(other)}"


def rounded(scores: Tensor) -> list[float]:
    """Return scores for a sentence."""
    return [round(score, 4) for score in scores.tolist()]
