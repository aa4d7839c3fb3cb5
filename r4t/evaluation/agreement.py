"""Scores of sets and the truth about them → how alike they rank: correlations and their intervals."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from r4t.evaluation.resampling import Interval, intervals

ROUND_OFF = 1e-9  # deviation below which numbers count as equal
LEAST = 3  # methods, below which a correlation over methods says nothing


def correlation(scores: Tensor, truth: Tensor) -> Tensor:
    """Return Pearson's correlation (…) over the last dimension of (…, m) numbers.

    NaN where the truth does not vary, so that there is nothing to rank, or where a number is NaN. 0
    where the truth varies but the scores do not: they rank nothing.

    Examples:
        >>> correlation(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([[0.0, 1.0]])).round()
        tensor([1., 0.], dtype=torch.float64)
    """
    x, y = (values.double() - values.double().mean(-1, keepdim=True) for values in (scores, truth))
    lengths = x.norm(dim=-1), y.norm(dim=-1)
    product = lengths[0] * lengths[1]
    ranks_nothing = (lengths[0] <= ROUND_OFF) & (lengths[1] > ROUND_OFF)
    cosine = (x * y).sum(-1) / torch.where(product > ROUND_OFF**2, product, math.nan)
    return torch.where(lengths[1] > ROUND_OFF, cosine, math.nan).masked_fill(ranks_nothing, 0.0)


def ranks(values: Tensor) -> Tensor:
    """Return the ranks (…, m) of numbers (…, m) from 0, those of equal ones averaged; NaN for NaN.

    Examples:
        >>> ranks(torch.tensor([5.0, 1.0, 5.0, 9.0])).tolist()
        [1.5, 0.0, 1.5, 3.0]
    """
    gaps = values.unsqueeze(-1) - values.unsqueeze(-2)
    above = (gaps > ROUND_OFF).sum(-1) + ((gaps.abs() <= ROUND_OFF).sum(-1) - 1) / 2
    return torch.where(values.isnan(), math.nan, above)


def within(scores: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return method → correlation (n,) of each of n queries over its draws: (n, draws) each."""
    return {method: correlation(scores[method], truth[method]) for method in scores}


def over_methods(scores: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Tensor:
    """Return the rank correlation (n,) of each of n queries over the methods' first draws.

    Methods without any score are left out; NaN if fewer than ``LEAST`` are left.
    """
    x, y = _first_draws(scores, truth)
    if x.shape[1] < LEAST:
        return torch.full((len(x),), math.nan, dtype=torch.float64)
    return correlation(ranks(x), ranks(y))


def of_means(scores: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """Return the correlation of the methods' means over the queries that all have; NaN if too few."""
    x, y = _first_draws(scores, truth)
    complete = ~(x.isnan() | y.isnan()).any(1)
    if x.shape[1] < LEAST or not complete.any():
        return math.nan
    return float(correlation(x[complete].mean(0), y[complete].mean(0)))


def _first_draws(
    scores: Mapping[str, Tensor], truth: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return scores and truth (n, m) of the methods with any score, at their first draw."""
    names = [method for method in scores if not scores[method][:, 0].isnan().all()]
    rows = next(iter(scores.values())).shape[0]
    if not names:
        return torch.empty(rows, 0), torch.empty(rows, 0)
    x, y = (torch.stack([each[name][:, 0] for name in names], 1) for each in (scores, truth))
    return x, y


def mean_interval(values: Tensor, clusters: Tensor | None = None) -> Interval | None:
    """Return the mean of n queries' values with its bootstrap interval; None without a value.

    The interval draws whole clusters: ``clusters`` (n,) are their numbers, one for each query by
    default.
    """
    asked = torch.ones(len(values), 1, dtype=torch.bool)
    clusters = torch.arange(len(values)) if clusters is None else clusters
    return intervals({"": values.unsqueeze(1)}, asked, clusters).get("")
