"""A teacher's trajectories from noise to sets → the loss of a student that takes few steps.

The teacher's probability-flow ODE maps noise to sets. The student learns that map in segments: at
each of a few noise levels it takes one Euler step to where the teacher's solver arrives in many. That
is progressive distillation (Salimans & Ho 2022) with all halvings at once, or a consistency model with
a segment per step (Heek et al. 2024) whose targets come from the teacher, so that errors do not pass
from student to student. The teacher's guidance is part of its trajectory, so the student is guided
without a second evaluation.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from r4t.diffusion.precondition import DenoiseFn
from r4t.diffusion.sampler import sample_euler, sample_multistep
from r4t.diffusion.schedule import Schedule


def segment(schedule: Schedule, now: float, after: float, steps: int) -> Tensor:
    """Return the teacher's n + 1 levels, float64, from sigma ``now`` down to ``after``.

    Args:
        schedule: The teacher's, in absolute units.
        now: Sigma at which the segment begins.
        after: Sigma at which it ends; 0 for the last one.
        steps: Steps of the whole range from t = 1 to 0; a segment gets its share, at least 2.

    Examples:
        >>> from r4t.diffusion.schedule import Exponential
        >>> schedule = Exponential(sigma_min=1.0, sigma_max=16.0, unit=1.0)
        >>> [round(sigma, 4) for sigma in segment(schedule, 16.0, 4.0, steps=4).tolist()]
        [16.0, 8.0, 4.0]
        >>> [round(sigma, 4) for sigma in segment(schedule, 4.0, 0.0, steps=4).tolist()]
        [4.0, 2.0, 1.0, 0.0]
    """
    start = float(schedule.t(torch.tensor(now, dtype=torch.float64)))
    end = float(schedule.t(torch.tensor(after, dtype=torch.float64))) if after > 0 else 0.0
    inner = max(2, math.ceil(round(steps * (start - end), 6)))
    levels = schedule.sigma(torch.linspace(start, end, inner + 1, dtype=torch.float64))
    levels[0] = now  # exact, without round-off
    if after > 0:
        levels[-1] = after
        return levels
    return torch.cat([levels, levels.new_zeros(1)])


def follow(sample: Callable[..., Tensor], denoise: DenoiseFn, x: Tensor, levels: Tensor) -> Tensor:
    """Sample from rows ``x`` (B, L, d) at ``levels[0]``, not from noise, down to ``levels[-1]``."""
    return sample(denoise, lambda: x / levels[0], levels)


def distillation_loss(
    student: DenoiseFn,
    teacher: DenoiseFn,
    start: Tensor,
    levels: Tensor,
    inner: list[Tensor],
    sigma_data: float,
    own_landing: Tensor,
) -> Tensor:
    """Return how far each step of the student lands from the teacher's trajectory.

    A set continues from the student's landing or from the teacher's. At query time the student
    continues from its own landings, so the teacher must show the way back from there.

    Args:
        student: Denoiser to train.
        teacher: Denoiser to follow.
        start: Rows at the first level (B, L, d): noise times ``levels[0]``.
        levels: The student's (S + 1,), decreasing to 0.
        inner: The teacher's levels in each of the S segments.
        sigma_data: Unit of the distance.
        own_landing: (B,) bool, whether a set continues from the student's landing.

    Returns:
        (S, B): mean squared distance over coordinates, in units of sigma_data².
    """
    x, losses = start, []
    for (now, after), fine in zip(pairwise(levels), inner, strict=True):
        with torch.no_grad():
            target = follow(sample_multistep, teacher, x, fine)
        landing = follow(sample_euler, student, x, torch.stack([now, after]))
        losses.append((landing - target).square().mean(dim=(1, 2)) / sigma_data**2)
        x = torch.where(own_landing[:, None, None], landing.detach(), target)
    return torch.stack(losses)
