"""Scores of candidate sets → which to keep: the second use of objectives."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from r4t.errors import InputError

REMEDY = {
    "share": "Use 0.25 to keep the best quarter.",
    "overlap": "Use 1 to drop sets of the same items, 0.8 for sets that share four fifths of them.",
}


class Selection(NamedTuple):
    """What a filter did with (B, G) candidates."""

    kept: Tensor  # (B, G) bool
    dropped: dict[str, int]  # reason → candidates


class Filter:
    """Keeps the best share of each query's candidates, those at or above a floor, no two alike.

    It drops first candidates below the floor, then those nearly equal to a better one, and last
    those beyond the share, so that sets that differ fill the share if there are enough.

    Args:
        share: Share in (0, 1] of each query's candidates that may stay, best first, at least one.
        floor: Lowest score that may stay; None for no floor.
        overlap: Jaccard overlap |A ∩ B| / |A ∪ B| in (0, 1] of distinct items from which two sets
            are nearly equal; None keeps sets that are alike.

    Raises:
        InputError: If ``share`` or ``overlap`` is outside (0, 1], or ``floor`` is NaN.

    Examples:
        >>> Filter(share=0.5, floor=0.2)(torch.tensor([[0.9, 0.1, 0.5, 0.4]])).kept.tolist()
        [[True, False, True, False]]
    """

    def __init__(
        self, share: float = 1.0, floor: float | None = None, overlap: float | None = None
    ) -> None:
        for name, value in (("share", share), ("overlap", overlap)):
            if value is not None and not 0 < value <= 1:
                raise InputError(
                    expected=f"a filter's {name} in (0, 1]", found=f"{value}", remedy=REMEDY[name]
                )
        if floor is not None and math.isnan(floor):
            raise InputError(
                expected="a number as a filter's floor", found="nan", remedy="Omit it for no floor."
            )
        self.share, self.floor, self.overlap = share, floor, overlap

    def __call__(self, scores: Tensor, items: Tensor | None = None) -> Selection:
        """Choose among the G candidates of each of B queries.

        Args:
            scores: (B, G), higher is better; candidates without a score (NaN) are dropped, and do
                not count in the share.
            items: (B, G, k) catalog rows, −1 for a missing member; ``overlap`` requires them.
        """
        scored = ~scores.isnan()
        above = scored if self.floor is None else scored & (scores >= self.floor)
        allowed = (self.share * scored.sum(1, keepdim=True)).round().clamp(min=1)
        order = scores.nan_to_num(-torch.inf).argsort(dim=1, descending=True, stable=True)
        unlike = above
        if self.overlap is not None:
            if items is None:
                raise InputError(
                    expected="the items of sets for a filter with an overlap",
                    found="scores alone",
                    remedy="Pass the items, or omit overlap.",
                )
            unlike = without_near_equal(above, order, item_overlap(items), self.overlap)
        place = unlike.gather(1, order).cumsum(1)  # among those that remain, best first
        kept = unlike & (place.gather(1, order.argsort(dim=1)) <= allowed)
        dropped = {
            "below the floor": scored & ~above,
            "nearly equal": above & ~unlike,
            "beyond the best share": unlike & ~kept,
            "not scored": ~scored,
        }
        return Selection(kept, {reason: int(where.sum()) for reason, where in dropped.items()})


def item_overlap(items: Tensor) -> Tensor:
    """Return the Jaccard overlap (B, G, G) of distinct items of every two candidates of a query.

    Of items (B, G, k), −1 is a missing member. The overlap is in [0, 1], and 0 if both have no item.

    Examples:
        >>> item_overlap(torch.tensor([[[1, 2, 3], [2, 3, 3]]]))[0, 0, 1].item()
        0.6666666865348816
    """
    same = items.unsqueeze(-1) == items.unsqueeze(-2)  # (B, G, k, k)
    before = torch.ones_like(same[0, 0]).tril(-1)
    distinct = (items >= 0) & ~(same & before).any(-1)  # (B, G, k)
    count = distinct.sum(-1)
    others = (other[:, None, None, :] for other in items.unbind(1))
    counts = [((items[..., None] == other).any(-1) & distinct).sum(-1) for other in others]
    shared = torch.stack(counts, dim=-1)  # (B, G, G)
    union = count.unsqueeze(-1) + count.unsqueeze(-2) - shared
    return shared / union.clamp(min=1)


def without_near_equal(allowed: Tensor, order: Tensor, overlap: Tensor, threshold: float) -> Tensor:
    """Return which allowed candidates (B, G), best first, are not nearly equal to one kept before."""
    kept = torch.zeros_like(allowed)
    near = overlap >= threshold
    rows = torch.arange(len(allowed))
    for candidate in order.unbind(1):
        alike = (near[rows, candidate] & kept).any(-1)
        kept[rows, candidate] = allowed[rows, candidate] & ~alike
    return kept
