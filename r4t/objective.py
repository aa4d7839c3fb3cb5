"""``SetBatch`` → one score per query: the contract that every objective keeps.

Write an objective once and it serves as reward (``r4t.reward``), filter (``r4t.filters``) and metric
(``r4t.metrics``). It is found by name through the entry-point group ``r4t.objectives``.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, nearest
from r4t.plugins import OBJECTIVES, load, plugin_errors
from r4t.sets import OPTIONAL, SetBatch

TOLERANCE = 1e-4  # float32 round-off allowed beyond the bounds


class Objective(ABC):
    """A property of a set as a number; higher is always better (a cost is its negative).

    Subclasses set ``bounds`` and ``needs`` as class attributes (or properties, if they depend on
    arguments) and define ``score``. Users call the objective; the call checks what goes in and out.

    Attributes:
        bounds: Lowest and highest value of ``score``, both finite.
        needs: Names of the optional ``SetBatch`` fields that it reads.
        differentiable: Whether gradients flow from the scores to the float tensors it reads.
        partial: Whether NaN may stand for a set that could not be scored (a judge that did not
            answer). Rewards leave such a set out, filters drop it, metrics skip it, and all count
            it. NaN from any other objective is an error.
        costly: Whether scoring costs money or minutes; evaluation uses it only if it is named.
        averages: Whether the score is a mean over the members present. Its members then get credit
            for their own values, so that a shorter list does not pay (``r4t.credit``).

    Examples:
        >>> class Size(Objective):
        ...     bounds = (0.0, 1.0)
        ...     def score(self, sets):
        ...         return sets.mask.float().mean(-1)
        >>> sets = SetBatch(
        ...     query=torch.ones(1, 2),
        ...     items=torch.tensor([[5, -1]]),
        ...     item_embeddings=torch.zeros(1, 2, 2),
        ...     mask=torch.tensor([[True, False]]),
        ... )
        >>> Size()(sets)
        tensor([0.5000])
    """

    bounds: tuple[float, float]
    needs: frozenset[str] = frozenset()
    differentiable: bool = False
    partial: bool = False
    costly: bool = False
    averages: bool = False

    @property
    def name(self) -> str:
        """Name in logs and tables."""
        return type(self).__name__.lower()

    @abstractmethod
    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) scores within ``bounds``; the scores of sets without a member are ignored."""

    def marginals(self, sets: SetBatch) -> Tensor | None:
        """Return f(S) − f(S without member i) (B, k) if there is a faster way than k more scores.

        A set without its only member has the lower bound; the values of missing members are ignored.
        By default None: then ``r4t.credit`` scores the smaller sets.
        """
        return None

    def facts(self) -> dict[str, Any]:
        """Return what to store beside the scores (a judge's model, its tokens).

        Tables show the sentence under ``note``, if there is one.
        """
        return {}

    def reasons(self) -> list[str]:
        """Return a reason for each set of the last call, or an empty list (a judge has reasons)."""
        return []

    def accepts(self, sets: SetBatch) -> bool:
        """Whether ``sets`` carries every field that this objective needs; if not, tables skip it."""
        return self.needs <= sets.present

    def __call__(self, sets: SetBatch) -> Tensor:
        """Check the fields, score, give memberless sets the lower bound, check the scores.

        Raises:
            InputError: If a needed field is missing, or ``score`` returned the wrong type or shape,
                a value that is not finite (unless NaN and ``partial``), or one outside ``bounds``.
            PluginError: If ``score`` raised anything else, which is the cause.
            torch.OutOfMemoryError: If memory runs out.
        """
        if not self.needs <= sets.present:
            self.check()  # a field that no SetBatch has is a fault of the objective
            raise InputError(
                expected=f"sets with {sorted(self.needs)} for objective '{self.name}'",
                found=f"sets without {sorted(self.needs - sets.present)}",
                remedy="Use it where these fields are available, or leave it out here.",
            )
        expected = f"objective '{self.name}' of {type(self).__module__} to score the sets"
        with plugin_errors(expected, pass_on=(torch.OutOfMemoryError,)):
            low, high = self.bounds
            scores = self.score(sets)
        if not isinstance(scores, Tensor) or scores.shape != (len(sets),):
            returned = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise InputError(
                expected=f"objective '{self.name}' to return a tensor of shape ({len(sets)},), one "
                "score per query",
                found=str(returned),
                remedy="Reduce over the members in its score().",
            )
        if not scores.is_floating_point():  # counts or booleans
            scores = scores.to(sets.item_embeddings.dtype)
        scores = torch.where(sets.mask.any(-1), scores, torch.full_like(scores, low))
        wrong = ~torch.isfinite(scores) | (scores < low - TOLERANCE) | (scores > high + TOLERANCE)
        if self.partial:
            wrong &= ~scores.isnan()
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(
                expected=f"objective '{self.name}' to return finite scores within [{low}, {high}]",
                found=f"{scores[row].item()} for {sets.query_name(row)}",
                remedy="Correct its score() or its bounds.",
            )
        return scores

    def check(self) -> None:
        """Check ``bounds`` and ``needs``; rewards do so before any work.

        Raises:
            InputError: As ``check_declarations`` does.
            PluginError: If one of them is a property that raises.
        """
        origin = f"objective '{self.name}' of {type(self).__module__}"
        with plugin_errors(f"{origin} to declare its bounds and needs"):
            bounds, needs = getattr(self, "bounds", None), getattr(self, "needs", None)
        check_declarations(self.name, bounds, needs)


