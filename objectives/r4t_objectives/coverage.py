"""Pool of retrieved items and reference set → share of the references found."""

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch


class Coverage(Objective):
    """Share of the reference set in the retrieved pool, ``|Y ∩ R(Q)| / |Y|`` (paper, eq. 5).

    From 0 (no reference item was retrieved) to 1 (all were). The reference set is *one* plausible
    answer, so this is a proxy: a low value need not mean a bad set.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"pool", "references"})

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) coverage.

        Raises:
            InputError: A query has no reference item.
        """
        pool, references = sets.pool, sets.references
        assert pool is not None  # __call__ checked `needs`
        assert references is not None
        known = references >= 0
        if not known.any(-1).all():
            row = int((~known.any(-1)).nonzero()[0])
            raise InputError(
                f"Coverage needs at least one reference item a query, found none for query {row}; "
                "leave such queries out, or use an objective without references."
            )
        # (B, R, P) would be large for deep pools; references are few, so go by reference.
        found = torch.stack([(pool == ref.unsqueeze(1)).any(-1) for ref in references.T], dim=1)
        return (found & known).sum(-1) / known.sum(-1)
