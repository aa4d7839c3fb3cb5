"""A raw network → a denoiser (EDM preconditioning, Karras et al. 2022) and its loss (eq. 9)."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from r4t.diffusion.network import SetNetwork


class DenoiseFn(Protocol):
    """Estimates clean rows from noisy ones, for conditions that are already bound."""

    def __call__(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Map rows (B, L, d) noised at ``sigma``, () or (B,), to their clean estimate (B, L, d)."""
        ...


class Coefficients(NamedTuple):
    """``D(x; σ) = skip·x + out·F(inner·x; noise)``, each () or (B,) like sigma."""

    inner: Tensor
    skip: Tensor
    out: Tensor
    noise: Tensor


def coefficients(sigma: Tensor, sigma_data: float) -> Coefficients:
    """Return EDM's coefficients, which keep the network's input and target at variance 1.

    Examples:
        >>> [round(c.item(), 4) for c in coefficients(torch.tensor(3.0), sigma_data=4.0)]
        [0.2, 0.64, 2.4, 0.2747]
    """
    total = (sigma.square() + sigma_data**2).sqrt()
    return Coefficients(
        inner=1 / total,
        skip=(sigma_data / total).square(),
        out=sigma * sigma_data / total,
        noise=sigma.log() / 4,
    )


def loss_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return λ(σ) = (σ² + σ_d²) / (σ σ_d)², the inverse square of the ``out`` coefficient."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def denoising_loss(
    denoise: DenoiseFn, rows: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float
) -> Tensor:
    """Loss (9) of each set: λ(σ) ‖D(Z + σε; σ, z_q) − Z‖², divided by the L·d coordinates.

    Args:
        denoise: D, with the queries of this batch as its condition.
        rows: Clean rows Z (B, L, d).
        sigma: Noise levels (B,).
        noise: Standard normal ε (B, L, d).
        sigma_data: Standard deviation of the coordinates of Z.

    Returns:
        (B,), about 1 for a network that returns 0, whatever sigma.
    """
    noisy = rows + sigma[:, None, None] * noise
    error = (denoise(noisy, sigma) - rows).square().mean(dim=(1, 2))
    return loss_weight(sigma, sigma_data) * error


class Denoiser(nn.Module):
    """Clean-data prediction D by EDM preconditioning of a set network F.

    Args:
        network: F, see ``r4t.diffusion.network``.
        sigma_data: Standard deviation of the coordinates of the clean rows.
    """

    def __init__(self, network: SetNetwork, sigma_data: float) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, noisy: Tensor, sigma: Tensor, memory: Tensor) -> Tensor:
        """Denoise rows (B, L, d) at ``sigma``, () or (B,), given the queries' memory."""
        inner, skip, out, noise = coefficients(sigma.reshape(-1, 1, 1), self.sigma_data)
        raw = self.network(inner * noisy, noise.flatten(), memory)
        return skip * noisy + out * raw.to(noisy.dtype)

    def bind(self, condition: Tensor, dropped: Tensor | None = None) -> DenoiseFn:
        """Bind the queries (B, d); ``dropped`` (B,) bool marks those replaced by the null condition.

        What depends on the queries alone is computed here, once.
        """
        memory = self.network.memory(condition, dropped)
        return lambda noisy, sigma: self(noisy, sigma, memory)


def guided(denoise: DenoiseFn, weight: float) -> DenoiseFn:
    """Classifier-free guidance (1 + w)·conditional − w·unconditional, both in one batch.

    Args:
        denoise: Bound to 2·B conditions: B queries, then B dropped ones.
        weight: w ≥ 0; 0 gives the conditional estimate.
    """

    def combined(noisy: Tensor, sigma: Tensor) -> Tensor:
        both_sigma = sigma if sigma.ndim == 0 else torch.cat([sigma, sigma])
        with_query, without = denoise(torch.cat([noisy, noisy]), both_sigma).chunk(2)
        return torch.lerp(without, with_query, 1 + weight)

    return combined
