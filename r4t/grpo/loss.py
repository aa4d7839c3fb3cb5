"""Rewards and log-probabilities → advantages (eq. 6) and the Soft-GRPO loss (eqs 7, 8)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.errors import InputError, nearest


def group_advantage(rewards: Tensor, epsilon: float = 1e-4, scale: bool = True) -> Tensor:
    """Group-relative advantage ``(r − μ_G) / (σ_G + ε)`` (paper, eq. 6).

    Args:
        rewards: (B, G), the G rollouts of each query; NaN for one that could not be scored: it
            has no part in μ and σ, and its advantage is 0.
        epsilon: Added to σ_G. A group without spread (``flat_groups``) has advantage 0 whatever
            it is, also where rounding leaves a trace of a difference.
        scale: Whether to divide: yes is TRL's ``scale_rewards="group"``; no is its ``"none"``,
            ``r − μ_G`` (Dr. GRPO), which does not weigh queries up because their rollouts agree.

    Returns:
        (B, G); σ_G is the deviation with G − 1 in the denominator, as in TRL.

    Examples:
        >>> group_advantage(torch.tensor([[1.0, 3.0]]), epsilon=0.0).tolist()
        [[-0.7071067690849304, 0.7071067690849304]]
        >>> group_advantage(torch.tensor([[1.0, 3.0]]), scale=False).tolist()
        [[-1.0, 1.0]]
    """
    found = _centered(rewards)
    if scale:
        found = found / (group_spread(rewards).unsqueeze(1) + epsilon)
    return torch.where(flat_groups(rewards).unsqueeze(1), 0.0, found)


def group_spread(rewards: Tensor) -> Tensor:
    """Deviation σ_G (B,) of the rewards of each group (B, G), without those that are NaN."""
    others = (~rewards.isnan()).sum(1) - 1
    return (_centered(rewards).square().sum(1) / others.clamp(min=1)).sqrt()


def flat_groups(rewards: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Whether a group has nothing to compare: all its rewards are equal.

    Args:
        rewards: (B, G), NaN for a rollout that could not be scored; with fewer than two that
            could, a group is flat.
        tolerance: Largest difference that counts as rounding, as a share of the largest |reward|
            of the group; the default is about 8 times the precision of float32.

    Returns:
        (B,) bool.

    Examples:
        >>> flat_groups(torch.tensor([[0.1, 0.1, torch.nan], [0.1, 0.2, torch.nan]])).tolist()
        [True, False]
    """
    scored = ~rewards.isnan()
    highest = torch.where(scored, rewards, -torch.inf).amax(1)
    lowest = torch.where(scored, rewards, torch.inf).amin(1)
    largest = torch.where(scored, rewards.abs(), 0.0).amax(1)
    return highest - lowest <= tolerance * largest


def _centered(rewards: Tensor) -> Tensor:
    """Rewards minus their group's mean; 0 for those that are NaN."""
    scored = ~rewards.isnan()
    mean = rewards.nansum(1, keepdim=True) / scored.sum(1, keepdim=True).clamp(min=1)
    return torch.where(scored, rewards - mean, 0.0)


@dataclass(frozen=True)
class TokenCounts:
    """How much there is to average over, on this rank and on all of them.

    Attributes:
        lengths: (n,) tokens of each of this rank's completions that count, 0 for a completion
            that left the loss.
        tokens: Their sum over all ranks.
        ranks: How many ranks there are, whose gradients are averaged.
        limit: Longest completion that could be sampled, in tokens.
    """

    lengths: Tensor
    tokens: Tensor
    ranks: int
    limit: int


def grpo(extent: TokenCounts) -> Tensor:
    """Mean over completions of the mean over their tokens (DeepSeekMath): ``1 / (n · |o_i|)``."""
    return 1 / (len(extent.lengths) * extent.lengths.clamp(min=1))


def bnpo(extent: TokenCounts) -> Tensor:
    """Mean over the tokens of this rank's completions: ``1 / Σ|o|``, ranks counting alike."""
    return (1 / extent.lengths.sum().clamp(min=1)).expand(len(extent.lengths))


def dr_grpo(extent: TokenCounts) -> Tensor:
    """Sum over what n completions could have held (Dr. GRPO): ``1 / (n · limit)``."""
    lengths = extent.lengths
    return torch.full(lengths.shape, 1 / (len(lengths) * extent.limit), device=lengths.device)


def dapo(extent: TokenCounts) -> Tensor:
    """Mean over the tokens of all ranks (DAPO): ``ranks / Σ|o|``, as gradients are averaged."""
    return (extent.ranks / extent.tokens.clamp(min=1)).expand(len(extent.lengths))


