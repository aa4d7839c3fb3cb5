"""A rollout and the updates on it → numbers to log, by log key."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from r4t.grpo.monitor.gaming import gaming
from r4t.grpo.rollout import Rollout
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.training.rollouts import RolloutCallback, reward_statistics
from r4t.training.soft_grpo import group_spread


def rollout_statistics(rollout: Rollout, reward: Reward, step: int) -> dict[str, Tensor]:
    """Return means over a rollout that was scored with ``reward`` after ``step`` optimizer steps.

    Returns:
        Those of ``reward_statistics``; for each objective ``spread``, the mean deviation within a
        group; for a reward with a partial one the share ``unscored``. ``train/tokens/mean`` per
        completion, ``train/truncated/share``, and ``train/parsed/share`` of completions with a
        sub-query.
    """
    queries, fanouts = len(rollout.queries), rollout.fanouts
    parsed = torch.tensor([float(bool(texts)) for texts in fanouts.subqueries])
    numbers = reward_statistics(rollout, reward, step) | {
        "train/tokens/mean": fanouts.completion_mask.sum(1).float().mean(),
        "train/truncated/share": rollout.truncated.float().mean(),
        "train/parsed/share": parsed.mean(),
    }
    for name, scores in rollout.components.items():
        numbers[f"train/{name}/spread"] = group_spread(scores.view(queries, -1)).mean()
    if reward.partial:
        numbers["train/reward/unscored"] = rollout.rewards.isnan().float().mean()
    return numbers


def policy_statistics(
    log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, clip: float
) -> dict[str, Tensor]:
    """Return token means of both KL divergences (k3 estimates under π_old) and the clipped share.

    Arguments are log π_θ and log π_old (n, T), the mask (n, T) of the tokens that count, and ε; a
    token is clipped if ρ leaves [1 − ε, 1 + ε].
    """
    log_ratio = (log_probs - old_log_probs).detach()
    ratio = log_ratio.exp()
    terms = {
        "kl_new_old": ratio * log_ratio - (ratio - 1),
        "kl_old_new": (ratio - 1) - log_ratio,
        "clipped": ((ratio - 1).abs() > clip).float(),
    }
    tokens, zero = mask.sum().clamp(min=1), torch.zeros_like(ratio)
    return {
        f"train/{name}/mean": torch.where(mask > 0, term, zero).sum() / tokens
        for name, term in terms.items()
    }


def backend_gap(sampled: Tensor | None, model: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return how far the policy that sampled is from the one that the loss takes for it.

    Args:
        sampled: (n, T) log-probabilities from the backend; None if the model itself wrote.
        model: (n, T) log π_old of the model.
        mask: (n, T), 1 for a sampled token.

    Returns:
        ``train/backend_gap/mean``, the mean absolute difference in nats, if there are two policies.

    Examples:
        >>> sampled, model = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-1.5, -1.9, -9.0]])
        >>> backend_gap(sampled, model, torch.tensor([[1, 1, 0]]))  # (0.5 + 0.1) / 2
        {'train/backend_gap/mean': tensor(0.3000)}
    """
    if sampled is None:
        return {}
    gaps = (sampled - model).abs() * mask
    return {"train/backend_gap/mean": gaps.sum() / mask.sum().clamp(min=1)}


def speed_statistics(
    seconds: Mapping[str, float], tokens: int, searcher: Searcher
) -> dict[str, float]:
    """Return where the time of a step went, and let the searcher's caches count anew.

    Returns:
        ``train/{part}/seconds``; their sum ``train/step/seconds``; of the sampled tokens
        ``train/generate/tokens_per_second``; and, if there are caches,
        ``train/{encode, search}/hits``, the share of sub-queries that were cached.
    """
    numbers = {f"train/{part}/seconds": spent for part, spent in seconds.items()}
    numbers["train/step/seconds"] = sum(seconds.values())
    numbers["train/generate/tokens_per_second"] = tokens / max(seconds["generate"], 1e-9)
    for part, cache in (("encode", searcher.vectors), ("search", searcher.neighbors)):
        if cache is not None:
            requested, computed = cache.take()
            numbers[f"train/{part}/hits"] = 1 - computed / requested if requested else 0.0
    return numbers


def gaming_statistics(rollout: Rollout) -> dict[str, float]:
    """Return the shares of ``r4t.grpo.monitor.gaming`` for a rollout."""
    return gaming([query.text for query in rollout.queries], rollout.fanouts.subqueries)


class FanoutCallback(RolloutCallback):
    """Reads the rollouts of a ``FanoutTuner``, and refuses any other module (``InputError``)."""

    reads = ("rollout", "fanout")
    modules = "a FanoutTuner"


class FanoutStatistics(FanoutCallback):
    """Logs, for each process's rollouts, signs that a reward is gamed (``monitor.gaming``)."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        """Log the shares of the last rollout."""
        rollout = pl_module.rollout
        pl_module.log_dict(gaming_statistics(rollout), batch_size=len(rollout.queries))
