"""A trainer in the middle of a fit ↔ what it learned so far, on the CPU."""

import copy
from dataclasses import dataclass, fields
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


@dataclass(frozen=True)
class Snapshot:
    """Trainable weights, optimizers and schedules at one moment, on the CPU.

    Attributes:
        rollout: After which rollout of the run; 0 is before the first.
        rows: Rollouts that the windows held.
        weights: Parameter name → value, of what is trained (with LoRA, the adapters alone).
        optimizers: State of each optimizer.
        schedules: State of each schedule.
    """

    rollout: int
    rows: int
    weights: dict[str, Tensor]
    optimizers: list[dict[str, Any]]
    schedules: list[dict[str, Any]]

    @classmethod
    def take(cls, trainer: Trainer, module: LightningModule, rollout: int, rows: int) -> "Snapshot":
        """Copy what the next update will change."""
        return cls(
            rollout=rollout,
            rows=rows,
            weights=_copied({name: found.detach() for name, found in _trained(module).items()}),
            optimizers=[_copied(optimizer.state_dict()) for optimizer in trainer.optimizers],
            schedules=[copy.deepcopy(schedule.state_dict()) for schedule in _schedules(trainer)],
        )

    def restore(self, trainer: Trainer, module: LightningModule) -> None:
        """Put everything back; the snapshot stays as it is."""
        with torch.no_grad():
            for name, parameter in _trained(module).items():
                parameter.copy_(self.weights[name])
        # An optimizer would go on in the very tensors that it is given.
        for optimizer, state in zip(trainer.optimizers, self.optimizers):
            optimizer.load_state_dict(_copied(state))
        for schedule, state in zip(_schedules(trainer), self.schedules):
            schedule.load_state_dict(copy.deepcopy(state))

    def state(self) -> dict[str, Any]:
        """Return its fields, for ``Snapshot(**fields)``."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def base_rates(trainer: Trainer) -> list[list[float]]:
    """Return the rate of each parameter group of each optimizer, before any schedule."""
    return [
        [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        for optimizer in trainer.optimizers
    ]


def set_base_rates(trainer: Trainer, rates: list[list[float]]) -> None:
    """Set those rates; what a schedule made of the old ones is scaled along."""
    for optimizer, wanted in zip(trainer.optimizers, rates):
        for group, rate in zip(optimizer.param_groups, wanted):
            group["lr"] *= rate / group.get("initial_lr", group["lr"])
            if "initial_lr" in group:
                group["initial_lr"] = rate
    for schedule in _schedules(trainer):
        if hasattr(schedule, "base_lrs"):
            schedule.base_lrs = [group["initial_lr"] for group in schedule.optimizer.param_groups]


def _trained(module: LightningModule) -> dict[str, Tensor]:
    return {name: found for name, found in module.named_parameters() if found.requires_grad}


def _schedules(trainer: Trainer) -> list[Any]:
    return [config.scheduler for config in trainer.lr_scheduler_configs]


def _copied(found: Any) -> Any:
    """Copy nested containers, their tensors to the CPU."""
    return apply_to_collection(found, Tensor, lambda tensor: tensor.to("cpu", copy=True))
