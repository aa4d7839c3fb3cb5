"""A module being fitted → the checkpoint that a fit resumes from, and the folder that later steps read."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info

from r4t.errors import InputError, check_least
from r4t.run import Run
from r4t.support.interruption import Interrupted, Interruption
from r4t.support.randomness import random_states, set_random_states

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
EXTRA = "r4t"  # key in a checkpoint


class Export(Callback):
    """Calls the module's ``export`` when the fit ends, on rank zero.

    If ranks share the module's weights (``sharded``), all call it, and the module writes on the
    first. ``on_fit_end`` follows every ``on_train_end``, in which ``EMAWeightAveraging`` puts the
    averaged weights into the module, so that those are exported.

    Args:
        folder: Output folder; by default that of the module's step in its run.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so if this fit will replace a model."""
        run, step = getattr(pl_module, "run", None), getattr(pl_module, "step", None)
        default = run.step(step) / "model" if isinstance(run, Run) and step is not None else None
        model = default if self.folder is None else Path(self.folder)
        if model is not None and model.is_dir():
            rank_zero_info(f"The model in {model} stays until this fit ends, which replaces it.")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the module exports; refuse one without ``export``."""
        export: Any = getattr(pl_module, "export", None)
        if export is None:
            raise InputError(
                expected="a module with an export method, which Export calls",
                found=f"{type(pl_module).__name__}",
                remedy="Remove the callback from this step.",
            )
        if trainer.is_global_zero or getattr(pl_module, "sharded", False):
            export(self.folder)
        trainer.strategy.barrier("export")


class KeepLast(Checkpoint):
    """Keeps one checkpoint of a fit at a fixed place, from which it resumes bit for bit.

    A checkpoint holds the state after a training step, random states included. It is written once
    the logger has the row of that step and of the validation after it, and takes its name only when
    it is complete. Steps after the last checkpoint are repeated, and logged again, on resume. A fit
    that begins anew renames an existing checkpoint to ``previous.ckpt``. Ctrl-C writes a checkpoint
    after the current step and ends the fit; a second one ends it at once.

    Args:
        every: Training steps (rollouts of a tuner) per checkpoint, at least 1; the last step has one.
        folder: Of ``last.ckpt``; ``checkpoints`` in the step's folder by default.

    Raises:
        InputError: If ``every`` is below 1.
    """

    def __init__(self, every: int = 10, folder: str | None = None) -> None:
        check_least({"every": (every, 1)})
        self.every = every
        self.folder = folder
        self._done = 0  # steps in the last checkpoint
        self._content: Any = None  # of a checkpoint that is due
        self._random: Any = None  # states of all ranks, to resume from
        self._interruption = Interruption()
        self._stopping = False

    def path(self, trainer: Trainer) -> Path:
        """Return the path of the checkpoint."""
        return Path(self.folder or Path(trainer.default_root_dir, "checkpoints"), LAST)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier fit."""
        self._content, self._random, self._stopping = None, None, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random states of the checkpoint, or put an old checkpoint aside."""
        path, self._done = self.path(trainer), batches_done(trainer)
        # A schedule that asks for the number of steps makes the loader before its place is known.
        trainer.fit_loop._load_combined_loader_states()
        if self._random is not None:
            states = self._random[trainer.global_rank % len(self._random)]
            set_random_states(states, pl_module.device)
        elif trainer.ckpt_path is None and trainer.is_global_zero and path.exists():
            put(path, path.with_name(PREVIOUS))
        self._interruption.listen()

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Record the state if it is due; it is written once the logger has this step's row."""
        # All ranks stop at the same step.
        stop = trainer.strategy.reduce_boolean_decision(self._interruption.requested, all=False)
        due = batches_done(trainer) - self._done >= self.every or _over(trainer) or stop
        # Gradients that are still adding up are in no checkpoint.
        if due and not trainer.fit_loop._should_accumulate():
            self._stopping = stop
            self._done = batches_done(trainer)
            self._record(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state with that of the validation."""
        if not _epoch_ends(trainer):
            self._write(trainer, anew=True)

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Write the state after the step before; then stop the fit if the user asked for it."""
        self._write(trainer)
        if self._stopping:
            raise Interrupted(f"stopped at step {trainer.global_step}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state after the last step, before averaged weights replace its own."""
        self._write(trainer, anew=_epoch_ends(trainer))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        """Add the module's name and the random states of all ranks."""
        states: list[Any] = [random_states(pl_module.device)] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(states, states[0])
        checkpoint[EXTRA] = {"module": type(pl_module).__name__, "random": states}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        """Take the random states, if it has some; refuse a checkpoint of another module."""
        name = type(pl_module).__name__
        extra = checkpoint.get(EXTRA, {"module": name, "random": None})
        if extra["module"] != name:
            raise InputError(
                expected=f"a checkpoint of {name} to resume from",
                found=f"one of {extra['module']} at {trainer.ckpt_path}",
                remedy="Name a checkpoint of this step.",
            )
        self._random = extra["random"]

    def teardown(self, *_: Any, **__: Any) -> None:
        """Handle Ctrl-C no longer."""
        self._interruption.leave()

    on_exception = teardown

    def state_dict(self) -> dict[str, Any]:
        """Return a state, so that Lightning warns if a fit is resumed without this callback."""
        return {"every": self.every}

    def _record(self, trainer: Trainer) -> None:
        """Take what ``Trainer.save_checkpoint`` would write now; its tensors are the live ones."""
        self._content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)

    def _write(self, trainer: Trainer, anew: bool = False) -> None:
        """Write the checkpoint if one is due, recorded anew if asked."""
        if self._content is None:
            return
        if anew:
            self._record(trainer)
        content, self._content = self._content, None
        path = self.path(trainer)
        part = path.with_name(f"{LAST}.part")
        trainer.strategy.save_checkpoint(content, part)  # rank zero, or all of a sharded model
        trainer.strategy.barrier("checkpoint")
        if trainer.is_global_zero:
            put(part, path)


def put(source: Path, target: Path) -> None:
    """Rename a checkpoint, a file or the folder of a sharded one, in place of another."""
    old = target.with_name(f"{target.name}.old")
    if target.is_dir():  # which os.replace cannot replace
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)


def batches_done(trainer: Trainer) -> int:
    """Return the number of batches so far, in all epochs."""
    return trainer.fit_loop.total_batch_idx + 1


def _epoch_ends(trainer: Trainer) -> bool:
    """Whether the epoch's end is in the state: Lightning counts it early if steps have no limit."""
    return trainer.is_last_batch and trainer.max_steps == -1


def _over(trainer: Trainer) -> bool:
    """Whether the step that ends is the last of the fit."""
    last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
    steps_done = 0 <= trainer.max_steps <= trainer.global_step
    return trainer.should_stop or steps_done or (trainer.is_last_batch and last_epoch)
