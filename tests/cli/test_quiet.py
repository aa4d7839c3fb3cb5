import logging
import warnings

from r4t.cli.quiet import quiet


def test_notices_of_no_use_are_hidden_and_others_are_not(caplog):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        quiet()
        warnings.warn("predict returned None if it was on purpose", stacklevel=1)
        warnings.warn("3 of 9 train queries are left out", stacklevel=1)
    assert [str(found.message) for found in seen] == ["3 of 9 train queries are left out"]
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with caplog.at_level("INFO", logger.name):
        logger.addHandler(caplog.handler)
        logger.info("TPU available: False")
        logger.info("`Trainer.fit` stopped: `max_steps=4` reached.")
        logger.removeHandler(caplog.handler)
    assert "TPU" not in caplog.text
    assert "max_steps=4" in caplog.text
