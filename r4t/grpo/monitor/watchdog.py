"""Metrics of a tuner's rollouts → a warning, a stop or a return to health when it collapses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn

from r4t.errors import InputError
from r4t.grpo.monitor.collapse import Alarm, Judge, Rule, standard_rules
from r4t.grpo.monitor.history import Reference
from r4t.grpo.monitor.rollout_tables import check_tuner, signs
from r4t.grpo.snapshot import Snapshot, base_rates, set_base_rates


class Action(ABC):
    """What a watchdog does about an alarm; every rank does the same."""

    @abstractmethod
    def act(self, trainer: Trainer, module: LightningModule, judge: Judge) -> str:
        """Act on an alarm; return what was done, as the end of a sentence."""

    def begin(self, trainer: Trainer, module: LightningModule, judge: Judge) -> None:  # noqa: B027
        """Prepare, before the first rollout and after each resume."""

    def watch(self, trainer: Trainer, module: LightningModule, judge: Judge) -> None:  # noqa: B027
        """Look at the run after a rollout without a new alarm."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Go on from what ``state`` returned; from an empty one, begin anew."""


class Warn(Action):
    """Leaves the run alone: the warning is all."""

    def act(self, trainer: Trainer, module: LightningModule, judge: Judge) -> str:
        """Do nothing."""
        return "the run goes on"


class Stop(Action):
    """Ends the run after this rollout, with the weights as they are."""

    def act(self, trainer: Trainer, module: LightningModule, judge: Judge) -> str:
        """Ask the trainer to stop."""
        trainer.should_stop = True
        return "the run stops"


