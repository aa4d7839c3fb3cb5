import math

import pytest
import torch

from r4t.diffusion.precondition import (
    Denoiser,
    coefficients,
    denoising_loss,
    guided,
    loss_weight,
)

SIGMA_DATA = 0.088


def test_coefficients_equal_those_of_diffusers():
    edm = pytest.importorskip("diffusers.schedulers.scheduling_edm_euler")
    peer = edm.EDMEulerScheduler(sigma_data=SIGMA_DATA, prediction_type="epsilon")
    x, raw = torch.randn(2, 3, 4, dtype=torch.float64)
    for sigma in torch.tensor([1e-3, 0.05, 0.7, 7.04], dtype=torch.float64):
        inner, skip, out, noise = coefficients(sigma, SIGMA_DATA)
        assert torch.allclose(inner * x, peer.precondition_inputs(x, sigma))
        assert torch.allclose(skip * x + out * raw, peer.precondition_outputs(x, raw, sigma))
        assert torch.allclose(noise, torch.as_tensor(peer.precondition_noise(sigma)).double())


def test_eq9_weight_by_hand():
    # λ = (9 + 16) / (3 · 4)² = 25 / 144
    assert loss_weight(torch.tensor(3.0), 4.0).item() == pytest.approx(25 / 144)
    _, _, out, _ = coefficients(torch.tensor(3.0), 4.0)
    assert loss_weight(torch.tensor(3.0), 4.0).item() == pytest.approx(out**-2)


def test_eq9_loss_equals_a_loop():
    random = torch.Generator().manual_seed(0)
    rows, noise = torch.randn(2, 3, 2, 4, generator=random, dtype=torch.float64)
    sigma = torch.tensor([0.01, 0.3, 5.0], dtype=torch.float64)

    def denoise(noisy, level):
        return noisy / (1 + level[:, None, None]) + 0.1

    loss = denoising_loss(denoise, rows, sigma, noise, SIGMA_DATA)
    for b in range(3):
        s, total = sigma[b].item(), 0.0
        for i in range(2):
            for j in range(4):
                z = rows[b, i, j].item()
                guess = (z + s * noise[b, i, j].item()) / (1 + s) + 0.1
                total += (guess - z) ** 2
        want = (s**2 + SIGMA_DATA**2) / (s * SIGMA_DATA) ** 2 * total / 8
        assert loss[b].item() == pytest.approx(want, rel=1e-12)


def test_eq9_a_network_of_zeros_loses_one_at_every_sigma():
    # D = c_skip (Z + σε): the mean of λ (D − Z)² is 1 for data of standard deviation σ_d.
    random = torch.Generator().manual_seed(0)
    rows = SIGMA_DATA * torch.randn(6, 200, 200, generator=random, dtype=torch.float64)
    noise = torch.randn(rows.shape, generator=random, dtype=torch.float64)
    sigma = torch.logspace(-5, 1, 6, dtype=torch.float64)

    def denoise(noisy, level):
        return coefficients(level, SIGMA_DATA)[1][:, None, None] * noisy

    loss = denoising_loss(denoise, rows, sigma, noise, SIGMA_DATA)
    assert torch.allclose(loss, torch.ones(6, dtype=torch.float64), atol=0.03)


def test_denoiser_is_skip_times_input_plus_out_times_network(network, queries):
    denoiser = Denoiser(network, SIGMA_DATA)
    noisy, sigma = torch.randn(4, 5, 8), torch.tensor([0.01, 0.1, 1.0, 7.0])
    estimate = denoiser.bind(queries)(noisy, sigma)
    for b in range(4):
        s = sigma[b].item()
        root = math.sqrt(s**2 + SIGMA_DATA**2)
        memory = network.memory(queries[b : b + 1])
        raw = network(noisy[b : b + 1] / root, torch.tensor([math.log(s) / 4]), memory)
        want = SIGMA_DATA**2 / root**2 * noisy[b] + s * SIGMA_DATA / root * raw[0]
        assert torch.allclose(estimate[b], want, atol=1e-6)


@pytest.mark.parametrize("sigma", [torch.tensor(0.3), torch.tensor([0.3, 0.3, 0.3, 0.3])])
def test_guidance_moves_away_from_the_unconditional_estimate(network, queries, sigma):
    denoiser, noisy = Denoiser(network, SIGMA_DATA), torch.randn(4, 5, 8)
    dropped = torch.tensor([False] * 4 + [True] * 4)
    both = denoiser.bind(torch.cat([queries, queries]), dropped)
    with_query = denoiser.bind(queries)(noisy, sigma)
    without = denoiser.bind(queries, torch.ones(4, dtype=torch.bool))(noisy, sigma)
    assert (with_query - without).abs().max() > 1e-3
    assert torch.allclose(guided(both, 0.0)(noisy, sigma), with_query, atol=1e-6)
    assert torch.allclose(
        guided(both, 0.5)(noisy, sigma), 1.5 * with_query - 0.5 * without, atol=1e-6
    )
