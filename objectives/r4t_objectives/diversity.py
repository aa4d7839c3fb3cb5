"""Retrieved items → effective number of distinct ones, as a share of the members asked for."""

from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import vendi
from r4t.objective import Objective
from r4t.sets import SetBatch


class Diversity(Objective):
    """Vendi score of the retrieved items over k (paper, eq. 2, scaled as Vendi / k).

    From 1/k (all items the same) to 1 (k orthogonal items). Missing members lower it, because k is
    the number of members asked for; 0 where there is none.

    Args:
        q: Order of the Hill number, above 0 (Pasarkar & Dieng 2024). 1 is the paper's; a higher
            order forgives a near copy less and less, and ``inf`` looks at the largest group of
            like items alone.

    Raises:
        InputError: ``q`` is not above 0.
    """

    bounds = (0.0, 1.0)
    differentiable = True

    def __init__(self, q: float = 1.0) -> None:
        if not q > 0:
            raise InputError(
                f"The order q of a diversity must be above 0, found {q}; 1 is the paper's, and .inf "
                "looks at the largest group of like items alone."
            )
        self.q = float(q)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) Vendi / k."""
        return vendi(sets.item_embeddings, sets.mask, q=self.q) / sets.set_size
