"""Members of sets → their entries in a catalog column, and one member of each distinct item."""

from torch import Tensor

from r4t.sets import SetBatch


def entries(column: Tensor, sets: SetBatch) -> Tensor:
    """Return the entries (B, k, …) of a catalog column (N, …); those of missing members are arbitrary."""
    return column.to(sets.items.device)[sets.items.clamp(min=0)]


def one_of_each(sets: SetBatch) -> Tensor:
    """Return (B, k), True for the first member of each distinct item."""
    same = (sets.items.unsqueeze(2) == sets.items.unsqueeze(1)) & sets.mask.unsqueeze(1)
    return sets.mask & ~same.tril(-1).any(-1)
