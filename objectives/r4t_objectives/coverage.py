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

    By default it is exact: ``|Y ∩ R(Q)| / |Y|`` by ids, with R(Q) the pool. With a ``cosine`` it is
    soft: the share of reference items within that cosine of a *member* (not of any item in the
    pool), so that an item nearly equal to a reference counts like the reference itself.

    From 0 (no reference item was retrieved) to 1 (all were). The reference set is *one* plausible
    answer, so this is a proxy: a low value need not mean a bad set.

    Args:
        cosine: Least cosine between a reference item and a member; None for exact ids.

    Raises:
        InputError: If ``cosine`` is outside (0, 1].
    """

    bounds = (0.0, 1.0)

    def __init__(self, cosine: float | None = None) -> None:
        if cosine is not None and not 0 < cosine <= 1:
            raise InputError(
                expected="a cosine of soft coverage within (0, 1]",
                found=str(cosine),
                remedy="Use 0.8 for nearly equal items, or leave it out to compare ids.",
            )
        self.cosine = cosine

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """References, and the pool or, for the soft form, the catalog."""
        return frozenset({"references", "pool" if self.cosine is None else "catalog"})

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) coverage.

        Raises:
            InputError: If a query has no reference item.
        """
        references = sets.references
        assert references is not None  # __call__ checked `needs`
        known = references >= 0  # (B, R)
        empty = ~known.any(-1)
        if empty.any():
            raise InputError(
                expected="at least one reference item per query, for coverage",
                found=f"none for {sets.query_name(int(empty.nonzero()[0]))}",
                remedy="Leave such queries out, or use an objective without references.",
            )
        if self.cosine is None:
            assert sets.pool is not None
            # (B, R, P) would be large for deep pools; references are few, so loop over them.
            columns = references.unsqueeze(1).unbind(2)
            covered = torch.stack([(sets.pool == column).any(-1) for column in columns], dim=1)
        else:
            assert sets.catalog is not None
            wanted = sets.catalog.embeddings[references.clamp(min=0).cpu()].to(sets.item_embeddings)
            cosines = normalize(wanted) @ normalize(sets.item_embeddings).mT  # (B, R, k)
            covered = ((cosines >= self.cosine - ROUND_OFF) & sets.mask.unsqueeze(1)).any(-1)
        return (covered & known).sum(-1) / known.sum(-1)
