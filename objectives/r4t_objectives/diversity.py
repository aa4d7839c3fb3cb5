"""Retrieved items → effective number of distinct ones, as a share of the members asked for."""

from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import cosines, kernel_vendi, vendi, vendi_without
from r4t.objective import Objective
from r4t.sets import SetBatch


class Diversity(Objective):
    """Vendi score of the retrieved items over k (paper, eq. 2, scaled as Vendi / k).

    From 1/k (all items the same) to 1 (k orthogonal items). Missing members lower it, because k is
    the number of members asked for.

    Args:
        q: Order of the Hill number, above 0 (Pasarkar & Dieng 2024). The paper uses 1; higher
            orders penalize near copies more, and ``inf`` counts only the largest group of similar
            items.

    Raises:
        InputError: If ``q`` is not above 0.
    """

    bounds = (0.0, 1.0)
    differentiable = True

    def __init__(self, q: float = 1.0) -> None:
        if not q > 0:
            raise InputError(
                expected="an order q of the diversity above 0",
                found=str(q),
                remedy="Use 1 as in the paper, or .inf to count only the largest group.",
            )
        self.q = float(q)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) Vendi / k."""
        return vendi(sets.item_embeddings, sets.mask, q=self.q) / sets.set_size

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``; all smaller sets have parts of one kernel."""
        kernel, members = cosines(sets.item_embeddings.double(), sets.mask), sets.mask.sum(-1)
        whole = kernel_vendi(kernel, members, self.q).unsqueeze(1)
        losses = whole - vendi_without(kernel, members, self.q)
        return (losses / sets.set_size).to(sets.item_embeddings)