def check_declarations(name: str, bounds: Any, needs: Any) -> None:
    """Check what the objective ``name`` declares.

    Raises:
        InputError: If ``bounds`` are not two finite numbers in ascending order, or ``needs`` is not
            a set of the names of optional ``SetBatch`` fields.
    """
    try:
        low, high = bounds
        is_valid = -math.inf < low < high < math.inf
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise InputError(
            expected=f"objective '{name}' to declare bounds, two finite numbers, the lower first",
            found=repr(bounds),
            remedy="Write, for example, bounds = (0.0, 1.0).",
        )
    if not isinstance(needs, (frozenset, set)):
        raise InputError(
            expected=f"objective '{name}' to declare needs as a set of field names",
            found=repr(needs),
            remedy='Write, for example, needs = frozenset({"directions"}).',
        )
    if unknown := sorted(needs - OPTIONAL):
        raise InputError(
            expected=f"objective '{name}' to need optional fields of SetBatch",
            found=f"{unknown} in its needs",
            remedy=f"Choose from {', '.join(sorted(OPTIONAL))}.{nearest(unknown[0], OPTIONAL)}",
        )


def objective_class(name: str) -> type[Objective]:
    """Return the class registered under ``name``.

    Raises:
        InputError: If the name is not installed, or its class is not a subclass of ``Objective``.
        PluginError: If it cannot be imported; what its package raised is the cause.
    """
    plugin = load(OBJECTIVES, name)
    if not (isinstance(plugin, type) and issubclass(plugin, Objective)):
        raise InputError(
            expected=f"objective '{name}' to be a subclass of r4t.objective.Objective",
            found=repr(plugin),
            remedy="Correct the entry point of its package.",
        )
    return plugin


def load_objective(name: str, **arguments: Any) -> Objective:
    """Build the objective registered under ``name`` with its constructor ``arguments``.

    Raises:
        InputError: As ``objective_class`` does, or if the constructor raises one.
        PluginError: As ``objective_class`` does, or if the constructor raises anything else.
    """
    plugin = objective_class(name)
    expected = f"objective '{name}' of {plugin.__module__} to accept these arguments"
    with plugin_errors(expected, "Pass the arguments that it needs, or report this to its author."):
        return plugin(**arguments)
