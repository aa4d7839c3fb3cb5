"""Retrieved items and gold facets of the references → share of the facets hit."""

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch


class FacetCoverage(Objective):
    """Share of the query's gold facets that hold at least one member.

    Gold facets are groups of reference items that say the same (the perspectives on a claim). From 0
    (no member is in any facet) to 1 (each facet holds a member). A second member of a facet adds
    nothing, one in two facets counts for both, and references in no facet do not count. It compares
    ids and reads the members, not the pool. Of more facets than members not all can be hit.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"references", "facets"})

    @property
    def name(self) -> str:
        """Name in logs and tables."""
        return "facet_coverage"

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) shares.

        Raises:
            InputError: If a query has no facet.
        """
        hits, count = self._hits(sets)
        return (hits.sum(1) > 0).sum(-1) / count

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``: the share of facets that hold this member alone."""
        hits, count = self._hits(sets)
        alone = hits.bool() & (hits.sum(1, keepdim=True) == 1)
        shares = alone.sum(-1) / count.unsqueeze(1)
        return torch.where(sets.mask, shares, 0.0)

    def _hits(self, sets: SetBatch) -> tuple[Tensor, Tensor]:
        """Return which member is in which facet (B, k, F), as 0 or 1, and the number of facets (B,)."""
        references, facets = sets.references, sets.facets
        assert references is not None  # __call__ checked `needs`
        assert facets is not None
        count = facets.any(1).sum(-1)
        if (count == 0).any():
            raise InputError(
                expected="at least one gold facet per query, for facet coverage",
                found=f"none for {sets.query_name(int((count == 0).nonzero()[0]))}",
                remedy="Leave such queries out, or use an objective without facets.",
            )
        same = (sets.items.unsqueeze(2) == references.unsqueeze(1)) & (references >= 0).unsqueeze(1)
        same &= sets.mask.unsqueeze(2)
        return (same.float() @ facets.float() > 0).int(), count
