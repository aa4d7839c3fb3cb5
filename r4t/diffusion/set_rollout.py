"""What a training step of a refiner tried, what it was worth, and the numbers to log."""

from dataclasses import dataclass

from torch import Tensor

from r4t.data.queries import Query
from r4t.diffusion.exploration import Tries
from r4t.geometry import distinct_count
from r4t.reward import Reward
from r4t.training.soft_grpo import flat_groups, group_spread


@dataclass(frozen=True)
class SetRollout:
    """G sets tried for each of B queries; row b·G + g of the flat tensors is set g of query b."""

    queries: list[Query]  # B
    vectors: Tensor  # (B, d)
    seeds: list[int]  # of the generated rows
    means: Tensor  # (B, k, d) directions around which the sets lie, with their gradient
    tries: Tries
    items: Tensor  # (B·G, k) catalog rows
    rewards: Tensor  # (B·G,), NaN for not scored
    components: dict[str, Tensor]  # objective → raw scores (B·G,)
    advantages: Tensor  # (B·G, k) of the members
    mask: Tensor  # (B·G, k), 1 for a member in the loss


def set_statistics(rollout: SetRollout, reward: Reward, step: int) -> dict[str, Tensor]:
    """Return means over a rollout that was scored with ``reward`` after ``step`` optimizer steps.

    Returns:
        ``train/reward/mean`` and ``train/reward/spread``, the mean deviation within a group;
        ``train/zero_variance/share`` of groups without any; for each objective ``mean``,
        ``weighted`` (its part of the reward) and, if it is partial, the share ``unscored``;
        ``train/distinct_items/mean`` per set; and, unless it never changes, the mean entropy of what
        is tried in place of a direction, ``train/entropy/mean``, in nats.
    """
    grouped = rollout.rewards.view(len(rollout.queries), -1)
    numbers = {
        "train/reward/mean": grouped.nanmean(),
        "train/reward/spread": group_spread(grouped).mean(),
        "train/zero_variance/share": flat_groups(grouped).float().mean(),
        "train/distinct_items/mean": distinct_count(rollout.items).float().mean(),
    }
    if rollout.tries.entropy is not None:
        numbers["train/entropy/mean"] = rollout.tries.entropy.mean()
    for name, part in reward.weighted(rollout.components, step).items():
        scores = rollout.components[name]
        numbers[f"train/{name}/mean"] = scores.nanmean()
        numbers[f"train/{name}/weighted"] = part.nanmean()
        if reward.objectives[name].partial:
            numbers[f"train/{name}/unscored"] = scores.isnan().float().mean()
    return numbers
