"""Directions and their nearest items → how close the directions are to the catalog."""

from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import mean, mean_marginals


class Groundedness(Objective):
    """Closeness of each direction to its nearest item (paper, eq. 3).

    ``1 − (1/k) Σ_i min_c ‖e(q_i) − e(c)‖₂`` over the members present. On unit vectors it runs from
    −1 (every direction opposite to all items) through about −0.41 (orthogonal) to 1 (each direction
    is an item). It judges directions, so it is undefined for methods that pick items without them.
    """

    bounds = (-1.0, 1.0)
    needs = frozenset({"directions"})
    differentiable = True
    averages = True

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) groundedness."""
        return mean(self._values(sets), sets.mask)

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``."""
        return mean_marginals(self._values(sets), sets.mask, self.bounds[0])

    def _values(self, sets: SetBatch) -> Tensor:
        """Return (B, k) what each member adds to the mean."""
        assert sets.directions is not None  # __call__ checked `needs`
        return 1 - (sets.directions - sets.item_embeddings).norm(dim=-1)
