from types import SimpleNamespace

import pytest
from lightning.pytorch import LightningModule

from r4t.callbacks import Export
from r4t.errors import InputError


class Exporting(LightningModule):
    def __init__(self):
        super().__init__()
        self.folders = []

    def export(self, folder=None):
        self.folders.append(folder)


def trainer(is_global_zero):
    """What the callback asks of a trainer; keeps the names of the barriers it waits at."""
    waits = []
    strategy = SimpleNamespace(barrier=waits.append)
    return SimpleNamespace(is_global_zero=is_global_zero, strategy=strategy, waits=waits)


@pytest.mark.parametrize("folder", [None, "some/where"])
def test_the_first_rank_writes_and_all_wait(folder):
    first, second, module = trainer(True), trainer(False), Exporting()
    Export(folder).on_fit_end(first, module)
    assert module.folders == [folder]
    Export(folder).on_fit_end(second, module)
    assert module.folders == [folder]
    assert first.waits == second.waits == ["export"]


def test_ranks_that_share_weights_all_export():
    second, module = trainer(False), Exporting()
    module.sharded = True
    Export("here").on_fit_end(second, module)
    assert module.folders == ["here"]
    assert second.waits == ["export"]


def test_a_module_that_exports_nothing_is_refused():
    with pytest.raises(InputError, match="an export method, found LightningModule; remove the"):
        Export().on_fit_end(trainer(True), LightningModule())
