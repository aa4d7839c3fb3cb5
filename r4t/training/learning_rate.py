"""An optimizer and a schedule from the config → learning rates step by step, even after a resume."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from r4t.errors import InputError, check_least


class RateSchedule(ABC):
    """Maps an optimizer step to a share of the peak learning rate; ``warmup`` is at least 0."""

    warmup: int
    needs_end = True  # whether ``factor`` reads ``last``

    def __post_init__(self) -> None:
        check_least({"warmup": (self.warmup, 0)})

    @abstractmethod
    def factor(self, step: int, last: float) -> float:
        """Return the share in [0, 1] at a ``step`` from 0 to ``last``, where training ends."""

    def rise(self, step: int) -> float:
        """Return the share at ``step`` by warm-up alone."""
        return min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0


@dataclass
class WarmupConstant(RateSchedule):
    """Rises linearly, then stays at the peak.

    Args:
        warmup: Steps of linear warm-up, at least 0.

    Examples:
        >>> [WarmupConstant(4).factor(step, 10) for step in (0, 3, 9)]
        [0.25, 1.0, 1.0]
    """

    warmup: int = 10
    needs_end = False

    def factor(self, step: int, last: float) -> float:
        """Return the share of the peak rate."""
        return self.rise(step)


@dataclass
class WarmupLinear(RateSchedule):
    """Falls linearly to 0 at the last step, multiplied by a linear warm-up.

    Args:
        warmup: Steps of linear warm-up, at least 0.

    Examples:
        >>> [WarmupLinear(2).factor(step, 8) for step in (0, 4, 8)]
        [0.5, 0.5, 0.0]
    """

    warmup: int = 20

    def factor(self, step: int, last: float) -> float:
        """Return the share of the peak rate."""
        return self.rise(step) * max(0.0, 1 - step / last)


@dataclass
class WarmupCosine(RateSchedule):
    """Rises linearly, then falls along half a cosine to 0.

    Args:
        warmup: Steps of linear warm-up, at least 0.
        end: Step at which the rate reaches 0; the last step of training by default.

    Examples:
        >>> [round(WarmupCosine(4).factor(step, 8), 3) for step in (0, 3, 4, 6, 8)]
        [0.25, 1.0, 1.0, 0.5, 0.0]
    """

    warmup: int = 1000
    end: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs_end = self.end is None

    def factor(self, step: int, last: float) -> float:
        """Return the share of the peak rate."""
        if step < self.warmup:
            return self.rise(step)
        end = int(last) if self.end is None else self.end
        progress = min(1.0, (step - self.warmup) / max(1, end - self.warmup))
        return (1 + math.cos(math.pi * progress)) / 2


class ScheduledModule(LightningModule):
    """A module whose optimizer and schedule come from the config, even when a fit resumes.

    A checkpoint restores the optimizer's moments and the number of steps; learning rate, betas,
    weight decay and schedule are those of the config.

    Args:
        optimizer: Builds the optimizer from parameters, at the peak learning rate.
        schedule: Share of the peak rate by optimizer step.
    """

    def __init__(self, optimizer: OptimizerCallable, schedule: RateSchedule) -> None:
        super().__init__()
        self.build_optimizer, self.rate_schedule = optimizer, schedule
        self.slowdown = 1.0  # factor of every learning rate; a callback may lower it
        self._last_step = math.inf
        self._configured: list[dict[str, Any]] = []

    def trained_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that the optimizer updates."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, and its schedule in optimizer steps.

        Raises:
            InputError: If the optimizer refuses its settings, the learning rate is not a finite
                number above 0, or the schedule needs an end that training does not have.
        """
        if self.rate_schedule.needs_end:
            self._last_step = self.last_step
            if not math.isfinite(self._last_step):
                raise InputError(
                    expected="a training with a last step, at which the learning rate reaches 0",
                    found="a trainer without end",
                    remedy="Set max_steps or max_epochs, or give WarmupCosine an end.",
                )
        self.slowdown = 1.0
        try:
            optimizer = self.build_optimizer(self.trained_parameters())
        except ValueError as error:  # torch's, which names the setting
            raise InputError(
                expected="settings that the optimizer accepts",
                found=f"'{error}'",
                remedy="Correct them.",
            ) from error
        self._configured = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        for group in self._configured:
            if not (math.isfinite(group["lr"]) and group["lr"] > 0):
                raise InputError(
                    expected="a learning rate that is finite and above 0",
                    found=f"{group['lr']}",
                    remedy="3e-4 suits small models and LoRA.",
                )
        schedule = LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def last_step(self) -> float:
        """Optimizer step at which training ends; infinite if the trainer sets no end."""
        return self.trainer.estimated_stepping_batches

    def _factor(self, step: int) -> float:
        return self.slowdown * self.rate_schedule.factor(step, self._last_step)

    def on_train_start(self) -> None:
        """Override what a checkpoint restored."""
        self.apply_settings()

    def apply_settings(self) -> None:
        """Give the optimizer the settings of the config, at the rate of the current step."""
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LambdaLR)  # configured above
        factor = self._factor(schedule.last_epoch)
        schedule.base_lrs = [group["lr"] for group in self._configured]
        groups = zip(schedule.optimizer.param_groups, self._configured, strict=True)
        for group, configured in groups:
            group.update(configured, initial_lr=configured["lr"], lr=configured["lr"] * factor)
