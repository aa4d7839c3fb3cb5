"""A module in a fit → the checkpoint to resume from, and the folder that later steps read."""

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
    """Calls the module's ``export`` when the fit ends, on rank zero (on all ranks if ``sharded``).

    ``on_fit_end`` follows every ``on_train_end``, in which ``EMAWeightAveraging`` puts the averaged
    weights into the module, so that those are exported.

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
        """Export the module; refuse one without ``export``."""
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
    """Keeps one checkpoint of a fit in a fixed place, from which the fit resumes bit for bit.

    A checkpoint holds the state after a training step, with all random states. It is written after
    the logger has the row of that step and of the validation after it, and gets its name only when
    it is complete. Steps after the last checkpoint are repeated, and logged again, on resume. A new
    fit renames an existing checkpoint to ``previous.ckpt``. Ctrl-C writes a checkpoint after the
    current step and ends the fit; a second Ctrl-C ends it at once.

    Args:
        every: Training steps (rollouts of a tuner) per checkpoint, at least 1; the last step gets one.
        folder: Of ``last.ckpt``; ``checkpoints`` in the step's folder by default.

    Raises:
        InputError: If ``every`` is below 1.
    """

    def __init__(self, every: int = 10, folder: str | None = None) -> None:
        check_least({"every": (every, 1)})
        self.every, self.folder = every, folder
        self._last = 0  # number of the last batch in the last checkpoint
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
        """Restore the random states of the checkpoint, or rename the checkpoint of another fit."""
        path, self._last = self.path(trainer), trainer.fit_loop.total_batch_idx
        # A schedule that needs the number of steps creates the loader before its place is restored.
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
        batch = trainer.fit_loop.total_batch_idx
        due = batch - self._last >= self.every or _over(trainer) or stop
        # A checkpoint cannot hold gradients that are still accumulating.
        if due and not trainer.fit_loop._should_accumulate():
            self._stopping, self._last = stop, batch
            self._record(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state, that of the validation included."""
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
        """Read the random states, if there are any; refuse a checkpoint of another module."""
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
        """Stop handling Ctrl-C."""
        self._interruption.leave()

    on_exception = teardown

    def state_dict(self) -> dict[str, Any]:
        """Return a state, so that Lightning warns if a fit resumes without this callback."""
        return {"every": self.every}

    def _record(self, trainer: Trainer) -> None:
        """Collect what ``Trainer.save_checkpoint`` would write now, without copying tensors."""
        self._content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)

    def _write(self, trainer: Trainer, anew: bool = False) -> None:
        """Write the checkpoint if one is due, recorded ``anew`` if set."""
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
    """Replace a checkpoint by another; that of a sharded model is a folder."""
    old = target.with_name(f"{target.name}.old")
    if target.is_dir():  # os.replace cannot replace it
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)


def _epoch_ends(trainer: Trainer) -> bool:
    """Whether the state has the epoch's end: Lightning counts it early if steps are unlimited."""
    return trainer.is_last_batch and trainer.max_steps == -1


def _over(trainer: Trainer) -> bool:
    """Whether the step that has just ended is the last of the fit."""
    last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
    steps_done = 0 <= trainer.max_steps <= trainer.global_step
    return trainer.should_stop or steps_done or (trainer.is_last_batch and last_epoch)
