"""Notices of the libraries beneath that tell a user of ``r4t`` nothing → not shown."""

import logging
import warnings

HIDDEN = (
    "does not have many workers",  # queries and target sets load faster than they are used
    "predict returned None",  # target sets go to disk
    "smaller than the logging interval",
    "LightningCLI's args parameter",  # the program hands its own arguments on
    "treespec",
    "LeafSpec",
)


def quiet() -> None:
    """Hide them, and the progress bars of loading and saving language models."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for words in HIDDEN:
        warnings.filterwarnings("ignore", message=f".*{words}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_tells_something)


def _tells_something(record: logging.LogRecord) -> bool:
    return not any(
        words in record.getMessage() for words in ("Tip:", "TPU", "was configured so 100%")
    )
