"""What a training step of a refiner tried, what it was worth, and the numbers to log."""

from dataclasses import dataclass

from torch import Tensor

from r4t.data.queries import Query
from r4t.diffusion.exploration import Tries
from r4t.reward import Reward
from r4t.training.rollouts import reward_statistics


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
        Those of ``reward_statistics``; and, unless it never changes, the mean entropy of what is tried
        in place of a direction, ``train/entropy/mean``, in nats.
    """
    numbers = reward_statistics(rollout, reward, step)
    if rollout.tries.entropy is not None:
        numbers["train/entropy/mean"] = rollout.tries.entropy.mean()
    return numbers
