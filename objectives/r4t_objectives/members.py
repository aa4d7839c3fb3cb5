"""Members of sets → their entries in a catalog column, and which of them repeat an item."""

import torch
from torch import Tensor

from r4t.sets import SetBatch


def entries(column: Tensor, sets: SetBatch) -> Tensor:
    """Return the entries (B, k, …) of a catalog column (N, …); those of missing members are arbitrary."""
    return column.to(sets.items.device)[sets.items.clamp(min=0)]


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (B,) of the values (B, k) of the members present, 0 without any."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def mean_marginals(values: Tensor, mask: Tensor, lowest: float) -> Tensor:
    """Return what the ``mean`` loses without each member (B, k): ``(v_i − mean) / (n − 1)``.

    Without its only member a set has the score ``lowest``.
    """
    whole, count = mean(values, mask).unsqueeze(1), mask.sum(-1, keepdim=True)
    return torch.where(count > 1, (values - whole) / (count - 1).clamp(min=1), whole - lowest)


def one_of_each(sets: SetBatch) -> Tensor:
    """Return (B, k), True for the first member of each distinct item."""
    same = (sets.items.unsqueeze(2) == sets.items.unsqueeze(1)) & sets.mask.unsqueeze(1)
    return sets.mask & ~same.tril(-1).any(-1)


def is_missed(sets: SetBatch) -> Tensor:
    """Return (B, k), True for a member whose item no other member of its set holds."""
    same = (sets.items.unsqueeze(2) == sets.items.unsqueeze(1)) & sets.mask.unsqueeze(1)
    return sets.mask & (same.sum(-1) == 1)


def is_only(mask: Tensor) -> Tensor:
    """Return (B, 1), whether a set has a single member: without it the score is the lower bound."""
    return mask.sum(-1, keepdim=True) == 1
