"""An optimizer and a schedule from the config → learning rates, step by step, after a resume too."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from r4t.errors import InputError, check_least


class RateSchedule(ABC):
    """Maps an optimizer step to a share of the peak learning rate.

    Args:
        warmup: Steps of linear warm-up, at least 0.

    Raises:
        InputError: If ``warmup`` is negative.
    """

    needs_end = True  # whether ``factor`` reads ``last``

    def __init__(self, warmup: int) -> None:
        check_least({"warmup": (warmup, 0)})
        self.warmup = warmup

    @abstractmethod
    def factor(self, step: int, last: float) -> float:
        """Return the share of the peak rate in [0, 1].

        Args:
            step: Optimizer step, from 0.
            last: Step at which training ends.
        """

    def rise(self, step: int) -> float:
        """Return the share that warm-up alone allows."""
        return min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0


class WarmupConstant(RateSchedule):
    """Rises linearly, then stays at the peak.

    Args:
        warmup: Steps of linear warm-up, at least 0.

    Examples:
        >>> [WarmupConstant(4).factor(step, 10) for step in (0, 3, 9)]
        [0.25, 1.0, 1.0]
    """

    needs_end = False

    def __init__(self, warmup: int = 10) -> None:
        super().__init__(warmup)

    def factor(self, step: int, last: float) -> float:
        """Return the share of the peak rate."""
        return self.rise(step)


class WarmupLinear(RateSchedule):
    """Rises linearly while it falls linearly to 0 at the last step.

    Args:
        warmup: Steps of linear warm-up, at least 0.

    Examples:
        >>> [WarmupLinear(2).factor(step, 8) for step in (0, 4, 8)]
        [0.5, 0.5, 0.0]
    """

    def __init__(self, warmup: int = 20) -> None:
        super().__init__(warmup)

    def factor(self, step: int, last: float) -> float:
        """Return the share of the peak rate."""
        return self.rise(step) * max(0.0, 1 - step / last)


class WarmupCosine(RateSchedule):
    """Rises linearly, then falls along half a cosine to 0.

    Args:
        warmup: Steps of linear warm-up, at least 0.
        end: Step at which the rate reaches 0; the last step of training by default.

    Examples:
        >>> [round(WarmupCosine(4).factor(step, 8), 3) for step in (0, 3, 4, 6, 8)]
        [0.25, 1.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, warmup: int = 1000, end: int | None = None) -> None:
        super().__init__(warmup)
        self.end = end
        self.needs_end = end is None

    def factor(self, step: int, last: float) -> float:
        """Return the share of the peak rate."""
        if step < self.warmup:
            return self.rise(step)
        end = int(last) if self.end is None else self.end
        progress = min(1.0, (step - self.warmup) / max(1, end - self.warmup))
        return (1 + math.cos(math.pi * progress)) / 2


class ScheduledModule(LightningModule):
    """A module whose optimizer and schedule come from the config, also when a fit is resumed.

    A checkpoint restores the optimizer's moments and the number of steps taken; learning rate,
    betas, weight decay and schedule are those of the config, so that changing them works.

    Args:
        optimizer: Builds the optimizer from parameters, at the peak learning rate.
        schedule: Share of the peak rate by optimizer step.

    Attributes:
        slowdown: Factor of every learning rate in this fit; 1 unless a callback lowers it.
    """

    def __init__(self, optimizer: OptimizerCallable, schedule: RateSchedule) -> None:
        super().__init__()
        self.build_optimizer = optimizer
        self.rate_schedule = schedule
        self._last_step = math.inf
        self.slowdown = 1.0
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
        """Let the config win over a checkpoint."""
        self.apply_settings()

    def apply_settings(self) -> None:
        """Give the optimizer the settings of the config, with the rate of the step reached."""
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LambdaLR)  # configured above
        factor = self._factor(schedule.last_epoch)
        schedule.base_lrs = [group["lr"] for group in self._configured]
        groups = zip(schedule.optimizer.param_groups, self._configured, strict=True)
        for group, configured in groups:
            group.update(configured, initial_lr=configured["lr"], lr=configured["lr"] * factor)
