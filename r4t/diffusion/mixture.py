"""k directions as a mixture that draws items: the log-probability of items and of target vectors."""

import math

from torch import Tensor


def log_draws(directions: Tensor, items: Tensor, temperature: float) -> Tensor:
    """Return log ``softmax_y(d·e_y / τ)`` (B, k, N): how a direction d draws an item y.

    Directions are (B, k, d) and items (N, d) unit vectors.
    """
    return (directions @ items.T / temperature).log_softmax(-1)


def log_mixture(directions: Tensor, targets: Tensor, items: Tensor, temperature: float) -> Tensor:
    """Return log P(y) (B, L) of L target vectors y of each query.

    ``P(y) = (1/k) Σ_j exp(d_j·y / τ) / Σ_c exp(d_j·e_c / τ)``: one of the k directions, at random, draws
    one of the items c.

    Args:
        directions: (B, k, d) unit vectors d.
        targets: (B, L, d) unit vectors y, those of items or of sub-queries.
        items: (N, d) unit vectors e.
        temperature: τ, above 0.
    """
    total = (directions @ items.T / temperature).logsumexp(-1, keepdim=True)  # (B, k, 1)
    draws = directions @ targets.mT / temperature - total  # (B, k, L)
    return draws.logsumexp(1) - math.log(directions.shape[1])
