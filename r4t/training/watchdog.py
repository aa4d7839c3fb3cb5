"""Metrics of a module's rollouts → a warning, a stop or a return to health when it collapses."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn
from lightning_utilities.core.apply_func import apply_to_collection

from r4t.errors import InputError
from r4t.training.collapse import (
    QUERY_FREE,
    SPECIFICITY,
    Alarm,
    CollapseDetector,
    FirstWindow,
    Rule,
    standard_rules,
)
from r4t.training.hearing import query_free_statistics, specificity_statistics
from r4t.training.rollouts import RolloutCallback, unnoticed

HEARD = 5  # times a window that specificity is measured


class Action:
    """What a watchdog does about an alarm besides the warning; every rank does the same."""

    def act(self, trainer: Trainer, module: Any, detector: CollapseDetector) -> str:
        """Act on an alarm; return a sentence that says what was done."""
        return "The run goes on."

    def begin(self, trainer: Trainer, module: Any, detector: CollapseDetector) -> None:
        """Prepare, before the first rollout and after each resume."""

    def watch(self, trainer: Trainer, module: Any, detector: CollapseDetector) -> None:
        """Look at the run after a rollout without a new alarm."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state`` returned; from an empty one, begin anew."""


class Warn(Action):
    """Leaves the run alone."""


class Stop(Action):
    """Ends the run after this rollout, with the current weights."""

    def act(self, trainer: Trainer, module: Any, detector: CollapseDetector) -> str:
        """Ask the trainer to stop."""
        trainer.should_stop = True
        return "The run stops."


class RollBack(Action):
    """Restores the last healthy weights, optimizer and schedule, then stops or goes on slower.

    A snapshot is taken before the first rollout, and after every ``window`` rollouts while no rule
    holds. It counts as healthy once no rule held in the ``window`` rollouts after it. At most two
    are kept, in CPU memory (trained weights and the optimizer's moments: with LoRA of the adapters
    alone, otherwise about six times the model; weights averaged by a callback come on top) and,
    unless the strategy shards the model, in checkpoints. The count of optimizer steps and the order
    of the data are not turned back.

    Args:
        slower: Factor in (0, 1) of the learning rate to go on with. Without one the run stops, and
            the healthy model is exported.

    Raises:
        InputError: If ``slower`` is outside (0, 1).
    """

    slowdown = 1.0  # factor of the learning rate so far
    healthy: dict[str, Any] | None = None
    candidate: dict[str, Any] | None = None

    def __init__(self, slower: float | None = None) -> None:
        if slower is not None and not 0 < slower < 1:
            remedy = "Leave it out to stop after a rollback."
            raise InputError(expected="slower in (0, 1)", found=f"{slower}", remedy=remedy)
        self.slower, self.in_checkpoints = slower, True

    def begin(self, trainer: Trainer, module: Any, detector: CollapseDetector) -> None:
        """Take the first snapshot, unless a checkpoint has one."""
        module.slowdown = self.slowdown
        self.in_checkpoints = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        if self.healthy is None:
            self.healthy = self.candidate = _snapshot(trainer, module, detector)

    def watch(self, trainer: Trainer, module: Any, detector: CollapseDetector) -> None:
        """Take a snapshot when it is due; drop one that a rule casts doubt on."""
        if detector.suspicious:
            self.candidate = None
        elif detector.rollouts % detector.window == 0:
            self.healthy = self.candidate or self.healthy
            self.candidate = _snapshot(trainer, module, detector)

    def act(self, trainer: Trainer, module: Any, detector: CollapseDetector) -> str:
        """Restore the healthy snapshot; windows forget what came after it."""
        assert self.healthy is not None  # since begin
        healthy, self.candidate = self.healthy, None
        module.load_state_dict(healthy["weights"], strict=False)
        # An optimizer goes on in the very tensors that it loads.
        trainer.optimizers[0].load_state_dict(_copied(healthy["optimizer"]))
        trainer.lr_scheduler_configs[0].scheduler.load_state_dict(_copied(healthy["schedule"]))
        for average, weights in zip(_averages(trainer), healthy["averages"], strict=True):
            average.load_state_dict(weights)
        module.weights_replaced()
        detector.forget(healthy["rows"])
        done = f"Weights, optimizer and schedule are those after rollout {healthy['rollout']}"
        if self.slower is None:
            trainer.should_stop = True
            return f"{done}, and the run stops."
        module.slowdown = self.slowdown = self.slowdown * self.slower
        module.apply_settings()
        return f"{done}, and the run goes on with {self.slower:g} of the learning rate."

    def state(self) -> dict[str, Any]:
        """Return both snapshots, and the factor of the learning rate so far."""
        both = [self.healthy, self.candidate] if self.in_checkpoints else [None, None]
        return {"slowdown": self.slowdown, "snapshots": both}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.slowdown = state.get("slowdown", 1.0)
        self.healthy, self.candidate = state.get("snapshots", [None, None])


def _snapshot(trainer: Trainer, module: Any, detector: CollapseDetector) -> dict[str, Any]:
    """Copy what the next update will change, to the CPU."""
    weights = {name: w.detach() for name, w in module.named_parameters() if w.requires_grad}
    content: dict[str, Any] = {"weights": weights, "optimizer": trainer.optimizers[0].state_dict()}
    content["schedule"] = trainer.lr_scheduler_configs[0].scheduler.state_dict()
    content["averages"] = [average.state_dict() for average in _averages(trainer)]
    return {"rollout": detector.rollouts, "rows": len(detector.rows), **_copied(content)}


