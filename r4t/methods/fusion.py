"""Rankings of several directions → one pool by reciprocal-rank fusion."""

from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.geometry import distinct_first, take_turns


@dataclass(frozen=True)
class RankFusion:
    """Merges rankings into a pool by reciprocal ranks (Cormack, Clarke & Büttcher 2009).

    An item's score is ``Σ 1/(constant + rank)`` over the directions that rank it among their first
    ``depth``. The pool holds the items with the highest scores; items in turn (``take_turns``)
    follow if too few are ranked.

    Args:
        depth: Items ranked by each direction, up to the pool size, the default.
        constant: 60 in the source; a smaller one favors first places.
    """

    depth: int | None = None
    constant: float = 60.0

    def __call__(self, rankings: Tensor, size: int) -> Tensor:
        """Merge (B, k, D) catalog rows, −1 for none, into (B, size) distinct rows."""
        fused = fused_ranking(rankings[..., : self.depth], self.constant)
        return distinct_first(torch.cat([fused, take_turns(rankings, size)], dim=1), size)


def fused_ranking(rankings: Tensor, constant: float = 60.0) -> Tensor:
    """Fuse several rankings by ``Σ 1/(constant + rank)``, ranks from 1.

    Turns (B, k, D) ids ≥ 0, best first, −1 for none, into (B, k·D) distinct ids, the highest sum
    first, −1 padded. Ties keep the order in which the rankings, taken in turn, name them.

    Examples:
        Id 7 is second twice, 2/62; the others are named once: 1/61, 1/61.

        >>> fused_ranking(torch.tensor([[[3, 7], [5, 7]]])).tolist()
        [[7, 3, 5, -1]]
    """
    batch, members, depth = rankings.shape
    ids = rankings.transpose(1, 2).reshape(batch, -1)  # in turn
    share = 1 / (constant + torch.arange(1, depth + 1, dtype=torch.float64))
    shares = share.repeat_interleave(members).expand(batch, -1)
    values, order = ids.sort(dim=1, stable=True)  # equal ids together, in turn
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    group = begins.cumsum(1) - 1
    totals = torch.zeros_like(shares).scatter_add(1, group, shares.gather(1, order))
    scores = torch.zeros_like(shares).scatter(1, order, totals.gather(1, group))  # back in turn
    ranked = scores.masked_fill(ids < 0, -1).argsort(dim=1, descending=True, stable=True)
    return distinct_first(ids.gather(1, ranked), members * depth)
