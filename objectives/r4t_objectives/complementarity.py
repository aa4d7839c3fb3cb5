"""Retrieved items and a metadata field → how evenly they fill different slots."""

import math

import torch
from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import entries


class Complementarity(Objective):
    """Members fill different slots: the normalized entropy of a metadata field over the members.

    ``−Σ_v p_v log p_v / log(min(k, V))``, where p_v is the share of members with value v and V the
    number of values in the catalog. From 0 (all members fill one slot) to 1 (each fills another, or
    they fill all V slots evenly). k is the number of members asked for, so missing members lower
    it, and a member without a value counts as missing. If nothing can differ (k = 1, or fewer than
    two values in the catalog), it is 0.

    Args:
        field: Metadata column of single values, the slots.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog"})

    def __init__(self, field: str = "category") -> None:
        self.field = field

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) normalized entropies."""
        counts, scale = self._counts(sets)
        logs = _logs(counts).sum(-1)
        return (_entropy(logs, (counts > 0).sum(-1)) * scale).to(sets.item_embeddings)

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``; without member i its slot has one member less."""
        counts, scale = self._counts(sets)
        filled, size = counts > 0, (counts > 0).sum(-1, keepdim=True)
        logs = _logs(counts).sum(-1, keepdim=True)
        less = (counts - 1).clamp(min=0)
        # Σ log c over a slot of c members is c log c.
        without = logs - counts * _logs(counts) + less * _logs(less)
        losses = _entropy(logs, size) - _entropy(without, (size - 1).clamp(min=0))
        return (torch.where(filled, losses, 0.0) * scale).to(sets.item_embeddings)

    def _counts(self, sets: SetBatch) -> tuple[Tensor, float]:
        """Return how many members (B, k) fill each member's slot, 0 without one; and 1 / log(most)."""
        assert sets.catalog is not None  # __call__ checked `needs`
        codes, values = sets.catalog.codes(self.field)
        most = min(sets.set_size, len(values))
        slots = entries(codes, sets).masked_fill(~sets.mask, -1)
        # Compare members with members instead of values: a field may have very many values.
        same = (slots.unsqueeze(2) == slots.unsqueeze(1)) & (slots >= 0).unsqueeze(1)
        return same.sum(-1), 1 / math.log(most) if most > 1 else 0.0


def _logs(counts: Tensor) -> Tensor:
    """Return log c, 0 for no member."""
    return counts.clamp(min=1).double().log()


def _entropy(logs: Tensor, size: Tensor) -> Tensor:
    """Return ``−Σ_v p_v log p_v`` of n members, which is log n less the mean of log c over them."""
    return _logs(size) - logs / size.clamp(min=1)
