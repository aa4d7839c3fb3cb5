"""Retrieved items → share of distinct ones among the members asked for."""

from torch import Tensor

from r4t.geometry import distinct_count
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import is_missed


class Distinctness(Objective):
    """Number of distinct items of a set over k, the number of members asked for.

    From 1/k (every member is the same item) to 1 (k different items). It compares ids: two items
    that look alike count as two. ``Diversity`` measures how alike they are.
    """

    bounds = (0.0, 1.0)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) shares."""
        return distinct_count(sets.items.masked_fill(~sets.mask, -1)) / sets.set_size

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``: 1/k for an item that occurs once, 0 for a repeated one."""
        return is_missed(sets).to(sets.item_embeddings) / sets.set_size
