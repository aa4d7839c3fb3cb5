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
        assert sets.catalog is not None  # __call__ checked `needs`
        codes, values = sets.catalog.codes(self.field)
        most = min(sets.set_size, len(values))
        scores = sets.item_embeddings.new_zeros(len(sets))
        if most < 2:
            return scores
        slots = entries(codes, sets).masked_fill(~sets.mask, -1)
        filled = slots >= 0
        # Compare members with members instead of values: a field may have very many values.
        same = (slots.unsqueeze(2) == slots.unsqueeze(1)) & filled.unsqueeze(1)
        share = same.sum(-1) / filled.sum(-1, keepdim=True).clamp(min=1)  # p of each member's slot
        # Σ_v p_v log p_v is the mean of log p over the members.
        surprise = -torch.log(torch.where(filled, share, 1.0))
        entropy = surprise.sum(-1) / filled.sum(-1).clamp(min=1)
        return (entropy / math.log(most)).to(scores.dtype)
