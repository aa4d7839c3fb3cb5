"""Scores of candidate sets → which to keep: the second door."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.errors import InputError


@dataclass(frozen=True)
class Selection:
    """What a filter kept of (B, G) candidates.

    Attributes:
        kept: (B, G) bool.
        below_floor: How many were dropped because their score is under the floor.
        beyond_share: How many of the rest were dropped because better ones fill the share.
        unscored: How many were dropped because they could not be scored (NaN).
        near_equal: How many were dropped because a better one holds nearly the same items.
    """

    kept: Tensor
    below_floor: int
    beyond_share: int
    unscored: int = 0
    near_equal: int = 0


class Filter:
    """Keeps the best share of each query's candidates, those at or above a floor, no two alike.

    In this order: what is under the floor goes, then what is nearly equal to a better one, then what
    is beyond the share. So a share is filled with sets that differ, where there are enough.

    Args:
        share: Share in (0, 1] of each query's candidates that may stay, best first, at least one.
        floor: Lowest score that may stay; None for no floor.
        overlap: Two sets are nearly equal if they share this much of their distinct items, in
            (0, 1]: |A ∩ B| / |A ∪ B| ≥ ``overlap`` (Jaccard); None keeps sets that are alike.

    Raises:
        InputError: ``share`` or ``overlap`` lies outside (0, 1], or ``floor`` is NaN.

    Examples:
        >>> Filter(share=0.5, floor=0.2)(torch.tensor([[0.9, 0.1, 0.5, 0.4]])).kept.tolist()
        [[True, False, True, False]]
    """

    def __init__(
        self, share: float = 1.0, floor: float | None = None, overlap: float | None = None
    ) -> None:
        if not 0 < share <= 1:
            raise InputError(
                f"A filter's share must lie in (0, 1], found {share}; 0.25 keeps the best quarter."
            )
        if floor is not None and math.isnan(floor):
            raise InputError("A filter's floor must be a number, found nan; leave it out for none.")
        if overlap is not None and not 0 < overlap <= 1:
            raise InputError(
                f"A filter's overlap must lie in (0, 1], found {overlap}; 1 drops sets of the same "
                "items, 0.8 also those that share four fifths of them."
            )
        self.share = share
        self.floor = floor
        self.overlap = overlap

    def __call__(self, scores: Tensor, items: Tensor | None = None) -> Selection:
        """Choose among ``scores`` (B, G), the G candidates of each of B queries.

        A candidate without a score (NaN) is dropped, and a share is one of those with a score.

        Args:
            scores: (B, G), higher is better.
            items: (B, G, k) catalog rows of each candidate, −1 for a missing member; needed for
                ``overlap`` alone.

        Raises:
            InputError: There is an ``overlap``, and no items.
        """
        scored = ~scores.isnan()
        above = scored
        if self.floor is not None:
            above = scored & (scores >= self.floor)
        allowed = (self.share * scored.sum(1, keepdim=True)).round().clamp(min=1)
        order = scores.nan_to_num(-torch.inf).argsort(dim=1, descending=True, stable=True)
        unlike = above
        if self.overlap is not None:
            if items is None:
                raise InputError(
                    "A filter with an overlap compares the items of sets, found scores alone; give "
                    "their items, or leave overlap out."
                )
            unlike = without_near_equal(above, order, item_overlap(items), self.overlap)
        first = unlike.gather(1, order).cumsum(1)  # its place among those that are left
        kept = unlike & (first.gather(1, order.argsort(dim=1)) <= allowed)
        return Selection(
            kept=kept,
            below_floor=int((scored & ~above).sum()),
            beyond_share=int((unlike & ~kept).sum()),
            unscored=int((~scored).sum()),
            near_equal=int((above & ~unlike).sum()),
        )


def item_overlap(items: Tensor) -> Tensor:
    """Jaccard overlap of the distinct items of each two candidates of a query.

    Args:
        items: (B, G, k) catalog rows, −1 for a missing member.

    Returns:
        (B, G, G) in [0, 1]; 0 where both have no item.

    Examples:
        >>> item_overlap(torch.tensor([[[1, 2, 3], [2, 3, 3]]]))[0, 0, 1].item()
        0.6666666865348816
    """
    same = items.unsqueeze(-1) == items.unsqueeze(-2)  # (B, G, k, k)
    before = torch.ones_like(same[0, 0]).tril(-1)
    distinct = (items >= 0) & ~(same & before).any(-1)  # (B, G, k)
    count = distinct.sum(-1)
    shared = torch.stack(
        [
            ((items.unsqueeze(-1) == other[:, None, None, :]).any(-1) & distinct).sum(-1)
            for other in items.unbind(1)
        ],
        dim=-1,
    )  # (B, G, G)
    union = count.unsqueeze(-1) + count.unsqueeze(-2) - shared
    return shared / union.clamp(min=1)


def without_near_equal(allowed: Tensor, order: Tensor, overlap: Tensor, threshold: float) -> Tensor:
    """Keep, best first, each candidate that is not nearly equal to one kept before.

    Args:
        allowed: (B, G) bool, who may stay at all.
        order: (B, G) candidates, best first.
        overlap: (B, G, G) of each two.
        threshold: Overlap from which two are nearly equal.

    Returns:
        (B, G) bool.
    """
    kept = torch.zeros_like(allowed)
    near = overlap >= threshold
    rows = torch.arange(len(allowed))
    for candidate in order.unbind(1):
        alike = (near[rows, candidate] & kept).any(-1)
        kept[rows, candidate] = allowed[rows, candidate] & ~alike
    return kept
