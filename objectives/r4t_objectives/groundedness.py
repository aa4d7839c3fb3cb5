"""Directions and their nearest items → how close the directions are to the catalog."""

from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch


class Groundedness(Objective):
    """Closeness of each direction to its nearest item (paper, eq. 3).

    ``1 − (1/k) Σ_i min_c ‖e(q_i) − e(c)‖₂`` over the members present. On unit vectors it runs from
    −1 (every direction opposite to all items) through about −0.41 (orthogonal) to 1 (each direction
    is an item). It judges directions, so it is undefined for methods that pick items without them.
    """

    bounds = (-1.0, 1.0)
    needs = frozenset({"directions"})
    differentiable = True

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) groundedness."""
        assert sets.directions is not None  # __call__ checked `needs`
        distance = (sets.directions - sets.item_embeddings).norm(dim=-1) * sets.mask
        return 1 - distance.sum(-1) / sets.mask.sum(-1).clamp(min=1)
