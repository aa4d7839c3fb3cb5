"""A raw network → a denoiser (EDM preconditioning, Karras et al. 2022) and its loss (eq. 9)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from r4t.diffusion.network import SetNetwork

# Rows (B, L, d) noised at sigma, () or (B,) → their clean estimate (B, L, d) for bound queries.
DenoiseFn = Callable[[Tensor, Tensor], Tensor]


def coefficients(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return inner, skip, out and noise of D(x; σ) = skip·x + out·F(inner·x; noise), shaped as sigma.

    They are EDM's, which keep the network's input and target at variance 1.

    Examples:
        >>> [round(c.item(), 4) for c in coefficients(torch.tensor(3.0), sigma_data=4.0)]
        [0.2, 0.64, 2.4, 0.2747]
    """
    total = (sigma.square() + sigma_data**2).sqrt()
    return 1 / total, (sigma_data / total).square(), sigma * sigma_data / total, sigma.log() / 4


def loss_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return λ(σ) = (σ² + σ_d²) / (σ σ_d)², the inverse square of the ``out`` coefficient."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def denoising_loss(
    denoise: DenoiseFn, rows: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float
) -> Tensor:
    """Loss (9) of each set: λ(σ) ‖D(Z + σε; σ, z_q) − Z‖², divided by the L·d coordinates.

    Args:
        denoise: D, bound to the queries of this batch.
        rows: Clean rows Z (B, L, d).
        sigma: Noise levels (B,).
        noise: Standard normal ε (B, L, d).
        sigma_data: Standard deviation of the coordinates of Z.

    Returns:
        (B,), about 1 for a network that returns 0, at any sigma.
    """
    noisy = rows + sigma[:, None, None] * noise
    error = (denoise(noisy, sigma) - rows).square().mean(dim=(1, 2))
    return loss_weight(sigma, sigma_data) * error


class Denoiser(nn.Module):
    """Clean-data prediction D by EDM preconditioning of a set network F.

    Args:
        network: F.
        sigma_data: Standard deviation of the coordinates of the clean rows.
    """

    def __init__(self, network: SetNetwork, sigma_data: float) -> None:
        super().__init__()
        self.network, self.sigma_data = network, sigma_data

    def forward(self, noisy: Tensor, sigma: Tensor, memory: Tensor) -> Tensor:
        """Denoise rows (B, L, d) at ``sigma``, () or (B,), given the queries' memory."""
        inner, skip, out, noise = coefficients(sigma.reshape(-1, 1, 1), self.sigma_data)
        raw = self.network(inner * noisy, noise.flatten(), memory)
        return skip * noisy + out * raw.to(noisy.dtype)

    def bind(self, condition: Tensor, dropped: Tensor | None = None) -> DenoiseFn:
        """Compute, once, what depends on the queries alone; arguments as in ``SetNetwork.memory``."""
        memory = self.network.memory(condition, dropped)
        return lambda noisy, sigma: self(noisy, sigma, memory)


def guided(denoise: DenoiseFn, weight: float) -> DenoiseFn:
    """Guide without a classifier: (1 + w)·conditional − w·unconditional, both in one batch.

    Args:
        denoise: Bound to 2·B conditions: B queries, then the same dropped.
        weight: w ≥ 0; 0 gives the conditional estimate.
    """

    def combined(noisy: Tensor, sigma: Tensor) -> Tensor:
        both_sigma = sigma if sigma.ndim == 0 else torch.cat([sigma, sigma])
        with_query, without = denoise(torch.cat([noisy, noisy]), both_sigma).chunk(2)
        return torch.lerp(without, with_query, 1 + weight)

    return combined
