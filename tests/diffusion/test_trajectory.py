"""The few-step student's targets and loss, on Gaussian data in closed form and by hand."""

from itertools import pairwise

import pytest
import torch

from r4t.diffusion.sampler import sample_euler, sample_multistep
from r4t.diffusion.schedule import Karras
from r4t.diffusion.trajectory import distillation_loss, follow, segment

SD = 0.25


def gaussian(x, sigma):
    """The ideal denoiser of N(0, SD²)."""
    return x * SD**2 / (SD**2 + sigma.reshape(-1, 1, 1) ** 2)


def flow(x, now, after):
    """Where the ODE of that denoiser leads: the standard deviation shrinks from √(SD² + now²)."""
    return x * ((SD**2 + after**2) / (SD**2 + now**2)) ** 0.5


def oracle(levels):
    """The student that lands on the flow: x̂ = (z' − r·z) / (1 − r) with r = σ'/σ."""
    after = dict(pairwise(levels.tolist()))

    def denoise(x, sigma):
        end = after[sigma.item()]
        ratio = end / sigma.item()
        return (flow(x, sigma.item(), end) - ratio * x) / (1 - ratio)

    return denoise


@pytest.fixture
def levels():
    return torch.tensor([20.0, 0.5, 0.1, 0.0], dtype=torch.float64)


@pytest.fixture
def inner(levels):
    schedule = Karras(sigma_min=0.001, sigma_max=80.0, unit=SD)
    return [segment(schedule, now, after, 400) for now, after in pairwise(levels.tolist())]


def test_segments_join_into_the_teachers_whole_grid(levels, inner):
    assert [fine[0].item() for fine in inner] == [20.0, 0.5, 0.1]
    assert [fine[-1].item() for fine in inner] == [0.5, 0.1, 0.0]
    for fine in inner:
        assert (fine.diff() < 0).all()
    # 400 steps of t from 1 to 0, rounded up in each of three segments, and the last one to 0.
    assert 400 <= sum(len(fine) - 1 for fine in inner) <= 400 + 3 + 1
    # The last segment goes through the teacher's smallest level.
    assert inner[-1][-2].item() == pytest.approx(0.001 * SD)


def test_the_teacher_follows_the_closed_form(levels, inner):
    x = 20.0 * torch.randn(6, 3, 4, dtype=torch.float64)
    for (now, after), fine in zip(pairwise(levels.tolist()), inner, strict=True):
        assert torch.allclose(
            follow(sample_multistep, gaussian, x, fine), flow(x, now, after), rtol=2e-3
        )


def test_the_loss_of_the_students_ideal_is_zero_and_its_sets_are_the_teachers(levels, inner):
    start = 20.0 * torch.randn(6, 3, 4, dtype=torch.float64)
    own = torch.tensor([True, False] * 3)
    loss = distillation_loss(oracle(levels), gaussian, start, levels, inner, SD, own)
    assert loss.shape == (3, 6)
    assert loss.max() < 1e-5
    landed = sample_euler(oracle(levels), lambda: start / 20.0, levels)
    assert torch.allclose(landed, flow(start, 20.0, 0.0), rtol=1e-9)
    # The teacher's own estimate, in as few steps, does not land there.
    assert distillation_loss(gaussian, gaussian, start, levels, inner, SD, own).mean() > 0.01


def test_a_step_by_hand():
    # x = 3 at sigma 2, clean estimate 1: at sigma 1 half of the distance remains.
    x, levels = torch.full((1, 1, 1), 3.0), torch.tensor([2.0, 1.0])
    end = follow(sample_euler, lambda x, sigma: torch.ones_like(x), x, levels)
    assert end.item() == 2.0


def test_the_loss_by_hand():
    # The student's estimate is always 0, the teacher's 1. Levels 4, 2, 0; both start at 8.
    levels = torch.tensor([4.0, 2.0, 0.0])
    inner = [torch.tensor([4.0, 2.0]), torch.tensor([2.0, 0.0])]
    zero, one = (lambda x, s: torch.zeros_like(x)), (lambda x, s: torch.ones_like(x))
    start = torch.full((2, 1, 1), 8.0)
    own = torch.tensor([True, False])
    loss = distillation_loss(zero, one, start, levels, inner, 0.5, own)
    # First: lands at 0 + ½ · 8 = 4, the teacher at 1 + ½ · 7 = 4.5: (½)² / 0.25 = 1 for both sets.
    # Second: from 4 or 4.5 it lands at 0, the teacher at 1: 1 / 0.25 = 4.
    assert loss.tolist() == [[1.0, 1.0], [4.0, 4.0]]
    # On the teacher's way the second step begins at 4.5, on the student's at 4.
    half = lambda x, s: x / 2  # noqa: E731
    loss = distillation_loss(half, one, start, levels, inner, 1.0, own)
    # First: lands at 4 + ½ · 4 = 6, the teacher at 4.5. Second: lands at 3 (own) or 2.25, teacher 1.
    assert loss.tolist() == [[2.25, 2.25], [4.0, 1.5625]]


def test_gradients_stay_within_a_step():
    levels = torch.tensor([4.0, 2.0, 0.0])
    inner = [torch.tensor([4.0, 2.0]), torch.tensor([2.0, 0.0])]
    weight = torch.tensor(0.5, requires_grad=True)
    start, own = torch.full((1, 1, 1), 8.0), torch.tensor([True])
    teacher = lambda x, s: torch.ones_like(x)  # noqa: E731
    loss = distillation_loss(lambda x, s: weight * x, teacher, start, levels, inner, 1.0, own)
    (second,) = torch.autograd.grad(loss[1, 0], weight)
    # (w · 6 − 1)² at w = ½, with the 6 held fixed: 2 · 2 · 6.
    assert second.item() == 24.0
