"""``SetBatch`` → one score per query: the contract that every objective keeps.

Write an objective once and it serves as reward (``r4t.reward``), filter (``r4t.filters``) and metric
(``r4t.metrics``). It is found by name through the entry-point group ``r4t.objectives``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, PluginError
from r4t.sets import OPTIONAL, SetBatch

TOLERANCE = 1e-4  # float32 round-off allowed beyond the bounds


class Objective(ABC):
    """A property of a set as a number; higher is always better (a cost is its negative).

    Subclasses set ``bounds`` and ``needs`` as class attributes (or properties, where they depend on
    arguments) and define ``score``. Users call the objective; the call checks what goes in and out.

    Attributes:
        bounds: Lowest and highest value that ``score`` can return, both finite.
        needs: Names of the optional ``SetBatch`` fields it reads (``directions``, ``texts``,
            ``pool``, ``references``, ``query_texts``, ``catalog``, ``popularity``).
        differentiable: Whether gradients flow from the scores to the float tensors it reads.
        partial: Whether NaN may stand for a set that could not be scored (a judge that did not
            answer). Rewards leave such a set out, filters drop it, metrics skip it, and all count
            it. Anyone else's NaN is an error.
        costly: Whether scoring costs money or minutes, so that evaluation uses it only where it is
            named.

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

    @property
    def name(self) -> str:
        """What logs and tables call it."""
        return type(self).__name__.lower()

    @abstractmethod
    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) scores within ``bounds``; sets without any member may score anything."""

    def facts(self) -> dict[str, Any]:
        """Return what should be stored beside the scores (a judge's model, its tokens)."""
        return {}

    def reasons(self) -> list[str]:
        """Return one reason for each set of the last call, where there are any (a judge's)."""
        return []

    def accepts(self, sets: SetBatch) -> bool:
        """Whether ``sets`` carries every field that this objective needs."""
        return self.needs <= sets.present

    def __call__(self, sets: SetBatch) -> Tensor:
        """Check the fields, score, give memberless sets the lower bound, check the scores.

        Raises:
            InputError: A needed field is missing, or ``score`` returned the wrong type or shape,
                a value that is not finite (NaN is allowed if ``partial``), or one outside
                ``bounds``.
            PluginError: ``score`` raised anything else, which is the cause.
            torch.OutOfMemoryError: As it is.
        """
        self._check_fields(sets)
        try:
            low, high = self.bounds
            scores = self.score(sets)
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise self._fault("score", error) from error
        if not isinstance(scores, Tensor) or scores.shape != (len(sets),):
            found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise InputError(
                f"Objective '{self.name}' must return a tensor of shape ({len(sets)},), one score a "
                f"query — found {found}; reduce over the members in its score()."
            )
        if not scores.is_floating_point():  # a count, or yes and no
            scores = scores.to(sets.item_embeddings.dtype)
        scores = torch.where(sets.mask.any(-1), scores, torch.full_like(scores, low))
        wrong = ~torch.isfinite(scores) | (scores < low - TOLERANCE) | (scores > high + TOLERANCE)
        if self.partial:
            wrong &= ~scores.isnan()
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"Objective '{self.name}' must return finite scores within [{low}, {high}] — found "
                f"{scores[row].item()} for {sets.query_name(row)}; correct its score() or bounds."
            )
        return scores

    def check(self) -> None:
        """Check what the class declares; rewards and plug-in loading do so before any work.

        Raises:
            InputError: ``bounds`` are not two finite numbers, the lower first, or ``needs`` is no
                set of the names of optional ``SetBatch`` fields.
        """
        try:
            bounds, needs = getattr(self, "bounds", None), getattr(self, "needs", None)
        except Exception as error:
            raise self._fault("tell its bounds and needs", error) from error
        try:
            low, high = bounds  # type: ignore[misc]
            fits = math.isfinite(low) and math.isfinite(high) and low < high
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise InputError(
                f"Objective '{self.name}' must declare bounds, its lowest and highest score, both "
                f"finite — found {bounds!r}; write for instance bounds = (0.0, 1.0)."
            )
        if not isinstance(needs, (frozenset, set)):
            raise InputError(
                f"Objective '{self.name}' must declare needs as a set of field names — found "
                f'{needs!r}; write for instance needs = frozenset({{"directions"}}).'
            )
        self._check_known(needs)

    def _fault(self, what: str, error: Exception) -> PluginError:
        return PluginError(
            f"Objective '{self.name}' of {type(self).__module__} could not {what} "
            f"({type(error).__name__}: {error}); leave it out, or tell those who wrote it."
        )

    def _check_known(self, needs: Iterable[str]) -> None:
        unknown = sorted(set(needs) - OPTIONAL)
        if unknown:
            raise InputError(
                f"Objective '{self.name}' needs {unknown}, which no SetBatch has — "
                f"the optional fields are {sorted(OPTIONAL)}; correct its 'needs'."
            )

    def _check_fields(self, sets: SetBatch) -> None:
        self._check_known(self.needs)
        missing = self.needs - sets.present
        if missing:
            raise InputError(
                f"Objective '{self.name}' needs sets with {sorted(self.needs)}, found sets without "
                f"{sorted(missing)}; use it where they are known, or leave it out here."
            )