# Name → weight (n,) of the tokens of each completion. The weights of a rollout are found once, so
# that the gradient is the same however it is cut into micro-batches.
NORMALIZATIONS: dict[str, Callable[[TokenCounts], Tensor]] = {
    rule.__name__: rule for rule in (grpo, bnpo, dr_grpo, dapo)
}


@dataclass(frozen=True)
class SoftGRPO:
    """Soft-GRPO: the clipped ratio with two KL terms against the sampling policy (eq. 7).

    A rollout without a reward has no part in the loss, the KL terms included. An unparsable
    completion has one: its reward is made of the lower bound of every objective.

    Args:
        clip: ε of the clipped ratio, above 0.
        kl_new_old: β1, weight of KL(π_θ‖π_old), at least 0.
        kl_old_new: β2, weight of KL(π_old‖π_θ), at least 0. At the sampling policy and with equal
            weights the gradients of both terms cancel exactly: they act from the second update on.
        normalization: What the token losses are divided by, as TRL names it. ``dapo``: all tokens
            of all ranks, the E_t of eq. 8, so that ranks do not matter. ``bnpo``: the tokens of
            one rank; the same as ``dapo`` on one process. ``grpo``: each completion counts alike,
            so a token of a short one weighs more. ``dr_grpo``: the tokens that could have been
            sampled, so that length neither pays nor costs. What left the loss has no tokens, but
            ``grpo`` and ``dr_grpo`` still count it among the completions, as TRL does.
        scale_rewards: Whether advantages are divided by their group's deviation
            (``group_advantage``).
        skip_flat_groups: Whether a group of equal rewards leaves the loss. Its advantage is 0 in
            any case; by default the KL terms of its tokens stay, because eq. 8 has them on every
            token: they hold the policy where the reward has nothing to say. True leaves them out,
            and its tokens out of the count.
        mask_truncated: Whether a completion without an end within the limit leaves the loss
            (TRL's ``mask_truncated_completions``). Its reward stays in its group's mean and
            deviation. By default it stays: its parsed part was retrieved and scored.

    Raises:
        InputError: The normalization is unknown, ε is not above 0, or a weight is below 0.
    """

    clip: float = 0.2
    kl_new_old: float = 0.05
    kl_old_new: float = 0.05
    normalization: str = "dapo"
    scale_rewards: bool = True
    skip_flat_groups: bool = False
    mask_truncated: bool = False

    def __post_init__(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            raise InputError(
                f"A normalization must be one of {sorted(NORMALIZATIONS)}, found "
                f"'{self.normalization}'; correct it.{nearest(self.normalization, NORMALIZATIONS)}"
            )
        if not 0 < self.clip < math.inf:
            raise InputError(f"clip must be above 0, found {self.clip}; 0.2 is the paper's.")
        for name in ("kl_new_old", "kl_old_new"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"{name} must be at least 0, found {getattr(self, name)}; 0.05 is the paper's."
                )

    def advantages(self, rewards: Tensor) -> Tensor:
        """Return the advantage (B, G) of each rollout (eq. 6), NaN standing for unscored."""
        return group_advantage(rewards, scale=self.scale_rewards)

    def takes_part(self, rewards: Tensor, truncated: Tensor) -> Tensor:
        """Return whether each rollout (B, G) has a part in the loss, KL terms included.

        Args:
            rewards: (B, G), NaN for unscored.
            truncated: (B, G) bool, a completion without an end.
        """
        found = ~rewards.isnan()
        if self.skip_flat_groups:
            found = found & ~flat_groups(rewards).unsqueeze(1)
        return found & ~truncated if self.mask_truncated else found

    def weights(self, extent: TokenCounts) -> Tensor:
        """Return the weight (n,) of the tokens of each completion by the normalization."""
        return NORMALIZATIONS[self.normalization](extent)

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
        self,
        log_probs: Tensor,
        old_log_probs: Tensor,
        advantages: Tensor,
        mask: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """Return the weighted sum of the token losses; micro-batches add up to their batch.

        Args:
            log_probs: (n, T) log π_θ.
            old_log_probs: (n, T) log π_old, without gradient.
            advantages: (n,) one a completion.
            mask: (n, T), 1 for a token that counts; what the others hold does not matter.
            weights: (n,) of the tokens of each completion.
        """
        # The ratio of a token that does not count may overflow, and 0 · ∞ is not 0.
        log_probs = torch.where(mask > 0, log_probs, old_log_probs)
        losses = self.per_token(log_probs, old_log_probs, advantages)
        return (losses * mask * weights.unsqueeze(1)).sum()


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
    zero = torch.zeros_like(ratio)
    return {
        name: (torch.where(mask > 0, term, zero)).sum() / tokens for name, term in terms.items()
    }
