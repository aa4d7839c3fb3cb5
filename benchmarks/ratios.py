"""Alternating times of two sides → their ratios, and an interval of the median."""

import random
from collections.abc import Sequence
from statistics import median


def interval(values: Sequence[float], draws: int = 10_000) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    rng = random.Random(0)
    medians = sorted(median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def quotients(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ratios of the times in each pair."""
    return [one / other for one, other in zip(mine, theirs)]
