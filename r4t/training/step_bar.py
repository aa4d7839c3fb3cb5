"""A running Trainer → a progress bar with the time left."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from r4t.support.progress import progress

BATCHES = {
    TrainerFn.VALIDATING: "num_val_batches",
    TrainerFn.TESTING: "num_test_batches",
    TrainerFn.PREDICTING: "num_predict_batches",
}


class StepBar(Callback):
    """Shows the optimizer steps of a whole fit, or the batches of another verb, with the time left.

    Lightning's bars count the batches of one epoch, which says nothing about a fit that ends by
    ``max_steps``, and they write every step to a log.
    """

    _bar: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar; in a fit it starts at the step from which the fit resumes."""
        if self._bar is not None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if trainer.state.fn in BATCHES:
            total, done = sum(getattr(trainer, BATCHES[trainer.state.fn])), 0
        else:
            total, done = trainer.estimated_stepping_batches, trainer.global_step
        self._bar = progress(str(getattr(pl_module, "step", "steps")), total=total, done=done)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Advance the bar; logged values are read only when it is drawn, as reading may block."""
        bar = self._bar
        if bar is None or bar.disable:
            return
        if time.time() - bar.last_print_t >= bar.mininterval:
            bar.set_postfix(trainer.progress_bar_metrics, refresh=False)
        bar.update(1 if trainer.state.fn in BATCHES else trainer.global_step - bar.n)

    def teardown(self, *_: Any, **__: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    on_validation_start = on_test_start = on_predict_start = on_train_start
    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end
    on_exception = teardown
