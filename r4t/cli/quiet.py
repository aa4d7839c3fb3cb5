"""Library notices of no use to a user of ``r4t`` → hidden."""

import logging
import warnings

HIDDEN = (
    "does not have many workers",  # queries and target sets load faster than they are used
    "predict returned None",  # target sets go to disk
    "smaller than the logging interval",
    "LightningCLI's args parameter",  # the program passes its own arguments
    "treespec",
    "LeafSpec",
)


def quiet() -> None:
    """Hide them, and the progress bars of loading and saving language models."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for words in HIDDEN:
        warnings.filterwarnings("ignore", message=f".*{words}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_useful)


def _is_useful(record: logging.LogRecord) -> bool:
    return not any(
        words in record.getMessage() for words in ("Tip:", "TPU", "was configured so 100%")
    )
