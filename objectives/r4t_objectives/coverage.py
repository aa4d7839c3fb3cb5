"""Retrieved items and reference set → share of the references found."""

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.objective import Objective
from r4t.sets import SetBatch

ROUND_OFF = 1e-5  # an item's cosine with itself is 1 only up to float32


class Coverage(Objective):
    """Share of the reference set Y that was retrieved (paper, eq. 5).

    Exact, the default: ``|Y ∩ R(Q)| / |Y|`` by ids, with R(Q) the pool. Soft, with a ``cosine``:
    the share of reference items that have a *member* (not: an item of the pool) at that cosine or
    nearer, so that a near equal of a reference item counts like the item itself.

    From 0 (no reference item was retrieved) to 1 (all were). The reference set is *one* plausible
    answer, so this is a proxy: a low value need not mean a bad set.

    Args:
        cosine: Least cosine in (0, 1] between a reference item and a member; None for exact ids.

    Raises:
        InputError: ``cosine`` lies outside (0, 1].
    """

    bounds = (0.0, 1.0)

    def __init__(self, cosine: float | None = None) -> None:
        if cosine is not None and not 0 < cosine <= 1:
            raise InputError(
                f"The cosine of a soft coverage must lie in (0, 1], found {cosine}; 0.8 asks for near "
                "equals, and without it ids must be equal."
            )
        self.cosine = cosine

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Pool and references; for the soft form references and catalog."""
        return frozenset({"references", "pool" if self.cosine is None else "catalog"})

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) coverage.

        Raises:
            InputError: A query has no reference item.
        """
        assert sets.references is not None  # __call__ checked `needs`
        known = sets.references >= 0  # (B, R)
        empty = ~known.any(-1)
        if empty.any():
            raise InputError(
                "Coverage needs at least one reference item a query, found none for "
                f"{sets.query_name(int(empty.nonzero()[0]))}; leave such queries out, or use an "
                "objective without references."
            )
        found = self._exact(sets) if self.cosine is None else self._soft(sets, self.cosine)
        return (found & known).sum(-1) / known.sum(-1)

    def _exact(self, sets: SetBatch) -> Tensor:
        pool, references = sets.pool, sets.references
        assert pool is not None
        assert references is not None
        # (B, R, P) would be large for deep pools; references are few, so go by reference.
        return torch.stack([(pool == ref.unsqueeze(1)).any(-1) for ref in references.T], dim=1)

    def _soft(self, sets: SetBatch, cosine: float) -> Tensor:
        catalog, references = sets.catalog, sets.references
        assert catalog is not None
        assert references is not None
        wanted = catalog.embeddings[references.clamp(min=0).cpu()].to(sets.item_embeddings)
        cosines = normalize(wanted) @ normalize(sets.item_embeddings).mT  # (B, R, k)
        return ((cosines >= cosine - ROUND_OFF) & sets.mask.unsqueeze(1)).any(-1)
