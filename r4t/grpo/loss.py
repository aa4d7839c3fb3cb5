"""Rewards and log-probabilities → advantages (eq. 6) and the Soft-GRPO loss (eqs 7, 8)."""

from dataclasses import dataclass

import torch
from torch import Tensor


def group_advantage(rewards: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Group-relative advantage ``(r − μ_G) / (σ_G + ε)`` (paper, eq. 6).

    Args:
        rewards: (B, G), the G rollouts of each query; NaN for one that could not be scored: it
            has no part in μ and σ, and its advantage is 0.
        epsilon: Keeps a group without spread finite (its advantage is 0).

    Returns:
        (B, G); σ_G is the deviation with G − 1 in the denominator, as in TRL.

    Example:
        >>> group_advantage(torch.tensor([[1.0, 3.0]]), epsilon=0.0).tolist()
        [[-0.7071067690849304, 0.7071067690849304]]
    """
    return _centered(rewards) / (group_spread(rewards).unsqueeze(1) + epsilon)


def group_spread(rewards: Tensor) -> Tensor:
    """Deviation σ_G (B,) of the rewards of each group (B, G), without those that are NaN."""
    others = (~rewards.isnan()).sum(1) - 1
    return (_centered(rewards).square().sum(1) / others.clamp(min=1)).sqrt()


def _centered(rewards: Tensor) -> Tensor:
    """Rewards minus their group's mean; 0 for those that are NaN."""
    scored = ~rewards.isnan()
    mean = rewards.nansum(1, keepdim=True) / scored.sum(1, keepdim=True).clamp(min=1)
    return torch.where(scored, rewards - mean, 0.0)


@dataclass(frozen=True)
class SoftGRPO:
    """Soft-GRPO: the clipped ratio with two KL terms against the sampling policy (eq. 7).

    Args:
        clip: ε of the clipped ratio.
        kl_new_old: β1, weight of KL(π_θ‖π_old).
        kl_old_new: β2, weight of KL(π_old‖π_θ). At the sampling policy and with equal weights the
            gradients of both terms cancel exactly: they act from the second update on.
    """

    clip: float = 0.2
    kl_new_old: float = 0.05
    kl_old_new: float = 0.05

    def per_token(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """Loss of each token (paper, eq. 8).

        ``−min(ρA, clip(ρ, 1−ε, 1+ε)A) + β1·ρ·(log π_θ − log π_old) + β2·(−log π_θ)``

        Args:
            log_probs: (n, T) log π_θ.
            old_log_probs: (n, T) log π_old of the policy that sampled, without gradient.
            advantages: (n,) one a completion.

        Returns:
            (n, T).
        """
        log_ratio = log_probs - old_log_probs
        ratio = log_ratio.exp()  # ρ
        advantage = advantages.unsqueeze(1)
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        surrogate = torch.minimum(ratio * advantage, clipped * advantage)
        return -surrogate + self.kl_new_old * ratio * log_ratio + self.kl_old_new * -log_probs

    def __call__(
        self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor
    ) -> Tensor:
        """Sum of the token losses over ``mask`` (n, T); divide by the number of tokens for E_t."""
        return (self.per_token(log_probs, old_log_probs, advantages) * mask).sum()


def policy_statistics(
    log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, clip: float
) -> dict[str, Tensor]:
    """Token means of both KL divergences (k3 estimates under π_old) and of the clipped share.

    Args:
        log_probs: (n, T) log π_θ.
        old_log_probs: (n, T) log π_old.
        mask: (n, T), 1 for a token that counts.
        clip: ε; a token is clipped where ρ leaves [1 − ε, 1 + ε].
    """
    log_ratio = (log_probs - old_log_probs).detach()
    ratio = log_ratio.exp()
    tokens = mask.sum().clamp(min=1)
    terms = {
        "kl_new_old": ratio * log_ratio - (ratio - 1),
        "kl_old_new": (ratio - 1) - log_ratio,
        "clipped": ((ratio - 1).abs() > clip).float(),
    }
    return {name: (term * mask).sum() / tokens for name, term in terms.items()}
