import math

import pytest
import torch

from r4t.diffusion.schedule import Exponential, Karras, Levels, LogNormal, Tangent
from r4t.errors import InputError

ALL = [Tangent(), Exponential(), Karras(), LogNormal(), Levels((80.0, 3.0, 0.5, 1e-4))]


@pytest.mark.parametrize("schedule", ALL)
def test_time_and_sigma_are_inverse(schedule):
    t = torch.linspace(0.05, 0.99, 50, dtype=torch.float64)
    assert torch.allclose(schedule.t(schedule.sigma(t)), t, atol=1e-12)


@pytest.mark.parametrize("schedule", ALL)
def test_range_ends_are_hit(schedule):
    ends = schedule.sigma(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([1e-4, 80.0], dtype=torch.float64), rtol=1e-9)


def test_tangent_by_hand():
    # sigma(1/2) = 80 · tan(0.75) / tan(1.5) = 80 · 0.9315959 / 14.1014199 = 5.2851265
    assert Tangent().sigma(torch.tensor(0.5)).item() == pytest.approx(5.2851265, rel=1e-6)


def test_exponential_is_log_uniform():
    sigma = Exponential(1e-4, 80.0).sigma(torch.linspace(0, 1, 11, dtype=torch.float64))
    steps = sigma.log().diff()
    # ln(80 / 1e-4) / 10 = 13.592367 / 10
    assert torch.allclose(steps, torch.full((10,), 1.3592367, dtype=torch.float64), atol=1e-7)


def test_log_normal_has_the_quantiles_of_the_normal_law():
    # Φ(1) = 0.8413447: sigma is e^(mean + std) there, and e^mean at one half.
    t = torch.tensor([0.5, 0.8413447460685429], dtype=torch.float64)
    want = [math.exp(0.5), math.exp(0.5 + 1.2)]
    assert LogNormal(0.5, 1.2).sigma(t).tolist() == pytest.approx(want, rel=1e-9)


def test_karras_equals_equation_5_of_edm():
    n, rho, low, high = 6, 7.0, 0.002, 80.0
    want = [
        (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        for i in range(n)
    ]
    assert Karras(low, high, rho).steps(n).tolist() == pytest.approx([*want, 0.0], rel=1e-6)


def test_the_range_counts_in_sigma_data_by_default():
    sigma_data = 1 / math.sqrt(128)  # 0.0884
    top = Tangent().scaled(sigma_data).steps(4)[0].item()
    assert top == pytest.approx(80 / math.sqrt(128), rel=1e-6)  # 7.07
    assert Tangent().scaled(0.088).steps(4)[0].item() == pytest.approx(7.04, rel=1e-6)
    assert Tangent(unit=1.0).scaled(0.088).steps(4)[0].item() == pytest.approx(80.0)


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("n", [1, 2, 9])
def test_steps_fall_from_sigma_max_to_zero(schedule, n):
    sigmas = schedule.steps(n)
    assert len(sigmas) == n + 1
    assert sigmas[0].item() == pytest.approx(80.0)
    assert sigmas[-1].item() == 0.0
    assert (sigmas.diff() < 0).all()


def test_bad_ranges_are_refused():
    with pytest.raises(
        InputError, match=r"0 < sigma_min < sigma_max in Karras, but found sigma_min=9.* and"
    ):
        Karras(sigma_min=9.0, sigma_max=2.0)
    with pytest.raises(InputError, match=r"unit above 0 in Tangent, but found -1"):
        Tangent(unit=-1.0)
    with pytest.raises(InputError, match=r"steps to be at least 1, but found 0"):
        Tangent().steps(0)


def test_levels_by_hand():
    levels = Levels((16.0, 4.0, 1.0))
    assert levels.steps(3).tolist() == pytest.approx([16.0, 4.0, 1.0, 0.0])
    assert levels.steps(2).tolist() == pytest.approx([16.0, 1.0, 0.0])
    # A quarter of the way down from t = 1 lies half way, in logs, between 16 and 4.
    assert levels.sigma(torch.tensor(0.75)).item() == pytest.approx(8.0)
    assert levels.scaled(0.5).steps(3).tolist() == pytest.approx([8.0, 2.0, 0.5, 0.0])
    assert Levels([16.0, 4.0]) == Levels((16.0, 4.0))  # as JSON gives it back
    for wrong in ((4.0,), (4.0, 4.0), (1.0, 2.0)):
        with pytest.raises(
            InputError, match=r"at least two levels, each below the one before, but fou"
        ):
            Levels(wrong)
