"""A denoiser, noise and decreasing sigmas → clean rows: free functions, and their settings.

Each ``sample_…`` takes a denoiser, noise, and decreasing sigmas (S + 1,), and returns rows (B, L, d)
distributed as the data noised at ``sigmas[-1]``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import torch
from torch import Tensor

from r4t.diffusion.precondition import DenoiseFn

NoiseFn = Callable[[], Tensor]  # each call returns the next standard normal (B, L, d)

# SplitMix64's constants, as the int64 of the same bits: torch multiplies modulo 2⁶⁴ either way.
GAMMA = 0x9E3779B97F4A7C15 - 2**64
MIX = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
LOW = 2**32 - 1


def seeded_noise(
    seeds: Sequence[int] | Tensor, shape: tuple[int, int], device: torch.device | str = "cpu"
) -> NoiseFn:
    """Return noise in which a query's part depends on its seed alone, not on the batch.

    It is a hash of seed and position, computed on the device for all queries together. It has no
    state and copies nothing, so a CUDA graph can hold it. Every device hashes to the same bits;
    the normals computed from them (Box & Muller 1958) differ by round-off.

    Args:
        seeds: One 64-bit seed per query (B); an int64 tensor on ``device`` is not copied.
        shape: (L, d).
        device: Where to compute.

    Returns:
        A function that returns the next (B, L, d) at each call: float32, within ±6.8.

    Examples:
        >>> together, alone = seeded_noise([3, 8], (1, 2)), seeded_noise([8], (1, 2))
        >>> [torch.equal(together()[1], alone()[0]) for _ in range(2)]
        [True, True]
    """
    size = math.prod(shape)
    pairs = -(-size // 2)  # a hash gives two normals
    starts = splitmix(torch.as_tensor(seeds, dtype=torch.int64, device=device)[:, None], 1)
    draws = count()

    def draw() -> Tensor:
        first = next(draws) * pairs + 1
        bits = splitmix(starts, torch.arange(first, first + pairs, device=device))  # (B, pairs)
        high, low = ((half.float() + 0.5) * 2**-32 for half in (_shifted(bits, 32), bits & LOW))
        radius, angle = (-2 * high.log()).sqrt(), 2 * math.pi * low
        normals = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return normals[:, :size].view(-1, *shape)

    return draw


def splitmix(start: Tensor, n: Tensor | int) -> Tensor:
    """Return output ``n`` ≥ 1 of the SplitMix64 stream that begins at ``start`` (Steele et al. 2014).

    All are int64, read as 64 bits; ``start`` and ``n`` are broadcast.

    Examples:
        >>> splitmix(torch.tensor(1234567), 1).item()  # of its authors' code
        6457827717110365317
    """
    z = start + n * GAMMA
    z = (z ^ _shifted(z, 30)) * MIX[0]
    z = (z ^ _shifted(z, 27)) * MIX[1]
    return z ^ _shifted(z, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift int64 to the right as if it had no sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _begin(noise: NoiseFn, sigmas: Tensor) -> tuple[Tensor, list[float], Tensor]:
    """Return rows at the first level, the levels as floats, and the levels on the rows' device."""
    start, levels = noise(), sigmas.tolist()
    return levels[0] * start, levels, sigmas.to(start)


def sample_euler(denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
    """Euler's method on the probability-flow ODE, which is DDIM (Song et al. 2021).

    One evaluation per step. A few-step student is trained for it: at each level it learns the
    estimate whose Euler step ends where the teacher's trajectory does.
    """
    x, levels, sigmas = _begin(noise, sigmas)
    for i, (now, after) in enumerate(pairwise(levels)):
        clean = denoise(x, sigmas[i])
        x = clean + after / now * (x - clean)
    return x


def sample_heun(denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
    """Heun's second-order method on the probability-flow ODE (Karras et al. 2022, alg. 1).

    Two evaluations per step, one for a step that ends at 0.
    """
    x, levels, sigmas = _begin(noise, sigmas)
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

    One evaluation per step, yet second order, because it reuses the previous estimate; the first
    step and a step that ends at 0 are of first order. It extrapolates in log sigma, so it suits
    schedules with about equal steps there (``Karras``, ``Exponential``), not the end of
    ``Tangent``.
    """
    x, levels, sigmas = _begin(noise, sigmas)
    before, last_width = None, 0.0
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

    On that clock the SDE reads dx = −s(x, τ) dτ + dw with the score s = (D(x; σ) − x) / σ², so a
    step from σ to σ' adds (σ² − σ'²)·s and noise of variance σ² − σ'². One evaluation per step; a
    step that ends at 0 returns the denoiser's estimate itself, without noise.
    """
    x, levels, sigmas = _begin(noise, sigmas)
    for i, (now, after) in enumerate(pairwise(levels)):
        passed = now**2 - after**2
        x = x + passed / now**2 * (denoise(x, sigmas[i]) - x)
        if after > 0:
            x = x + passed**0.5 * noise()
    return x


class Sampler:
    """A sampling method with its number of steps."""

    steps: int
    sample: Callable[[DenoiseFn, NoiseFn, Tensor], Tensor]

    def __call__(self, denoise: DenoiseFn, noise: NoiseFn, sigmas: Tensor) -> Tensor:
        """Walk down ``sigmas`` (steps + 1,) from noise to rows (B, L, d)."""
        return self.sample(denoise, noise, sigmas)


@dataclass(frozen=True)
class Euler(Sampler):
    """``sample_euler`` in ``steps`` steps: as many evaluations (twice that when guided).

    Args:
        steps: Steps S, at least 1.
    """

    steps: int = 4
    sample = staticmethod(sample_euler)


@dataclass(frozen=True)
class Heun(Sampler):
    """``sample_heun`` in ``steps`` steps: 2·steps − 1 evaluations (twice that when guided).

    Args:
        steps: Steps S, at least 1.
    """

    steps: int = 8
    sample = staticmethod(sample_heun)


@dataclass(frozen=True)
class Multistep(Sampler):
    """``sample_multistep`` in ``steps`` steps: as many evaluations (twice that when guided).

    Args:
        steps: Steps S, at least 1.
    """

    steps: int = 8
    sample = staticmethod(sample_multistep)


@dataclass(frozen=True)
class ReverseSde(Sampler):
    """``sample_sde`` in ``steps`` steps: as many evaluations (twice that when guided).

    Args:
        steps: Steps S, at least 1.
    """

    steps: int = 256
    sample = staticmethod(sample_sde)
