"""A denoiser, noise and decreasing sigmas → clean rows: free functions, and their settings."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from r4t.diffusion.precondition import DenoiseFn

LOW_24 = (1 << 24) - 1
# The constants of splitmix64, as signed numbers.
GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
MIX = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
NoiseFn = Callable[[], Tensor]  # each call returns the next standard normal (B, L, d)


def seeded_noise(
    seeds: Sequence[int], shape: tuple[int, int], device: torch.device | str = "cpu"
) -> NoiseFn:
    """Noise of which each query's part follows from its own seed, whatever else is in the batch.

    A number is a hash of seed, draw and position (splitmix64) turned normal by Box and Muller: all
    queries at once and on the device itself, with the same numbers, up to round-off, on every one.

    Args:
        seeds: One seed per query (B).
        shape: (L, d).
        device: Where the noise is wanted.

    Returns:
        A function; each call returns the next (B, L, d).

    Example:
        >>> together, alone = seeded_noise([3, 8], (1, 2)), seeded_noise([8], (1, 2))
        >>> [torch.equal(together()[1], alone()[0]) for _ in range(2)]
        [True, True]
    """
    own = [seed % 2**62 for seed in seeds]
    keys = _hashed(torch.tensor(own, dtype=torch.int64, device=device))[:, None]  # (B, 1)
    pairs = -(-shape[0] * shape[1] // 2)
    places = torch.arange(pairs, device=device)
    drawn = 0

    def draw() -> Tensor:
        nonlocal drawn
        drawn += 1
        bits = _hashed(_hashed(keys + drawn) + places)  # (B, pairs)
        # 24 of the upper and of the lower 32 bits: uniform in (0, 1) and [0, 1).
        first = ((bits >> 40) & LOW_24).float().add_(0.5).mul_(2.0**-24)
        second = (bits & LOW_24).float().mul_(2.0**-24 * 2 * math.pi)
        radius = first.log_().mul_(-2).sqrt_()
        noise = torch.stack([radius * second.cos(), radius * second.sin()], dim=1)  # (B, 2, pairs)
        return noise.flatten(1)[:, : shape[0] * shape[1]].reshape(-1, *shape)

    return draw


def _hashed(x: Tensor) -> Tensor:
    """Mix the bits of int64 numbers (splitmix64, Steele et al. 2014); products wrap around."""
    x = x * GAMMA
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * MIX[0]
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * MIX[1]
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def sample_euler(denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
    """Euler's method on the probability-flow ODE, which is DDIM (Song et al. 2021).

    A few-step student is trained for it: its estimate at a level is where the teacher's trajectory
    points from there to the next level.

    Args:
        denoise: Clean estimate of noisy rows.
        noise: Called once, for the start.
        sigmas: Decreasing (S + 1,); one evaluation per step.

    Returns:
        (B, L, d), distributed as the data noised at ``sigmas[-1]``.
    """
    start = noise()
    levels, sigmas = sigmas.tolist(), sigmas.to(start)
    x = levels[0] * start
    for i, (now, after) in enumerate(pairwise(levels)):
        clean = denoise(x, sigmas[i])
        x = clean + after / now * (x - clean)
    return x


def sample_heun(denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
    """Heun's second-order method on the probability-flow ODE (Karras et al. 2022, alg. 1).

    Args:
        denoise: Clean estimate of noisy rows.
        noise: Called once, for the start.
        sigmas: Decreasing (S + 1,); two evaluations per step, one for a step that ends in 0.

    Returns:
        (B, L, d), distributed as the data noised at ``sigmas[-1]``.
    """
    start = noise()
    levels, sigmas = sigmas.tolist(), sigmas.to(start)
    x = levels[0] * start
    for i, (now, after) in enumerate(pairwise(levels)):
        slope = (x - denoise(x, sigmas[i])) / now
        euler = x + (after - now) * slope
        if after == 0:
            x = euler
            continue
        slope_after = (euler - denoise(euler, sigmas[i + 1])) / after
        x = x + (after - now) / 2 * (slope + slope_after)
    return x


def sample_multistep(denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M) on the probability-flow ODE (Lu et al. 2022, alg. 2), sigma as its clock.

    Second order like Heun's method, from the estimate of the step before instead of a second
    evaluation; the first step and a step that ends in 0 are of first order. It extrapolates in
    log sigma: schedules whose steps there are alike (``Karras``, ``Exponential``) suit it, the end
    of ``Tangent`` does not.

    Args:
        denoise: Clean estimate of noisy rows.
        noise: Called once, for the start.
        sigmas: Decreasing (S + 1,); one evaluation per step.

    Returns:
        (B, L, d), distributed as the data noised at ``sigmas[-1]``.
    """
    start = noise()
    levels, sigmas = sigmas.tolist(), sigmas.to(start)
    x, before, last_width = levels[0] * start, None, 0.0
    for i, (now, after) in enumerate(pairwise(levels)):
        clean = direction = denoise(x, sigmas[i])
        if after > 0:
            width = math.log(now / after)
            if before is not None:
                direction = torch.lerp(before, clean, 1 + width / (2 * last_width))
            before, last_width = clean, width
        x = direction + after / now * (x - direction)
    return x


def sample_sde(denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
    """Euler–Maruyama on the reverse SDE of variance-exploding diffusion, on the clock τ = σ².

    In that clock the SDE reads dx = −s(x, τ) dτ + dw with the score s = (D(x; σ) − x) / σ², so a
    step from σ to σ' adds (σ² − σ'²)·s and noise of variance σ² − σ'². Where sigma ends in 0 the
    last step is the denoiser's estimate itself, without noise.

    Args:
        denoise: Clean estimate of noisy rows.
        noise: Called for the start and once per step.
        sigmas: Decreasing (S + 1,); one evaluation per step.

    Returns:
        (B, L, d).
    """
    start = noise()
    levels, sigmas = sigmas.tolist(), sigmas.to(start)
    x = levels[0] * start
    for i, (now, after) in enumerate(pairwise(levels)):
        passed = now**2 - after**2
        x = x + passed / now**2 * (denoise(x, sigmas[i]) - x)
        if after > 0:
            x = x + passed**0.5 * noise()
    return x


class Sampler(ABC):
    """A sampling method with its number of steps."""

    steps: int

    @abstractmethod
    def __call__(self, denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
        """Walk down ``sigmas`` (steps + 1,) from noise to rows (B, L, d)."""


@dataclass(frozen=True)
class Euler(Sampler):
    """``sample_euler`` in ``steps`` steps: as many evaluations (twice that when guided)."""

    steps: int = 4

    def __call__(self, denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
        """See ``sample_euler``."""
        return sample_euler(denoise, noise, sigmas)


@dataclass(frozen=True)
class Heun(Sampler):
    """``sample_heun`` in ``steps`` steps: 2·steps − 1 evaluations (twice that when guided)."""

    steps: int = 8

    def __call__(self, denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
        """See ``sample_heun``."""
        return sample_heun(denoise, noise, sigmas)


@dataclass(frozen=True)
class Multistep(Sampler):
    """``sample_multistep`` in ``steps`` steps: as many evaluations (twice that when guided)."""

    steps: int = 8

    def __call__(self, denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
        """See ``sample_multistep``."""
        return sample_multistep(denoise, noise, sigmas)


@dataclass(frozen=True)
class ReverseSde(Sampler):
    """``sample_sde`` in ``steps`` steps: as many evaluations (twice that when guided)."""

    steps: int = 256

    def __call__(self, denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
        """See ``sample_sde``."""
        return sample_sde(denoise, noise, sigmas)
