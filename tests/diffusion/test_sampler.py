import math
from itertools import pairwise

import pytest
import torch

from r4t.diffusion.sampler import (
    Euler,
    Heun,
    Multistep,
    ReverseSde,
    sample_euler,
    sample_heun,
    sample_multistep,
    sample_sde,
    seeded_noise,
    splitmix,
)
from r4t.diffusion.schedule import Karras, Tangent

SD = 0.088
MODE, SPREAD = 0.3, 0.05


def noise(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(*shape, generator=random, dtype=torch.float64)


def gaussian(x, sigma):
    """The ideal denoiser of N(0, SD²)."""
    return x * SD**2 / (SD**2 + sigma**2)


def two_modes(x, sigma):
    """The ideal denoiser of an even mixture of N(±MODE, SPREAD²), by Bayes' rule."""
    total = SPREAD**2 + sigma**2
    modes = torch.tensor([-MODE, MODE], dtype=x.dtype)
    apart = x[..., None] - modes
    chance = (-(apart**2) / (2 * total)).softmax(dim=-1)
    return (chance * (modes + apart * SPREAD**2 / total)).sum(-1)


@pytest.mark.parametrize(
    "sample, schedule",
    [(sample_heun, Karras()), (sample_heun, Tangent()), (sample_multistep, Karras())],
)
def test_ode_samplers_follow_the_closed_form_on_gaussian_data(sample, schedule):
    sigmas = schedule.scaled(SD).steps(200).double()
    samples = sample(gaussian, noise(50, 1, 4), sigmas)
    top = sigmas[0]
    want = top * noise(50, 1, 4)() * (SD**2 / (SD**2 + top**2)) ** 0.5
    assert torch.allclose(samples, want, rtol=2e-3)


@pytest.mark.parametrize(
    "sample, steps",
    [(sample_heun, 64), (sample_multistep, 64), (sample_sde, 1000), (sample_euler, 1000)],
)
def test_every_sampler_ends_at_the_standard_deviation_of_the_data(sample, steps):
    sigmas = Karras().scaled(SD).steps(steps).double()
    samples = sample(gaussian, noise(10000, 1, 1), sigmas)
    assert samples.std().item() == pytest.approx(SD, rel=0.02)


def test_sde_variance_follows_its_recursion_by_hand():
    sigmas = Tangent().scaled(SD).steps(12).double()
    levels, variance = sigmas.tolist(), sigmas[0].item() ** 2
    for now, after in pairwise(levels):
        passed = now**2 - after**2
        kept = 1 + passed / now**2 * (SD**2 / (SD**2 + now**2) - 1)
        variance = kept**2 * variance + (passed if after > 0 else 0.0)
    samples = sample_sde(gaussian, noise(40000, 1, 4), sigmas)
    assert samples.var().item() == pytest.approx(variance, rel=0.015)


@pytest.mark.parametrize(
    "sample, order", [(sample_heun, 2), (sample_multistep, 2), (sample_euler, 1)]
)
def test_the_error_falls_at_the_order_of_the_solver(sample, order):
    def error(n):
        t = torch.linspace(1, 0, n + 1, dtype=torch.float64)
        sigmas = Karras(0.1, 20.0).scaled(SD).sigma(t)  # ends above 0: the last jump is order 1
        samples = sample(gaussian, lambda: torch.ones(1, 1, 1, dtype=torch.float64), sigmas)
        first, last = sigmas[0], sigmas[-1]
        want = first * ((SD**2 + last**2) / (SD**2 + first**2)) ** 0.5
        return (samples - want).abs().item()

    # Halving the steps halves the error at order 1, and quarters it at order 2.
    assert error(64) / error(128) == pytest.approx(2**order, rel=0.1)


def test_the_sdes_error_falls_at_order_1():
    def error(n):
        """Of the variance at the end, by the recursion that the test above pins."""
        t = torch.linspace(1, 0, n + 1, dtype=torch.float64)
        levels = Karras(0.1, 20.0).scaled(SD).sigma(t).tolist()
        variance = SD**2 + levels[0] ** 2
        for now, after in pairwise(levels):
            passed = now**2 - after**2
            kept = 1 + passed / now**2 * (SD**2 / (SD**2 + now**2) - 1)
            variance = kept**2 * variance + passed
        return abs(variance - (SD**2 + levels[-1] ** 2))

    assert error(256) / error(512) == pytest.approx(2, rel=0.1)


def test_heun_follows_a_fine_run_on_a_mixture():
    start = noise(200, 1, 1)()
    fine = sample_heun(two_modes, lambda: start, Karras(0.01).scaled(SD).steps(4000).double())
    errors = [
        (sample_heun(two_modes, lambda: start, Karras(0.01).scaled(SD).steps(n).double()) - fine)
        .abs()
        .mean()
        .item()
        for n in (16, 32, 64)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 2e-3


@pytest.mark.parametrize("sample", [sample_heun, sample_multistep, sample_sde, sample_euler])
def test_a_mixture_keeps_both_modes(sample):
    samples = sample(
        two_modes, noise(4000, 1, 1), Karras().scaled(SD).steps(200).double()
    ).flatten()
    upper, lower = samples[samples > 0], samples[samples < 0]
    assert len(upper) / 4000 == pytest.approx(0.5, abs=0.04)
    for mode, part in [(MODE, upper), (-MODE, lower)]:
        assert part.mean().item() == pytest.approx(mode, abs=0.01)
        assert part.std().item() == pytest.approx(SPREAD, rel=0.06)


def test_multistep_equals_diffusers_dpm_solver():
    edm = pytest.importorskip("diffusers.schedulers.scheduling_edm_dpmsolver_multistep")
    peer = edm.EDMDPMSolverMultistepScheduler(
        sigma_data=SD, solver_order=2, final_sigmas_type="zero", lower_order_final=True
    )
    sigmas = Karras(0.01, 80.0).scaled(SD).steps(20)
    peer.set_timesteps(20)
    # Its own ramp is replaced: what is compared is the update rule.
    peer.sigmas, peer.timesteps = sigmas, peer.precondition_noise(sigmas[:-1])
    start = noise(1, 3, 4)()
    x = sigmas[0].double() * start
    for i, t in enumerate(peer.timesteps):
        sigma = sigmas[i].double()
        root = (sigma**2 + SD**2) ** 0.5
        raw = (two_modes(x, sigma) - SD**2 / root**2 * x) / (sigma * SD / root)
        x = peer.step(raw, t, x).prev_sample
    samples = sample_multistep(two_modes, lambda: start, sigmas.double())
    assert torch.allclose(samples, x.double(), atol=1e-5)


def test_evaluations_per_sampler():
    calls = []

    def counted(x, sigma):
        calls.append(sigma)
        return gaussian(x, sigma)

    counts = {}
    for sampler in (Heun(8), Multistep(8), ReverseSde(8), Euler(8)):
        calls.clear()
        sampler(counted, noise(1, 1, 1), Karras().steps(8))
        counts[type(sampler).__name__] = len(calls)
    assert counts == {"Heun": 15, "Multistep": 8, "ReverseSde": 8, "Euler": 8}


def test_noise_depends_on_the_querys_seed_alone():
    together = seeded_noise([5, 9, 5], (2, 3))
    alone = seeded_noise([9], (2, 3))
    for _ in range(3):
        batch = together()
        assert torch.equal(batch[1], alone()[0])
        assert torch.equal(batch[0], batch[2])
        assert not torch.equal(batch[0], batch[1])


def test_the_hash_is_splitmix64():
    """The first five outputs of its authors' C code for the seed 1234567."""
    samples = splitmix(torch.tensor(1234567), torch.arange(1, 6))
    assert [bits % 2**64 for bits in samples.tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_noise_is_a_slow_loop_over_seed_and_place():
    """One hash a pair: its upper half is the radius, its lower half the angle (Box–Muller)."""
    mask = 2**64 - 1

    def mixed(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    gamma = 0x9E3779B97F4A7C15
    noise = seeded_noise([7, -3], (3, 3))  # 9 numbers: the tenth of 5 pairs is not used
    for draw in range(2):
        samples = noise()
        for row, seed in enumerate((7, -3)):
            start = mixed((seed + gamma) & mask)
            cosines, sines = [], []
            for n in range(5 * draw + 1, 5 * draw + 6):
                bits = mixed((start + n * gamma) & mask)
                radius = math.sqrt(-2 * math.log(((bits >> 32) + 0.5) / 2**32))
                angle = 2 * math.pi * ((bits & (2**32 - 1)) + 0.5) / 2**32
                cosines.append(radius * math.cos(angle))
                sines.append(radius * math.sin(angle))
            assert samples[row].flatten().tolist() == pytest.approx((cosines + sines)[:9], abs=1e-5)


def test_seeds_may_be_a_tensor():
    listed, held = seeded_noise([4, 2**40], (2, 2)), seeded_noise(torch.tensor([4, 2**40]), (2, 2))
    assert torch.equal(listed(), held())


def test_noise_is_standard_normal():
    """4 million numbers of neighboring seeds in two draws, within four standard errors."""
    noise = seeded_noise(range(2000), (8, 128))
    first, second = noise(), noise()
    both = torch.stack([first, second]).double()
    assert both.mean().item() == pytest.approx(0, abs=4 / 2000)  # 1 / sqrt(n)
    assert both.square().mean().item() == pytest.approx(1, abs=4 * 2**0.5 / 2000)
    assert both.pow(4).mean().item() == pytest.approx(3, abs=4 * 96**0.5 / 2000)
    within = (both.abs() < 1).double().mean().item()
    assert within == pytest.approx(0.682689, abs=4 * 0.466 / 2000)
    # The two normals of a pair, neighbors in place, in seed and in draw are not correlated.
    flat = first.flatten(1).double()
    pairs = [
        (flat[:, :512], flat[:, 512:]),
        (flat[:, :-1], flat[:, 1:]),
        (flat[:-1], flat[1:]),
        (flat, second.flatten(1).double()),
    ]
    for one, other in pairs:
        assert (one * other).mean().item() == pytest.approx(0, abs=4 / one.numel() ** 0.5)
