"""A fitted module → the folder that later steps and the retriever read."""

from lightning.pytorch import Callback, LightningModule, Trainer


class Export(Callback):
    """Calls the module's ``export()`` on rank zero when the fit ends.

    It stands after the averaging callback in the list, so that averaged weights are exported.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the module exports; ``on_train_end`` has restored averaged weights by now."""
        if trainer.is_global_zero:
            pl_module.export()  # type: ignore[operator]
        trainer.strategy.barrier("export")
