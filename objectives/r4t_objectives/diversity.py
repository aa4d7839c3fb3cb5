"""Retrieved items → effective number of distinct ones, as a share of the members asked for."""

from torch import Tensor

from r4t.geometry import vendi
from r4t.objective import Objective
from r4t.sets import SetBatch


class Diversity(Objective):
    """Vendi score of the retrieved items over k (paper, eq. 2, scaled as Vendi / k).

    From 1/k (all items the same) to 1 (k orthogonal items). Missing members lower it, because k is
    the number of members asked for; 0 where there is none.
    """

    bounds = (0.0, 1.0)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) Vendi / k."""
        return vendi(sets.item_embeddings, sets.mask) / sets.set_size
