"""Metrics of one rollout after another → means of windows, and the one to compare with."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch


class Reference(Protocol):
    """Which earlier window a metric is compared with."""

    def place(self, healths: torch.Tensor) -> int:
        """Return a place among windows, given how healthy (n,) the metric was in each."""


class FirstWindow:
    """The first rollouts: how the run began."""

    def place(self, healths: torch.Tensor) -> int:
        """Return 0."""
        return 0


class BestWindow:
    """The rollouts with the healthiest mean of the metric so far: also sees a slide from a peak."""

    def place(self, healths: torch.Tensor) -> int:
        """Return the place of the highest; NaN is the lowest."""
        return int(healths.nan_to_num(-torch.inf).argmax())


class History:
    """What each rollout logged, read in windows.

    Args:
        window: Rollouts in a mean, at least 1.
        reference: Which window a metric is compared with.
        audited: Log keys of the objectives of weight 0.
    """

    def __init__(self, window: int, reference: Reference, audited: Sequence[str] = ()) -> None:
        self.window = window
        self.reference = reference
        self.audited = tuple(audited)
        self.rows: list[dict[str, float]] = []

    @property
    def judged(self) -> bool:
        """Whether there are two windows that do not overlap."""
        return len(self.rows) >= 2 * self.window

    def mean(self, metric: str, place: int) -> float:
        """Return the mean over the window that begins at ``place``, of the values that are there.

        Args:
            metric: Log key.
            place: 0 for the first rollout; −window for the last ones.
        """
        place = place % len(self.rows)
        rows = self.rows[place : place + self.window]
        found = [value for row in rows if math.isfinite(value := row.get(metric, math.nan))]
        return sum(found) / len(found) if found else math.nan

    def now(self, metric: str) -> float:
        """Return the mean over the last window."""
        return self.mean(metric, -self.window)

    def before(self, metric: str, sign: int) -> int:
        """Return where the reference window of a metric begins.

        Args:
            metric: Log key.
            sign: 1 if higher is healthier, −1 if lower is.
        """
        values = [row.get(metric, math.nan) for row in self.rows[: -self.window]]
        windows = torch.tensor(values, dtype=torch.float64).unfold(0, self.window, 1)
        return self.reference.place(sign * windows.nanmean(1))
