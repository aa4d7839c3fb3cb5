"""Values of queries → 95 % intervals and chances of their means: pure tensor maths, seeded."""

import torch
from torch import Tensor

LEVELS = (0.025, 0.975)  # the middle 95 %
SAMPLES = 2000
FLIPS = 10_000
CELLS = 1 << 22  # numbers drawn at once: memory does not grow with the number of queries


def bootstrap(values: Tensor, samples: int = SAMPLES, seed: int = 0) -> Tensor:
    """Ends of the 95 % percentile bootstrap intervals of means over queries.

    Queries are drawn with replacement, n of n; the interval holds the middle 95 % of the means of
    ``samples`` draws. All columns share the draws.

    Args:
        values: (n, m): m measures of the same n ≥ 1 queries, none missing.
        samples: Number of draws.
        seed: Of the draws.

    Returns:
        (2, m): low and high ends.

    Example:
        >>> bootstrap(torch.full((5, 1), 0.25)).tolist()
        [[0.25], [0.25]]
    """
    count = len(values)
    values = values.double()
    generator = torch.Generator().manual_seed(seed)
    means = []
    for size in _chunks(samples, count):
        drawn = torch.randint(count, (size, count), generator=generator)
        times = torch.zeros(size, count, dtype=values.dtype)
        times.scatter_add_(1, drawn, torch.ones_like(times))
        means.append(times @ values / count)
    ends = torch.tensor(LEVELS, dtype=values.dtype)
    return torch.cat(means).quantile(ends, dim=0)


def sign_flip(differences: Tensor, samples: int = FLIPS, seed: int = 0) -> float:
    """Chance of a mean difference at least this far from 0 if neither method were better.

    Then each query's difference could as well have had the other sign (paired randomization test,
    two-sided). All 2ⁿ signs are tried where they are at most ``samples``; else that many are drawn,
    and the signs found count as one more draw, so that the chance is never 0.

    Args:
        differences: (n,) of n ≥ 1 queries.
        samples: Number of draws.
        seed: Of the draws.

    Returns:
        From 1/2ⁿ⁻¹ or 1/(samples + 1) to 1.

    Example:
        Of the eight signs of (1, 1, 1), two give a mean as far from 0 as 1.

        >>> sign_flip(torch.ones(3))
        0.25
    """
    found = differences.double()
    count = len(found)
    bound = found.sum().abs() * (1 - 1e-12) - 1e-12  # round-off of sums in another order
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
