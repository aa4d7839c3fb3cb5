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
KEPT = "kept"  # in a checkpoint: what Lightning does not keep


class Export(Callback):
    """Calls the module's ``export`` when the fit ends, on rank zero.

    A module whose ranks share its weights (it says ``sharded``) has to gather them: there every rank
    calls ``export``, and the module writes on the first.

    ``on_fit_end`` follows every callback's ``on_train_end``, where ``EMAWeightAveraging`` puts the
    averaged weights into the module: those are exported, whatever the order of the callbacks.

    Args:
        folder: Where to; by default the place of the module's step in its run.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of a model that lies where this fit will write its own."""
        run, step = getattr(pl_module, "run", None), getattr(pl_module, "step", None)
        own = run.step(step) / "model" if isinstance(run, Run) and step is not None else None
        there = own if self.folder is None else Path(self.folder)
        if there is not None and there.is_dir():
            rank_zero_info(f"The model in {there} stays until this fit ends, which replaces it.")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the module exports.

        Raises:
            InputError: The module exports nothing.
        """
        export: Any = getattr(pl_module, "export", None)
        if export is None:
            raise InputError(
                f"Export needs a module with an export method, found {type(pl_module).__name__}; "
                "remove the callback from this step."
            )
        if trainer.is_global_zero or getattr(pl_module, "sharded", False):
            export(self.folder)
        trainer.strategy.barrier("export")


class KeepLast(Checkpoint):
    """Keeps one checkpoint of a fit at a fixed place, from which it resumes bit for bit.

    A checkpoint holds the state after a training step, random states included, and is written once
    the logger has the row of that step and of a validation that follows it: what is lost with a
    fit that is killed, the resumed one does and logs again. It takes its name only when it is
    whole, so that a kill while it is written leaves the one before.

    A fit that begins anew where a checkpoint lies renames it to ``previous.ckpt``, so that it is
    not taken for one of its own.

    Ctrl-C makes one more checkpoint, after the step that runs, and ends the fit there; a second one
    ends it at once.

    Args:
        every: Training steps (of a tuner: rollouts) from one checkpoint to the next, at least 1. One
            more is written when the fit has come to its end.
        folder: Of ``last.ckpt``; ``checkpoints`` in the step's folder by default.

    Raises:
        InputError: ``every`` is below 1.
    """

    def __init__(self, every: int = 10, folder: str | None = None) -> None:
        check_least({"every": (every, 1)})
        self.every = every
        self.folder = folder
        self._done = 0  # steps that the last checkpoint holds
        self._due = False
        self._content: dict[str, Any] | None = None  # to be written, where one is due
        self._random: list[dict[str, Any]] | None = None  # to go on from
        self._interruption = Interruption()
        self._stopping = False

    def path(self, trainer: Trainer) -> Path:
        """Return where the checkpoint lies."""
        folder = Path(trainer.default_root_dir, "checkpoints")
        return (folder if self.folder is None else Path(self.folder)) / LAST

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier fit."""
        self._due, self._content, self._random = False, None, None
        self._stopping = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the random states of the checkpoint, or put an old checkpoint aside."""
        path = self.path(trainer)
        self._done = batches_done(trainer)
        # A schedule that asks for the number of steps makes the loader before its place is known.
        trainer.fit_loop._load_combined_loader_states()
        if self._random is not None:
            own = self._random[trainer.global_rank % len(self._random)]
            set_random_states(own, pl_module.device)
        elif trainer.ckpt_path is None and trainer.is_global_zero and path.exists():
            put(path, path.with_name(PREVIOUS))
        self._interruption.listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Take down the state where it is due; the logger has no row of this step yet."""
        asked = self._asked(trainer)
        due = batches_done(trainer) - self._done >= self.every or _over(trainer) or asked
        # Gradients that are still adding up are in no checkpoint.
        self._due = due and not trainer.fit_loop._should_accumulate()
        self._stopping = self._due and asked
        if self._due:
            self._done = batches_done(trainer)
            self._content = _content(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state with that of the validation."""
        if self._due and not _epoch_ends(trainer):
            self._content = _content(trainer)
            self._write(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Write the state after the step before: nothing has changed it since.

        Raises:
            Interrupted: The user wants to stop, and the state is written.
        """
        if self._due:
            self._write(trainer)
        if self._stopping:
            raise Interrupted(f"stopped at step {trainer.global_step}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state after the last step, before averaged weights take the place of its own."""
        if self._due:
            if _epoch_ends(trainer):
                self._content = _content(trainer)
            self._write(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the random states of all ranks, and whose checkpoint it is."""
        states: list[Any] = [random_states(pl_module.device)]
        if trainer.world_size > 1:
            own, states = states[0], [None] * trainer.world_size
            torch.distributed.all_gather_object(states, own)
        checkpoint[KEPT] = {"module": type(pl_module).__name__, "random": states}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Find the random states, where the checkpoint has some.

        Raises:
            InputError: It is another module's checkpoint.
        """
        kept, name = checkpoint.get(KEPT), type(pl_module).__name__
        if kept is None:
            return
        if kept["module"] != name:
            raise InputError(
                f"A fit of {name} must resume from a checkpoint of its own, found one of "
                f"{kept['module']} at {trainer.ckpt_path}; name that of this step."
            )
        self._random = kept["random"]

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave Ctrl-C to others."""
        self._interruption.leave()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave Ctrl-C to others."""
        self._interruption.leave()

    def _asked(self, trainer: Trainer) -> bool:
        """Whether the user of any rank wants to stop: all stop at the same step."""
        asked = self._interruption.asked
        if trainer.world_size == 1:
            return asked
        return trainer.strategy.reduce_boolean_decision(asked, all=False)

    def state_dict(self) -> dict[str, Any]:
        """Return what makes Lightning warn where a fit goes on without this callback."""
        return {"every": self.every}

    def _write(self, trainer: Trainer) -> None:
        assert self._content is not None  # as one is due
        content, self._content, self._due = self._content, None, False
        path = self.path(trainer)
        part = path.with_name(f"{LAST}.part")
        trainer.strategy.save_checkpoint(content, part)  # rank zero, or all of a sharded model
        trainer.strategy.barrier("checkpoint")
        if trainer.is_global_zero:
            put(part, path)


def put(source: Path, target: Path) -> None:
    """Rename a checkpoint, a file or the folder of a sharded one, in place of another."""
    old = target.with_name(f"{target.name}.old")
    if target.is_dir():  # which nothing can take the place of
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)


def _content(trainer: Trainer) -> dict[str, Any]:
    """Return what ``Trainer.save_checkpoint`` would write now; its tensors are the live ones."""
    return trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


def batches_done(trainer: Trainer) -> int:
    """Return how many batches of all epochs there were."""
    return trainer.fit_loop.total_batch_idx + 1


def _epoch_ends(trainer: Trainer) -> bool:
    """Whether a fit is to be taken up after the end of an epoch, not after its last step.

    Lightning counts epochs right after the one where they are the limit, after the other where
    steps are.
    """
    return trainer.is_last_batch and trainer.max_steps == -1


def _over(trainer: Trainer) -> bool:
    """Whether the step that ends is the last of the fit."""
    last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
    return (
        trainer.should_stop
        or 0 <= trainer.max_steps <= trainer.global_step
        or (trainer.is_last_batch and last_epoch)
    )
