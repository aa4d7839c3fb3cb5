"""Rewards, credits and log-probabilities → advantages (eq. 6) and the Soft-GRPO loss (eqs 7, 8)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.errors import InputError, check_least, nearest


def group_advantage(rewards: Tensor, epsilon: float = 1e-4, scale: bool = True) -> Tensor:
    """Group-relative advantage ``(r − μ_G) / (σ_G + ε)`` (paper, eq. 6).

    Args:
        rewards: (B, G), the G rollouts of each query. NaN means not scored: such a rollout does
            not count in μ and σ, and its advantage is 0.
        epsilon: Added to σ_G. For any ε, a group without spread (``flat_groups``) has advantage 0.
        scale: Whether to divide. True is TRL's ``scale_rewards="group"``; False is its ``"none"``,
            ``r − μ_G`` (Dr. GRPO), which does not favor queries whose rollouts agree.

    Returns:
        (B, G); σ_G has G − 1 in the denominator, as in TRL.

    Examples:
        >>> group_advantage(torch.tensor([[1.0, 3.0]]), epsilon=0.0).tolist()
        [[-0.7071067690849304, 0.7071067690849304]]
        >>> group_advantage(torch.tensor([[1.0, 3.0]]), scale=False).tolist()
        [[-1.0, 1.0]]
    """
    advantages = _centered(rewards)
    if scale:
        advantages = advantages / (group_spread(rewards).unsqueeze(1) + epsilon)
    return torch.where(flat_groups(rewards).unsqueeze(1), 0.0, advantages)


def member_advantage(credits: Tensor, by_place: bool, scale: bool = True) -> Tensor:
    """Group-relative advantage of each member of a set: its credit compared with other members'.

    Args:
        credits: (B, G, k) of the members of G sets of each query; NaN for a missing member.
        by_place: Whether member i is compared with the members at place i alone. A retriever's row i
            is drawn around the same mean in all sets of a query, so that this baseline removes most
            noise; a language model's lists have no fixed places, so all G·k members of a query are
            compared.
        scale: As in ``group_advantage``.

    Returns:
        (B, G, k), 0 for a missing member.

    Examples:
        >>> credits = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
        >>> member_advantage(credits, by_place=True, scale=False).tolist()
        [[[-1.0, 0.0], [1.0, 0.0]]]
        >>> member_advantage(credits, by_place=False, scale=False).tolist()
        [[[-2.5, 1.5], [-0.5, 1.5]]]
    """
    batch, group, width = credits.shape
    if not by_place:
        return group_advantage(credits.flatten(1), scale=scale).view(batch, group, width)
    places = credits.transpose(1, 2).flatten(0, 1)  # (B · k, G)
    return group_advantage(places, scale=scale).view(batch, width, group).transpose(1, 2)


def group_spread(rewards: Tensor) -> Tensor:
    """Deviation σ_G (B,) of the rewards of each group (B, G), ignoring NaN."""
    others = (~rewards.isnan()).sum(1) - 1
    return (_centered(rewards).square().sum(1) / others.clamp(min=1)).sqrt()


def flat_groups(rewards: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Return (B,) whether all rewards (B, G) of a group are equal; NaN means not scored.

    A group with fewer than two scored rollouts is flat. Differences up to ``tolerance``, as a share
    of the largest |reward| of the group, count as rounding (8 times float32's precision).

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
    """Rewards minus their group's mean; 0 for NaN."""
    scored = ~rewards.isnan()
    mean = rewards.nansum(1, keepdim=True) / scored.sum(1, keepdim=True).clamp(min=1)
    return torch.where(scored, rewards - mean, 0.0)


@dataclass(frozen=True)
class TokenCounts:
    """What the loss averages over."""

    lengths: Tensor  # (n,) tokens in the loss of each of this rank's completions
    tokens: Tensor  # their sum over all ranks
    ranks: int  # whose gradients are averaged
    limit: int  # longest completion that could be sampled, in tokens


def grpo(counts: TokenCounts) -> Tensor:
    """Mean over completions of the mean over their tokens (DeepSeekMath): ``1 / (n · |o_i|)``."""
    return 1 / (len(counts.lengths) * counts.lengths.clamp(min=1))


def bnpo(counts: TokenCounts) -> Tensor:
    """Mean over the tokens of this rank's completions, ``1 / Σ|o|``; all ranks weigh the same."""
    return (1 / counts.lengths.sum().clamp(min=1)).expand(len(counts.lengths))


def dr_grpo(counts: TokenCounts) -> Tensor:
    """Sum over the tokens that n completions can hold (Dr. GRPO): ``1 / (n · limit)``."""
    lengths = counts.lengths
    return torch.full(lengths.shape, 1 / (len(lengths) * counts.limit), device=lengths.device)


def dapo(counts: TokenCounts) -> Tensor:
    """Mean over the tokens of all ranks (DAPO): ``ranks / Σ|o|``, as gradients are averaged."""
    return (counts.ranks / counts.tokens.clamp(min=1)).expand(len(counts.lengths))


