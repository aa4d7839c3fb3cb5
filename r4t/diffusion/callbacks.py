"""The end of training → an exported retriever."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from r4t.diffusion.module import DiffusionRetriever


class ExportRetriever(Callback):
    """Exports the generator when ``fit`` ends, on rank zero.

    ``on_fit_end`` follows every callback's ``on_train_end``, where ``EMAWeightAveraging`` puts the
    averaged weights into the module: those are exported, whatever the order of the callbacks.
    """

    def __init__(self, folder: str) -> None:
        """Name the folder to write."""
        self.folder = Path(folder)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder.

        Raises:
            TypeError: The module is not a ``DiffusionRetriever``.
        """
        if not isinstance(pl_module, DiffusionRetriever):
            raise TypeError(
                f"ExportRetriever exports a DiffusionRetriever, found {type(pl_module).__name__}: "
                "remove the callback from this stage."
            )
        pl_module.export(self.folder)
