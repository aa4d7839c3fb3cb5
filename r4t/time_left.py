"""A running Trainer → how far it is, and the time that is left."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from r4t.support.progress import Progress
from r4t.training.callbacks import batches_done


class TimeLeft(ProgressBar):
    """Shows the steps of a whole fit, not of one epoch, the time gone and the time left.

    A terminal has a bar; elsewhere a plain line comes every half minute. It stands in place of
    Lightning's own bar where a config names none and does not set ``enable_progress_bar: false``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None

    def disable(self) -> None:
        """Show nothing, as on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, at the step that the fit goes on from."""
        self._begin(_name(pl_module), _all_steps(trainer), _steps_done(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Tell the steps so far, and what the module shows of its log."""
        self._tell(trainer, pl_module, _name(pl_module))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that it validates, within a fit or alone."""
        if self._progress is None and not trainer.sanity_checking:
            self._begin("validate", _batches(trainer.num_val_batches))
        elif self._progress is not None:
            self._tell(trainer, pl_module, f"{_name(pl_module)}, validating")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Count a batch, where nothing else is counted."""
        if self._progress is not None and trainer.state.fn == "validate":
            self._progress.advance()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._begin("test", _batches(trainer.num_test_batches))

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Count a batch."""
        if self._progress is not None:
            self._progress.advance()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._begin(_name(pl_module), _batches(trainer.num_predict_batches))

    def on_predict_batch_end(self, *_: Any, **__: Any) -> None:
        """Count a batch."""
        if self._progress is not None:
            self._progress.advance()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away, before the module prints what it wrote."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away."""
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away."""
        self._close()

    def _begin(self, what: str, total: int | None, done: int = 0) -> None:
        self._close()
        self._progress = Progress(what, total, done, shown=self._enabled).__enter__()

    def _tell(self, trainer: Trainer, pl_module: LightningModule, what: str) -> None:
        if self._progress is not None:
            self._progress.reach(
                _steps_done(trainer), what, lambda: self._shown(trainer, pl_module)
            )

    def _shown(self, trainer: Trainer, pl_module: LightningModule) -> str:
        """What the module shows of its log; to read it waits for the device."""
        metrics = self.get_metrics(trainer, pl_module)
        return "  ".join(
            f"{name} {value:.3g}" for name, value in metrics.items() if name != "v_num"
        )

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.close()
        self._progress = None


def _name(module: LightningModule) -> str:
    """Return the step of a run that a module is."""
    return getattr(module, "step", type(module).__name__).replace("_", " ")


def _batches(sizes: Any) -> int | None:
    """Return the batches of all loaders; None where one has no end."""
    total = sum(sizes if isinstance(sizes, list) else [sizes])
    return None if total == float("inf") else int(total)


def _all_steps(trainer: Trainer) -> int | None:
    """Return the optimizer steps of a fit that counts them, else the batches of its epochs."""
    if trainer.max_steps >= 0:
        return trainer.max_steps
    known = trainer.max_epochs not in (None, -1) and trainer.num_training_batches != float("inf")
    return int(trainer.max_epochs * trainer.num_training_batches) if known else None  # type: ignore[operator]


def _steps_done(trainer: Trainer) -> int:
    return trainer.global_step if trainer.max_steps >= 0 else batches_done(trainer)
