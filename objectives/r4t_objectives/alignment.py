"""Directions and query → how close the directions stay to the query."""

import torch
from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import mean, mean_marginals


class Alignment(Objective):
    """Mean cosine of the directions with the query (paper, eq. 4).

    ``(1/k) Σ_i cos(e(q_i), e(q))`` over the members present: from −1 (opposite) through 0
    (unrelated) to 1 (every direction repeats the query).
    """

    bounds = (-1.0, 1.0)
    needs = frozenset({"directions"})
    differentiable = True
    averages = True

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) alignment."""
        return mean(self._values(sets), sets.mask)

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``."""
        return mean_marginals(self._values(sets), sets.mask, self.bounds[0])

    def _values(self, sets: SetBatch) -> Tensor:
        """Return (B, k) what each member adds to the mean."""
        assert sets.directions is not None  # __call__ checked `needs`
        return torch.cosine_similarity(sets.directions, sets.query.unsqueeze(1), dim=-1)
