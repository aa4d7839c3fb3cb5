"""A teacher's trajectories from noise to sets → the loss of a student that takes them in few steps.

The teacher's probability-flow ODE is a deterministic map from noise to sets. The student learns it in
segments: at each of a few noise levels its estimate points to where the teacher's solver arrives at
the next level in many small steps. That is progressive distillation (Salimans & Ho 2022) with all its
halvings in one, or a consistency model of as many segments as steps (Heek et al. 2024) whose targets
come from the teacher itself, so that no error is passed from student to student. Guidance is part of
the teacher's trajectory, so the student has it without a second evaluation.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from r4t.diffusion.precondition import DenoiseFn
from r4t.diffusion.sampler import sample_euler, sample_multistep
from r4t.diffusion.schedule import Schedule


def segment(schedule: Schedule, now: float, after: float, steps: int) -> Tensor:
    """Return the teacher's levels from ``now`` down to ``after``, on its own schedule's grid.

    Args:
        schedule: The teacher's, in absolute units.
        now: Sigma at which the segment begins.
        after: Sigma at which it ends; 0 for the last one.
        steps: Of the whole range from t = 1 to 0; a segment gets its share, at least 2.

    Returns:
        (n + 1,) float64, decreasing, from ``now`` to ``after``.

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
    levels[0] = now  # which rounding has moved
    if after > 0:
        levels[-1] = after
        return levels
    return torch.cat([levels, levels.new_zeros(1)])


@torch.no_grad()
def follow(denoise: DenoiseFn, x: Tensor, levels: Tensor) -> Tensor:
    """Follow the teacher's ODE from ``x`` (B, L, d) at ``levels[0]`` down to ``levels[-1]``."""
    return sample_multistep(denoise, lambda: x / levels[0].item(), levels)


def step(denoise: DenoiseFn, x: Tensor, now: Tensor, after: Tensor) -> Tensor:
    """Take one of the student's steps: Euler from ``x`` at sigma ``now`` to sigma ``after``."""
    return sample_euler(denoise, lambda: x / now, torch.stack([now, after]))


def distillation_loss(
    student: DenoiseFn,
    teacher: DenoiseFn,
    start: Tensor,
    levels: Tensor,
    inner: list[Tensor],
    sigma_data: float,
    own_landing: Tensor,
) -> Tensor:
    """Return how far each step of the student lands from where its teacher's trajectory leads.

    A set continues from the student's own landing or from the teacher's. In use the student sees its
    own landings, so the teacher must show the way back from there.

    Args:
        student: The student's clean estimate.
        teacher: The teacher's.
        start: Rows at the first level (B, L, d): noise times ``levels[0]``.
        levels: The student's (S + 1,), decreasing to 0.
        inner: The teacher's levels of each of the S segments.
        sigma_data: Unit of the distance.
        own_landing: (B,) bool, whether a set continues from the student's landing.

    Returns:
        (S, B): mean squared distance over coordinates, in units of sigma_data².
    """
    x, losses = start, []
    for (now, after), fine in zip(pairwise(levels), inner, strict=True):
        target = follow(teacher, x, fine)
        landing = step(student, x, now, after)
        losses.append((landing - target).square().mean(dim=(1, 2)) / sigma_data**2)
        x = torch.where(own_landing[:, None, None], landing.detach(), target)
    return torch.stack(losses)
