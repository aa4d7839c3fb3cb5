"""Modules that learn from rollouts (try, score, update), and the callbacks that read these."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import distinct_count
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.randomness import random_states, set_random_states
from r4t.training.learning_rate import ScheduledModule
from r4t.training.soft_grpo import SoftGRPO, flat_groups, group_spread


class Rollout(Protocol):
    """What every rollout has: G lists tried for each of B queries, row b·G + g for list g of query b."""

    @property
    def queries(self) -> Sequence[Query]:
        """The B queries."""

    @property
    def items(self) -> Tensor:
        """Catalog rows (B·G, k) that were retrieved, −1 for a missing member."""

    @property
    def rewards(self) -> Tensor:
        """Rewards (B·G,), NaN for not scored."""

    @property
    def components(self) -> dict[str, Tensor]:
        """Objective → raw scores (B·G,)."""


def reward_statistics(rollout: Rollout, reward: Reward, step: int) -> dict[str, Tensor]:
    """Return means over a rollout that was scored with ``reward`` after ``step`` optimizer steps.

    Returns:
        ``train/reward/mean`` and, in the unit of the reward, ``train/reward/spread``, the mean
        deviation within a group; ``train/zero_variance/share`` of groups without any. For each
        objective ``mean`` and ``weighted`` (its part of the reward); for partial ones the share
        ``unscored``. ``train/distinct_items/mean`` per set.
    """
    grouped = rollout.rewards.view(len(rollout.queries), -1)
    numbers = {
        "train/reward/mean": grouped.nanmean(),
        "train/reward/spread": group_spread(grouped).mean(),
        "train/zero_variance/share": flat_groups(grouped).float().mean(),
        "train/distinct_items/mean": distinct_count(rollout.items).float().mean(),
    }
    for name, part in reward.weighted(rollout.components, step).items():
        scores = rollout.components[name]
        numbers[f"train/{name}/mean"] = scores.nanmean()
        numbers[f"train/{name}/weighted"] = part.nanmean()
        if reward.objectives[name].partial:
            numbers[f"train/{name}/unscored"] = scores.isnan().float().mean()
    return numbers


class RolloutModule(ScheduledModule, ABC):
    """Makes ``grpo.updates`` optimizer steps on each rollout; a training step is one rollout.

    ``global_step``, ``max_steps`` and the schedule count optimizer steps.
    """

    grpo: SoftGRPO
    rollout: Any = None  # the last ``Rollout``

    @property
    def last_step(self) -> float:
        """Optimizer step at which training ends: Lightning's estimate counts each rollout once."""
        steps, limit = self.trainer.estimated_stepping_batches, self.trainer.max_steps
        steps *= self.grpo.updates
        return min(steps, limit) if limit >= 0 else steps

    @abstractmethod
    def exchange(self, rows: Sequence[int]) -> SetBatch:
        """Give each of n queries what was tried for each of them.

        Args:
            rows: n rows of the last rollout, each of another query.

        Returns:
            n·n sets; row i·n + j is the query of the i-th row with what the j-th row tried.
        """

    def rollout_metrics(self) -> dict[str, float]:
        """Return what a watchdog should know of the last rollout besides what is logged."""
        return {}

    def weights_replaced(self) -> None:
        """Called when a callback has replaced the weights."""
        return


class RolloutCallback(Callback):
    """Reads the rollouts of a module, and refuses a module without any (``InputError``)."""

    reads: tuple[str, ...] = ("rollout",)  # attributes of the module
    modules = "a FanoutTuner or a RetrieverRefiner"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module, and begin a fit."""
        if stage != "fit":
            return
        if not all(hasattr(pl_module, name) for name in self.reads):
            raise InputError(
                expected=f"{self.modules}, whose rollouts {type(self).__name__} reads",
                found=f"a {type(pl_module).__name__}",
                remedy="Remove the callback from this step.",
            )
        self.reset(pl_module)

    def reset(self, module: Any) -> None:
        """Forget an earlier fit."""


@contextmanager
def unnoticed(searcher: Searcher) -> Iterator[None]:
    """Leave random states as they were, and counters and times of the searcher at 0."""
    states = random_states(torch.device("cpu"))
    yield
    set_random_states(states, torch.device("cpu"))
    for counter in (searcher.watch, searcher.vectors, searcher.neighbors):
        if counter is not None:
            counter.take()
