"""A fitted module → the folder that later steps and the retriever read."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from r4t.errors import InputError


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
