"""Retrieved items and their popularity in the training sets → how unexpected they are."""

import math

from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import entries, mean, mean_marginals


class Novelty(Objective):
    """Mean self-information of the items, by how many of S training sets hold each.

    ``(1/n) Σ_i −log p_i / log(S + 1)`` over the n members present, with the add-one smoothed
    ``p_i = (count_i + 1) / (S + 1)`` (Zhou et al. 2010, smoothed and scaled). From 0 (every item is
    in every training set) to 1 (no item is in any). It ignores the query, and random items are
    novel, so combine it with an objective that measures relevance.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"popularity"})
    averages = True

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) novelty.

        Raises:
            InputError: If there is no training set.
        """
        return mean(self._values(sets), sets.mask).to(sets.item_embeddings)

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``."""
        return mean_marginals(self._values(sets), sets.mask, self.bounds[0]).to(
            sets.item_embeddings
        )

    def _values(self, sets: SetBatch) -> Tensor:
        """Return (B, k) what each member adds to the mean."""
        popularity = sets.popularity
        assert popularity is not None  # __call__ checked `needs`
        if popularity.sets < 1:
            raise InputError(
                expected="at least one training set to count items in, for novelty",
                found=str(popularity.sets),
                remedy="Write training queries with reference sets, or leave this objective out.",
            )
        counts = entries(popularity.counts, sets)
        # −log p / log(S + 1)
        return 1 - (counts + 1).double().log() / math.log(popularity.sets + 1)
