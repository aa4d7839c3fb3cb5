"""Values of queries in runs → mean of the runs' means, its 95 % interval and p-value, seeded.

Every run counts the same in the mean and in its interval, however many queries it has. Queries of
one *cluster* (phrasings of one wish) rise and fall together, so they are drawn and flipped together;
the mean stays that over queries.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from statistics import stdev
from typing import TypeVar

import torch
from torch import Tensor

LEVELS = (0.025, 0.975)  # the middle 95 %
SAMPLES = 2000
FLIPS = 10_000
CELLS = 1 << 22  # numbers drawn at once, so that memory does not grow with the number of queries
# Means nearer than this are equal: ⅓ + ⅓ and ⅔ differ by this much in float32, or in a file with six
# decimals (two values per difference, each off by 5e-7, in two sums).
TIE = 2e-6
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % bootstrap interval over clusters of queries."""

    mean: float  # over queries; with several runs, the mean of the runs' means
    low: float
    high: float
    queries: int  # with a value; one that several runs asked counts once
    clusters: int  # of these queries
    runs: int = 1  # with a value
    deviation: float | None = None  # standard deviation of the runs' means (n − 1), if several

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def mean_of_runs(values: Tensor) -> Tensor:
    """Mean (m,) over R runs of their means over n queries: of (n, R, m), where NaN is no value.

    Examples:
        >>> mean_of_runs(torch.tensor([[[0.0], [1.0]], [[0.5], [torch.nan]]])).tolist()
        [0.625]
    """
    return values.double().nanmean(0).nanmean(0)


def sums_of_clusters(values: Tensor, clusters: Tensor | None) -> Tensor:
    """Sums (C, …) over the queries of each cluster, of (n, …); ``clusters`` (n,) are from 0 to C − 1.

    Without clusters, every query is its own.
    """
    if clusters is None or torch.equal(clusters, torch.arange(len(values))):
        return values
    columns = values.movedim(0, -1)
    sums = columns.new_zeros(*columns.shape[:-1], int(clusters.max()) + 1)
    # Contiguous per column, so that what is computed of one does not depend on the others.
    return sums.index_add_(-1, clusters, columns).movedim(-1, 0)


def bootstrap(
    values: Tensor,
    samples: int = SAMPLES,
    seed: int = 0,
    strata: Tensor | None = None,
    clusters: Tensor | None = None,
) -> Tensor:
    """Ends (2, m) of the 95 % percentile bootstrap intervals of ``mean_of_runs``: low, then high.

    Each of ``samples`` draws takes, with replacement, as many clusters as each stratum has, each with
    the values of all its queries in all runs. All measures share the draws. The mean is over the
    queries drawn, so a large cluster counts more (ratio estimator). If there is one cluster, the
    interval has no width, and says nothing.

    Args:
        values: (n, m): m measures of the same n ≥ 1 queries; or (n, R, m) of R runs. NaN where a
            run has no value.
        samples: Number of draws.
        seed: Of the draws.
        strata: (C,) numbers from 0 that say which runs asked a cluster, so that each run keeps its
            number of clusters. One stratum by default.
        clusters: (n,) numbers from 0 to C − 1, the cluster of each query; its own by default.

    Examples:
        >>> bootstrap(torch.full((5, 1), 0.25)).tolist()
        [[0.25], [0.25]]
    """
    values = (values.unsqueeze(1) if values.ndim == 2 else values).double()
    present = sums_of_clusters((~values.isnan()).double().flatten(1), clusters)
    filled = sums_of_clusters(values.nan_to_num().flatten(1), clusters)
    strata = torch.zeros(len(filled), dtype=torch.long) if strata is None else strata
    means = [
        ((times @ filled) / (times @ present)).view(-1, *values.shape[1:]).nanmean(1)
        for times in _draws(strata, samples, seed)
    ]
    return torch.cat(means).nanquantile(torch.tensor(LEVELS, dtype=values.dtype), dim=0)


def _draws(strata: Tensor, samples: int, seed: int) -> Iterator[Tensor]:
    """How often each draw takes each of the C clusters: (draws, C), in parts that fit in memory."""
    generator = torch.Generator().manual_seed(seed)
    groups = [(strata == number).nonzero().flatten() for number in strata.unique().tolist()]
    for size in _chunks(samples, len(strata)):
        times = torch.zeros(size, len(strata), dtype=torch.float64)
        for rows in groups:
            drawn = rows[torch.randint(len(rows), (size, len(rows)), generator=generator)]
            times.scatter_add_(1, drawn, torch.ones_like(times[:, : len(rows)]))
        yield times


