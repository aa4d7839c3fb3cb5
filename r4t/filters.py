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
    """

    kept: Tensor
    below_floor: int
    beyond_share: int
    unscored: int = 0


class Filter:
    """Keeps the best share of each query's candidates and/or those at or above a floor.

    Args:
        share: Share in (0, 1] of each query's candidates that may stay, best first, at least one.
        floor: Lowest score that may stay; None for no floor.

    Raises:
        InputError: ``share`` lies outside (0, 1], or ``floor`` is NaN.

    Example:
        >>> Filter(share=0.5, floor=0.2)(torch.tensor([[0.9, 0.1, 0.5, 0.4]])).kept.tolist()
        [[True, False, True, False]]
    """

    def __init__(self, share: float = 1.0, floor: float | None = None) -> None:
        if not 0 < share <= 1:
            raise InputError(
                f"A filter's share must lie in (0, 1], found {share}; 0.25 keeps the best quarter."
            )
        if floor is not None and math.isnan(floor):
            raise InputError("A filter's floor must be a number, found nan; leave it out for none.")
        self.share = share
        self.floor = floor

    def __call__(self, scores: Tensor) -> Selection:
        """Choose among ``scores`` (B, G), the G candidates of each of B queries.

        A candidate without a score (NaN) is dropped, and a share is one of those with a score.
        """
        scored = ~scores.isnan()
        above = scored
        if self.floor is not None:
            above = scored & (scores >= self.floor)
        allowed = (self.share * scored.sum(1, keepdim=True)).round().clamp(min=1)
        order = scores.nan_to_num(-torch.inf).argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1)
        kept = above & (rank < allowed)
        return Selection(
            kept=kept,
            below_floor=int((scored & ~above).sum()),
            beyond_share=int((above & ~kept).sum()),
            unscored=int((~scored).sum()),
        )
