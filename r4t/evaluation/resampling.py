"""Values of queries in runs → mean of the runs' means, its 95 % interval and its chance, seeded.

Every run counts alike, whatever the number of its queries, in the mean as in its interval.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

LEVELS = (0.025, 0.975)  # the middle 95 %
SAMPLES = 2000
FLIPS = 10_000
CELLS = 1 << 22  # numbers drawn at once: memory does not grow with the number of queries
# Means nearer than this are the same: ⅓ + ⅓ and ⅔ differ by so much in float32, or in a file of six
# places (two values of a difference, each off by 5e-7, in two sums).
TIE = 2e-6


def mean_of_runs(values: Tensor) -> Tensor:
    """Mean over runs of their means over queries.

    Args:
        values: (n, R, m): n queries in R runs, m measures; NaN where a run has no value.

    Returns:
        (m,); NaN where no run has a value.

    Examples:
        >>> mean_of_runs(torch.tensor([[[0.0], [1.0]], [[0.5], [torch.nan]]])).tolist()
        [0.625]
    """
    return values.double().nanmean(0).nanmean(0)


def bootstrap(
    values: Tensor, samples: int = SAMPLES, seed: int = 0, strata: Tensor | None = None
) -> Tensor:
    """Ends of the 95 % percentile bootstrap intervals of means over queries (``mean_of_runs``).

    Queries are drawn with replacement, as many as there are of each stratum, each with its values
    in all runs; the interval holds the middle 95 % of the means of ``samples`` draws. All measures
    share the draws.

    Args:
        values: (n, m): m measures of the same n ≥ 1 queries; or (n, R, m) of R runs. NaN where a
            run has no value.
        samples: Number of draws.
        seed: Of the draws.
        strata: (n,) numbers from 0: which runs asked a query, so that each run keeps its number
            of queries. All alike by default.

    Returns:
        (2, m): low and high ends.

    Examples:
        >>> bootstrap(torch.full((5, 1), 0.25)).tolist()
        [[0.25], [0.25]]
    """
    values = (values.unsqueeze(1) if values.ndim == 2 else values).double()
    kind = torch.zeros(len(values), dtype=torch.long) if strata is None else strata
    known = (~values.isnan()).double().flatten(1)
    filled = values.nan_to_num().flatten(1)
    means = [
        ((times @ filled) / (times @ known)).view(-1, *values.shape[1:]).nanmean(1)
        for times in _draws(kind, samples, seed)
    ]
    ends = torch.tensor(LEVELS, dtype=values.dtype)
    return torch.cat(means).nanquantile(ends, dim=0)


def _draws(strata: Tensor, samples: int, seed: int) -> Iterator[Tensor]:
    """How often each of n queries is drawn, (draws, n), in parts that memory holds."""
    generator = torch.Generator().manual_seed(seed)
    groups = [(strata == number).nonzero().flatten() for number in strata.unique().tolist()]
    for size in _chunks(samples, len(strata)):
        times = torch.zeros(size, len(strata), dtype=torch.float64)
        for rows in groups:
            drawn = rows[torch.randint(len(rows), (size, len(rows)), generator=generator)]
            times.scatter_add_(1, drawn, torch.ones_like(times[:, : len(rows)]))
        yield times


def shares(differences: Tensor) -> Tensor:
    """What each query adds to n times the mean of the runs' means: (n,), with the sum n · mean.

    Args:
        differences: (n, R), NaN where a run has no value; every query and run has one.

    Examples:
        The first run has two queries, the second one: means ½ and 1, in all ¾ = 1.5 / 2.

        >>> shares(torch.tensor([[0.0, 1.0], [1.0, torch.nan]])).tolist()
        [1.0, 0.5]
    """
    found = differences.double()
    counts = (~found.isnan()).sum(0)
    return (found.nan_to_num() / counts).sum(1) * len(found) / found.shape[1]


def sign_flip(differences: Tensor, samples: int = FLIPS, seed: int = 0) -> float:
    """Chance of a mean difference at least this far from 0 if neither method were better.

    Then each query's difference could as well have had the other sign (paired randomization test,
    two-sided). All 2ⁿ signs are tried where they are at most ``samples``; else that many are drawn,
    and the signs found count as one more draw, so that the chance is never 0. Means within ``TIE``
    of the found one are as far from 0.

    Args:
        differences: (n,) of n ≥ 1 queries; of several runs, their ``shares``.
        samples: Number of draws.
        seed: Of the draws.

    Returns:
        From 1/2ⁿ⁻¹ or 1/(samples + 1) to 1.

    Examples:
        Of the eight signs of (1, 1, 1), two give a mean as far from 0 as 1.

        >>> sign_flip(torch.ones(3))
        0.25
    """
    found = differences.double()
    count = len(found)
    bound = found.sum().abs() - count * TIE
    if 2**count <= samples:
        bits = torch.arange(2**count).unsqueeze(1) >> torch.arange(count) & 1
        return ((1 - 2.0 * bits.double()) @ found).abs().ge(bound).double().mean().item()
    generator = torch.Generator().manual_seed(seed)
    beyond = 1
    for size in _chunks(samples, count):
        bits = torch.randint(2, (size, count), generator=generator)
        beyond += int(((1 - 2.0 * bits.double()) @ found).abs().ge(bound).sum())
    return beyond / (samples + 1)


def _chunks(samples: int, count: int) -> list[int]:
    """Sizes of parts of at most ``CELLS`` numbers that make up ``samples`` draws of ``count``."""
    size = max(1, CELLS // count)
    full, rest = divmod(samples, size)
    return [size] * full + ([rest] if rest else [])