def drop_missing(values: Tensor, asked: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Drop the queries, runs and clusters without a value.

    Args:
        values: (n, R, m), where all m measures lack the same ones.
        asked: (n, R) bool: which runs asked which query.
        clusters: (n,) the number of each query's cluster.

    Returns:
        (n', R', m) values; strata (C',): equal for clusters that the same runs asked; and clusters
        (n',), numbered from 0 to C' − 1.
    """
    present = ~values[..., 0].isnan()
    rows, runs = present.any(1), present.any(0)
    clusters = clusters[rows].unique(return_inverse=True)[1]
    by_runs = sums_of_clusters(asked[rows][:, runs].double(), clusters) > 0
    strata = by_runs.unique(dim=0, return_inverse=True)[1]
    return values[rows][:, runs], strata, clusters


def intervals(
    columns: Mapping[Key, Tensor], asked: Tensor, clusters: Tensor
) -> dict[Key, Interval]:
    """Intervals of the (n, R) columns with any value, of n queries in R runs; NaN is no value.

    Columns that lack the same values share their draws. ``asked`` (n, R) bool says which runs asked
    which query; ``clusters`` (n,) are the numbers of the queries' clusters.
    """
    alike: dict[tuple[bool, ...], list[Key]] = {}
    for key, values in columns.items():
        alike.setdefault(tuple((~values.isnan()).flatten().tolist()), []).append(key)
    result: dict[Key, Interval] = {}
    for present, keys in alike.items():
        if any(present):
            stacked = torch.stack([columns[key] for key in keys], dim=-1)
            values, strata, kept = drop_missing(stacked, asked, clusters)
            # Contiguous per measure, so that its sums do not depend on the other measures.
            values = values.permute(2, 0, 1).contiguous().permute(1, 2, 0)
            ends = (mean_of_runs(values), *bootstrap(values, strata=strata, clusters=kept))
            means = values.nanmean(0).T.tolist()  # of each measure in each run
            for key, mean, low, high, by_run in zip(keys, *(end.tolist() for end in ends), means):
                deviation = stdev(by_run) if len(by_run) > 1 else None
                counts = (len(values), len(strata), len(by_run))
                result[key] = Interval(mean, low, high, *counts, deviation)
    return {key: result[key] for key in columns if key in result}


def shares(differences: Tensor) -> Tensor:
    """What each of n queries adds to n times the mean of the runs' means: (n,), with sum n · mean.

    The (n, R) differences are NaN where a run has no value; every query and run has one.

    Examples:
        The first run has two queries, the second one: means ½ and 1, so ¾ = 1.5 / 2 in all.

        >>> shares(torch.tensor([[0.0, 1.0], [1.0, torch.nan]])).tolist()
        [1.0, 0.5]
    """
    values = differences.double()
    counts = (~values.isnan()).sum(0)
    return (values.nan_to_num() / counts).sum(1) * len(values) / values.shape[1]


def sign_flip(
    differences: Tensor,
    samples: int = FLIPS,
    seed: int = 0,
    clusters: Tensor | None = None,
) -> float:
    """Chance of a mean difference at least this far from 0 if neither method were better.

    In that case the differences of each cluster could have had the other sign as well (paired
    randomization test, two-sided). If there are at most ``samples`` sign vectors (2^C), all are
    tried. Otherwise ``samples`` are drawn, and the observed signs count as one more draw, so that
    the result is never 0. Means within ``TIE`` of the observed one count as equally far from 0.

    Args:
        differences: (n,) of n ≥ 1 queries; for several runs, their ``shares``.
        samples: Number of draws; the lowest result is 1/2^(C − 1) or 1/(samples + 1).
        seed: Of the draws.
        clusters: (n,) numbers from 0 to C − 1, the cluster of each query; its own by default.

    Examples:
        Of the eight sign vectors of (1, 1, 1), two give a mean as far from 0 as 1.

        >>> sign_flip(torch.ones(3))
        0.25
    """
    values = sums_of_clusters(differences.double(), clusters)
    count = len(values)
    bound = values.sum().abs() - len(differences) * TIE

    def as_far(bits: Tensor) -> Tensor:
        return ((1 - 2.0 * bits.double()) @ values).abs() >= bound

    if 2**count <= samples:
        every = torch.arange(2**count).unsqueeze(1) >> torch.arange(count) & 1
        return as_far(every).double().mean().item()
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randint(2, (n, count), generator=generator) for n in _chunks(samples, count))
    return (1 + sum(int(as_far(bits).sum()) for bits in drawn)) / (samples + 1)


def _chunks(samples: int, count: int) -> list[int]:
    """Sizes of parts of at most ``CELLS`` numbers that make up ``samples`` draws of ``count``."""
    size = max(1, CELLS // count)
    return [min(size, samples - start) for start in range(0, samples, size)]