# Name → weight (n,) of the tokens of each completion, computed once for a rollout, so that the
# gradient does not depend on its micro-batches.
NORMALIZATIONS: dict[str, Callable[[TokenCounts], Tensor]] = {
    rule.__name__: rule for rule in (grpo, bnpo, dr_grpo, dapo)
}


@dataclass(frozen=True)
class SoftGRPO:
    """Soft-GRPO: the clipped ratio with two KL terms against the sampling policy (eq. 7).

    Rollouts that were not scored are left out of the loss, KL terms included. Unparsable
    completions are not: their reward is the weighted sum of every objective's lower bound.

    Args:
        clip: ε of the clipped ratio, above 0.
        kl_new_old: β1, weight of KL(π_θ‖π_old), at least 0.
        kl_old_new: β2, weight of KL(π_old‖π_θ), at least 0. At the sampling policy and with equal
            weights the gradients of both terms cancel exactly: they act from the second update on.
        normalization: What the token losses are divided by, in TRL's terms. ``dapo``: all tokens
            of all ranks, the E_t of eq. 8. ``bnpo``: the tokens of one rank. ``grpo``: each
            completion counts the same, so a token of a short one weighs more. ``dr_grpo``: the
            tokens that could have been sampled, so that length neither pays nor costs. The last two
            still count completions that are left out of the loss, as TRL does.
        scale_rewards: Whether advantages are divided by their group's deviation.
        skip_flat_groups: Whether groups of equal rewards are left out of the loss. Their advantage
            is 0 either way; False keeps their KL terms, which eq. 8 has on every token and which
            hold the policy in place where the reward says nothing.
        mask_truncated: Whether completions cut off at the limit are left out of the loss (TRL's
            ``mask_truncated_completions``). Their rewards still count in their group's mean and
            deviation.
        group_size: Rollouts G per query, at least 2.
        updates: Optimizer steps on each rollout, at least 1.
        micro_batch: Completions in one forward pass, at least 1; changes no gradient.

    Raises:
        InputError: If the normalization is unknown or a number is out of its range.
    """

    clip: float = 0.2
    kl_new_old: float = 0.05
    kl_old_new: float = 0.05
    normalization: str = "dapo"
    scale_rewards: bool = True
    skip_flat_groups: bool = False
    mask_truncated: bool = False
    group_size: int = 8
    updates: int = 2
    micro_batch: int = 64

    def __post_init__(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            raise InputError(
                expected=f"a normalization among {sorted(NORMALIZATIONS)}",
                found=f"'{self.normalization}'",
                remedy=f"Choose one of them.{nearest(self.normalization, NORMALIZATIONS)}",
            )
        if not 0 < self.clip < math.inf:
            raise InputError(expected="clip above 0", found=f"{self.clip}", remedy="Use 0.2.")
        for name in ("kl_new_old", "kl_old_new"):
            if not 0 <= (weight := getattr(self, name)) < math.inf:
                raise InputError(
                    expected=f"{name} of at least 0", found=f"{weight}", remedy="Use 0.05."
                )
        if self.group_size < 2:
            expected = "group_size of at least 2, as advantages compare the rollouts of a query"
            raise InputError(expected=expected, found=f"{self.group_size}", remedy="Use 8.")
        check_least({"updates": (self.updates, 1), "micro_batch": (self.micro_batch, 1)})

    def advantages(self, rewards: Tensor) -> Tensor:
        """Return the advantage (B, G) of each rollout (eq. 6); NaN rewards mean not scored."""
        return group_advantage(rewards, scale=self.scale_rewards)

    def takes_part(self, rewards: Tensor, truncated: Tensor) -> Tensor:
        """Return (B, G) whether each rollout is in the loss, given rewards and cut-offs (B, G)."""
        included = ~rewards.isnan()
        if self.skip_flat_groups:
            included = included & ~flat_groups(rewards).unsqueeze(1)
        return included & ~truncated if self.mask_truncated else included

    def weights(self, counts: TokenCounts) -> Tensor:
        """Return the weight (n,) of the tokens of each completion by the normalization."""
        return NORMALIZATIONS[self.normalization](counts)

    def per_token(self, log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor) -> Tensor:
        """Return the loss (n, T) of each token (paper, eq. 8); arguments as in ``__call__``.

        ``−min(ρA, clip(ρ, 1−ε, 1+ε)A) + β1·ρ·(log π_θ − log π_old) + β2·(−log π_θ)``
        """
        log_ratio = log_probs - old_log_probs
        ratio = log_ratio.exp()  # ρ
        advantage = advantages.unsqueeze(1) if advantages.ndim == 1 else advantages
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
            old_log_probs: (n, T) log π_old of the policy that sampled, without gradient.
            advantages: (n,) one per completion, or (n, T) one per token.
            mask: (n, T), 1 for a token in the loss; the others may hold anything.
            weights: (n,) of the tokens of each completion.
        """
        # The ratio of a masked token may overflow, and 0 · ∞ is not 0.
        log_probs = torch.where(mask > 0, log_probs, old_log_probs)
        losses = self.per_token(log_probs, old_log_probs, advantages)
        return (losses * mask * weights.unsqueeze(1)).sum()