def _averages(trainer: Trainer) -> list[Any]:
    """Return the averaged models of callbacks."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    averaging = [each for each in callbacks if isinstance(each, WeightAveraging)]
    return [each._average_model for each in averaging if each._average_model is not None]


def _copied(content: dict[str, Any]) -> dict[str, Any]:
    return apply_to_collection(content, torch.Tensor, lambda tensor: tensor.to("cpu", copy=True))


class Watchdog(RolloutCallback):
    """Recognizes a collapse while a model learns from rollouts (``r4t.training.collapse``), and acts.

    Its numbers are means over the ranks, the same on each, so that all act together.
    ``train/alarms/count`` logs how many rules raise an alarm. A metric that a module does not log
    breaks no rule: a ``RetrieverRefiner`` writes no sub-queries. For the rule ``Deaf`` the watchdog
    measures specificity five times a window and the query-free share once, and logs the latest.

    Args:
        action: ``Warn`` (by default), ``Stop`` or ``RollBack``; all of them warn.
        window: Rollouts in a mean, at least 1; rules are checked from rollout 2·window on.
        patience: Rollouts in a row for which a rule must hold, at least 1.
        reference: ``FirstWindow`` (by default) or ``BestWindow``.
        rules: What counts as a collapse; ``standard_rules`` by default.

    Raises:
        InputError: If ``window`` or ``patience`` is below 1, or ``rules`` is empty.
    """

    def __init__(
        self,
        action: Action | None = None,
        window: int = 5,
        patience: int = 3,
        reference: FirstWindow | None = None,
        rules: list[Rule] | None = None,
    ) -> None:
        self.action = Warn() if action is None else action
        rules = standard_rules() if rules is None else rules
        self.detector = CollapseDetector(rules, window, patience, reference)
        self.alarms: list[Alarm] = []

    def reset(self, module: Any) -> None:
        """Begin anew, with the objectives that the reward audits."""
        audited = set(module.reward.weights) - set(module.reward.weighted_objectives)
        self.detector.begin([f"train/{name}/mean" for name in sorted(audited)])
        self.alarms = []
        self.action.restore({})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the action prepare."""
        self.action.begin(trainer, pl_module, self.detector)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        """Check the last rollout."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        with unnoticed(pl_module.searcher):
            heard = self._hearing(trainer, pl_module)
        metrics |= {**pl_module.rollout_metrics(), **heard}
        alarms = self.detector.see(self._reduced(trainer, pl_module, metrics))
        numbers = {"train/alarms/count": float(self.detector.raised)}
        for name in heard:
            numbers |= self.detector.latest(name)  # also after a resume
        pl_module.log_dict(numbers, batch_size=len(pl_module.rollout.queries))
        if not alarms:
            self.action.watch(trainer, pl_module, self.detector)
            return
        self.alarms += alarms
        done = self.action.act(trainer, pl_module, self.detector)
        rank_zero_warn(
            f"Training shows signs of a collapse after rollout {alarms[0].rollout}, in means over "
            f"{self.detector.window} rollouts: {'; '.join(alarm.evidence for alarm in alarms)}. "
            f"{done} Look at its answers, weight an objective that rewards spread, or lower the "
            "learning rate."
        )

    def _hearing(self, trainer: Trainer, module: Any) -> dict[str, float]:
        """Return what ``Deaf`` reads and the module does not log; NaN if it is not measured now."""
        wanted, window, seen = self.detector.metrics, self.detector.window, self.detector.rollouts
        rollout, reward = module.rollout, module.reward
        heard = {QUERY_FREE: math.nan}
        if QUERY_FREE in wanted and seen % window == 0:
            heard |= query_free_statistics(rollout, reward, module.exchange, trainer.global_step)
        if "specificity" not in reward.objectives:
            heard[SPECIFICITY] = math.nan
            if SPECIFICITY in wanted and seen % max(1, window // HEARD) == 0:
                heard |= specificity_statistics(rollout, module.searcher)
        return heard

    def state_dict(self) -> dict[str, Any]:
        """Return windows, alarms and the action's state."""
        alarms = [asdict(alarm) for alarm in self.alarms]
        return {"detector": self.detector.state(), "alarms": alarms, "action": self.action.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.detector.restore(state_dict["detector"])
        self.alarms = [Alarm(**alarm) for alarm in state_dict["alarms"]]
        self.action.restore(state_dict["action"])

    def _reduced(self, trainer: Trainer, module: Any, row: Mapping[str, float]) -> dict[str, float]:
        """Return the mean over the ranks that have a finite value, the same on every rank."""
        names = self.detector.metrics
        values = torch.tensor([row.get(name, torch.nan) for name in names], device=module.device)
        finite = values.isfinite()
        parts = torch.stack([torch.where(finite, values, 0.0), finite.float()])
        total, count = trainer.strategy.reduce(parts, reduce_op="sum")
        means = trainer.strategy.broadcast((total / count).tolist())
        return dict(zip(names, means))