class RollBack(Action):
    """Restores the last healthy weights, optimizer and schedule, then stops or goes on slower.

    A snapshot is taken before the first rollout, and after every ``window`` rollouts while no rule
    holds. It counts as healthy once the ``window`` rollouts after it passed without a rule that
    holds: what an alarm is raised about began before it. Two snapshots at most lie in CPU memory
    (trained weights and the optimizer's moments: with LoRA the adapters' alone, otherwise about
    six times the model), and in checkpoints, so that a resumed run can roll back too; there not
    under strategies that shard the model, where a resumed run begins with a snapshot of its own.

    The count of optimizer steps and the order of the data are not turned back: a run that goes on
    sees other rollouts than those that led astray.

    Args:
        slower: Factor in (0, 1) of the learning rate to go on with; without one, the run stops,
            and what is exported is the healthy model.

    Raises:
        InputError: ``slower`` lies outside (0, 1).
    """

    def __init__(self, slower: float | None = None) -> None:
        if slower is not None and not 0 < slower < 1:
            raise InputError(
                f"RollBack goes on with a share of the learning rate, slower in (0, 1), found "
                f"{slower}; leave it out to stop."
            )
        self.slower = slower
        self.healthy: Snapshot | None = None
        self.candidate: Snapshot | None = None
        self.whole = True

    def begin(self, trainer: Trainer, module: LightningModule, judge: Judge) -> None:
        """Take the first snapshot, unless a checkpoint brought some."""
        self.whole = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        if self.healthy is None:
            self.healthy = self.candidate = _snapshot(trainer, module, judge)

    def watch(self, trainer: Trainer, module: LightningModule, judge: Judge) -> None:
        """Take a snapshot when its time has come; drop one that a rule casts doubt on."""
        if judge.suspicious:
            self.candidate = None
        elif judge.rollouts % judge.history.window == 0:
            if self.candidate is not None:
                self.healthy = self.candidate
            self.candidate = _snapshot(trainer, module, judge)

    def act(self, trainer: Trainer, module: LightningModule, judge: Judge) -> str:
        """Restore the healthy snapshot; windows forget what came after it."""
        assert self.healthy is not None  # since begin
        begun = base_rates(trainer)
        self.healthy.restore(trainer, module)
        fanout: Any = module.fanout
        fanout.backend.sync(fanout)  # what writes must go back too
        self.candidate = None
        judge.forget(self.healthy.rows)
        done = f"weights, optimizer and schedule are those after rollout {self.healthy.rollout}"
        if self.slower is None:
            trainer.should_stop = True
            return f"{done}, and the run stops"
        set_base_rates(trainer, [[rate * self.slower for rate in rates] for rates in begun])
        return f"{done}, and the run goes on with {self.slower:g} of the learning rate"

    def state(self) -> dict[str, Any]:
        """Return both snapshots."""
        if not self.whole:
            return {}
        found = {"healthy": self.healthy, "candidate": self.candidate}
        return {name: kept.state() for name, kept in found.items() if kept is not None}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take both snapshots back."""
        found = {name: Snapshot(**kept) for name, kept in state.items()}
        self.healthy, self.candidate = found.get("healthy"), found.get("candidate")


class Watchdog(Callback):
    """Recognizes a collapse while a model is tuned (``r4t.grpo.monitor.collapse``), and acts.

    Its numbers are means over the ranks, the same on each, so that all act together.
    ``train/alarms/count`` logs how many rules raise an alarm. Windows, alarms and snapshots are
    kept in checkpoints.

    Args:
        action: What to do about an alarm: ``Warn`` (by default), ``Stop`` or ``RollBack``. All warn.
        window: Rollouts in a mean, at least 1; a run is judged from rollout 2·window on.
        patience: Rollouts in a row for which a rule must hold, at least 1.
        reference: What the last window is compared with: ``FirstWindow`` (by default) or
            ``BestWindow``.
        rules: What counts as a collapse; ``standard_rules`` by default.

    Attributes:
        alarms: Those raised so far.

    Raises:
        InputError: ``window`` or ``patience`` is below 1, or ``rules`` is empty.
    """

    def __init__(
        self,
        action: Action | None = None,
        window: int = 5,
        patience: int = 3,
        reference: Reference | None = None,
        rules: list[Rule] | None = None,
    ) -> None:
        self.action = Warn() if action is None else action
        self.window = window
        self.patience = patience
        self.reference = reference
        self.rules = standard_rules() if rules is None else rules
        self.judge = Judge(self.rules, window, patience, reference)
        self.alarms: list[Alarm] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin anew, and learn which objectives of the reward are audited.

        Raises:
            InputError: The module is not a tuner.
        """
        if stage != "fit":
            return
        check_tuner(self, pl_module)
        reward: Any = pl_module.reward
        names = set(reward.weights) - set(reward.weighted_objectives)
        audited = [f"train/{name}/mean" for name in sorted(names)]
        self.judge = Judge(self.rules, self.window, self.patience, self.reference, audited)
        self.alarms = []
        self.action.restore({})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the action prepare."""
        self.action.begin(trainer, pl_module, self.judge)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Judge the last rollout."""
        rollout: Any = pl_module.rollout
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        alarms = self.judge.see(self._reduced(trainer, pl_module, logged | signs(rollout)))
        count, size = float(self.judge.raised), len(rollout.queries)
        pl_module.log("train/alarms/count", count, batch_size=size)
        if not alarms:
            self.action.watch(trainer, pl_module, self.judge)
            return
        self.alarms += alarms
        done = self.action.act(trainer, pl_module, self.judge)
        rank_zero_warn(
            "Tuning should raise the reward without narrowing or repeating what is found; after "
            f"rollout {alarms[0].rollout} the watchdog found, in means of {self.window} rollouts, "
            f"{'; '.join(alarm.found for alarm in alarms)}; {done}: read the samples, weight an "
            "objective that pays for spread, or lower learning_rate."
        )

    def state_dict(self) -> dict[str, Any]:
        """Return windows, alarms and the action's state."""
        alarms = [asdict(alarm) for alarm in self.alarms]
        return {"judge": self.judge.state(), "alarms": alarms, "action": self.action.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.judge.restore(state_dict["judge"])
        self.alarms = [Alarm(**alarm) for alarm in state_dict["alarms"]]
        self.action.restore(state_dict["action"])

    def _reduced(
        self, trainer: Trainer, module: LightningModule, row: Mapping[str, float]
    ) -> dict[str, float]:
        """Return the mean over the ranks that have a finite value, the same on every rank."""
        names = self.judge.metrics
        values = torch.tensor([row.get(name, torch.nan) for name in names], device=module.device)
        there = values.isfinite()
        parts = torch.stack([torch.where(there, values, 0.0), there.float()])
        total, count = trainer.strategy.reduce(parts, reduce_op="sum")
        means = trainer.strategy.broadcast((total / count).tolist())
        return dict(zip(names, means))


def _snapshot(trainer: Trainer, module: LightningModule, judge: Judge) -> Snapshot:
    return Snapshot.take(trainer, module, judge.rollouts, len(judge.history.rows))
