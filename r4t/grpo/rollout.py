"""What a tuner's step wrote, what it was worth, and the numbers that tell how tuning goes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.fanout.model import Fanouts
from r4t.geometry import distinct_count
from r4t.grpo.loss import flat_groups, group_spread
from r4t.reward import Reward
from r4t.sets import SetBatch


@dataclass(frozen=True)
class Rollout:
    """What the last training step wrote and what it was worth, for callbacks to read.

    Attributes:
        queries: B queries.
        texts: B·G completions; row b·G + g is completion g of query b.
        subqueries: Their sub-queries.
        rewards: (B·G,); NaN for one that could not be scored.
        components: Objective → raw scores (B·G,).
        advantages: (B·G,).
    """

    queries: list[Query]
    texts: list[str]
    subqueries: list[list[str]]
    rewards: Tensor
    components: dict[str, Tensor]
    advantages: Tensor


@dataclass(frozen=True)
class UpdateBatch:
    """What the updates on one rollout learn from; each row is a completion.

    Attributes:
        fanouts: n completions.
        advantages: (n,).
        mask: (n, T), 1 for a token that has a part in the loss.
        weights: (n,) of the tokens of each completion, by the loss's normalization.
    """

    fanouts: Fanouts
    advantages: Tensor
    mask: Tensor
    weights: Tensor


def rollout_numbers(
    rollout: Rollout, fanouts: Fanouts, sets: SetBatch, truncated: Tensor
) -> dict[str, Tensor]:
    """Return means over a rollout, by log key.

    Args:
        rollout: What was written, and its rewards.
        fanouts: Its tokens.
        sets: What was retrieved for it.
        truncated: (B·G,) bool, a completion that was cut off.

    Returns:
        ``train/reward/mean`` and, in the unit of the reward, ``train/reward/spread``: the mean
        deviation within a group; ``train/zero_variance/share`` of groups without any;
        ``train/tokens/mean`` of a completion; ``train/truncated/share``; ``train/parsed/share`` of
        completions with a sub-query; ``train/distinct_items/mean`` of a set.
    """
    grouped = rollout.rewards.view(len(rollout.queries), -1)
    parsed = torch.tensor([float(bool(texts)) for texts in fanouts.subqueries])
    return {
        "train/reward/mean": grouped.nanmean(),
        "train/reward/spread": group_spread(grouped).mean(),
        "train/zero_variance/share": flat_groups(grouped).float().mean(),
        "train/tokens/mean": fanouts.completion_mask.sum(1).float().mean(),
        "train/truncated/share": truncated.float().mean(),
        "train/parsed/share": parsed.mean(),
        "train/distinct_items/mean": distinct_count(sets.items).float().mean(),
    }


def component_numbers(rollout: Rollout, reward: Reward, step: int) -> dict[str, Tensor]:
    """Return, by log key, what each objective of a reward gave a rollout.

    Args:
        rollout: With its components.
        reward: That they are of.
        step: Optimizer steps made, which weights may depend on.

    Returns:
        Of each objective ``mean``, ``weighted`` (its part of the reward) and ``spread`` (mean
        deviation within a group); of partial ones, and of a reward with one, the share
        ``unscored``.
    """
    found = {}
    for name, part in reward.weighted(rollout.components, step).items():
        scores = rollout.components[name]
        found[f"train/{name}/mean"] = scores.nanmean()
        found[f"train/{name}/weighted"] = part.nanmean()
        found[f"train/{name}/spread"] = group_spread(scores.view(len(rollout.queries), -1)).mean()
        if reward.objectives[name].partial:
            found[f"train/{name}/unscored"] = scores.isnan().float().mean()
    if reward.partial:
        found["train/reward/unscored"] = rollout.rewards.isnan().float().mean()
    return found


def backend_gap(told: Tensor | None, own: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return how far the policy that sampled is from the one that the loss takes for it.

    Args:
        told: (n, T) log-probabilities as sampled; None if the model itself wrote.
        own: (n, T) log π_old, of the model.
        mask: (n, T), 1 for a sampled token.

    Returns:
        ``backend_gap``, the mean absolute difference in nats; nothing if the model itself wrote.

    Examples:
        >>> told, own = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-1.5, -1.9, -9.0]])
        >>> backend_gap(told, own, torch.tensor([[1, 1, 0]]))  # (0.5 + 0.1) / 2
        {'backend_gap': tensor(0.3000)}
    """
    if told is None:
        return {}
    apart = (told - own).abs() * mask
    return {"backend_gap": apart.sum() / mask.sum().clamp(min=1)}


def speed_numbers(seconds: dict[str, float], tokens: int) -> dict[str, float]:
    """Return, by log key, how long the parts of a step took and how fast it wrote.

    Args:
        seconds: Part → seconds; "generate" among them.
        tokens: Sampled in all completions.

    Returns:
        ``train/{part}/seconds``; ``train/step/seconds``, their sum; and
        ``train/generate/tokens_per_second``.

    Examples:
        >>> speed_numbers({"generate": 2.0, "update": 1.0}, 100)["train/generate/tokens_per_second"]
        50.0
    """
    found = {f"train/{part}/seconds": spent for part, spent in seconds.items()}
    found["train/step/seconds"] = sum(seconds.values())
    found["train/generate/tokens_per_second"] = tokens / max(seconds["generate"], 1e-9)
    return found
