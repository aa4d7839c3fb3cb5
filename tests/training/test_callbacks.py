from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from r4t.errors import InputError
from r4t.training.callbacks import Export, KeepLast, put


class Exporting(LightningModule):
    def __init__(self):
        super().__init__()
        self.folders = []

    def export(self, folder=None):
        self.folders.append(folder)


def trainer(is_global_zero):
    """The parts of a trainer that the callback uses; records the barriers that it waits at."""
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


def test_a_message_says_that_a_model_will_be_replaced(small_run, tmp_path, monkeypatch):
    messages, module = [], Exporting()
    monkeypatch.setattr("r4t.training.callbacks.rank_zero_info", messages.append)
    module.run, module.step = small_run, "tune"
    Export().on_fit_start(trainer(True), module)
    assert messages == []
    model = small_run.step("tune") / "model"
    model.mkdir(parents=True)
    Export().on_fit_start(trainer(True), module)
    assert messages == [f"The model in {model} stays until this fit ends, which replaces it."]
    Export(str(tmp_path / "other")).on_fit_start(trainer(True), module)
    Export().on_fit_start(trainer(True), Exporting())  # of no run
    assert len(messages) == 1


def test_a_module_that_exports_nothing_is_refused():
    with pytest.raises(
        InputError, match="with an export method, .* but found LightningModule. Remove the"
    ):
        Export().on_fit_end(trainer(True), LightningModule())


class Counting(LightningModule):
    """One weight that each step raises by 1."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return -self.weight

    def predict_step(self, batch, batch_idx):
        return batch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def count(folder, steps, *callbacks, **arguments):
    """A fit of so many steps, in epochs of four."""
    off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    fit = Trainer(
        max_steps=steps,
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=list(callbacks),
        **off,
    )
    fit.fit(Counting(), DataLoader(range(4)), **arguments)
    return fit


def saved_weight(folder, name="last"):
    checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return checkpoint["state_dict"]["weight"].item()


@pytest.mark.parametrize("every, steps", [(1, 1), (3, 7), (100, 6)])
def test_the_last_step_of_a_fit_is_saved(tmp_path, every, steps):
    count(tmp_path, steps, KeepLast(every))
    assert saved_weight(tmp_path) == steps
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_checkpoints_are_written_every_so_often_into_the_given_folder(tmp_path, monkeypatch):
    weights = []
    monkeypatch.setattr(
        "r4t.training.callbacks.put",
        lambda source, target: weights.append(torch.load(source)["state_dict"]["weight"].item()),
    )
    count(tmp_path, 8, KeepLast(3, folder=str(tmp_path / "elsewhere")))
    assert weights == [3, 6, 8]
    assert not (tmp_path / "checkpoints").exists()
    assert (tmp_path / "elsewhere" / "last.ckpt.part").is_file()


def test_a_kill_while_writing_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    count(tmp_path, 2, KeepLast())
    path = tmp_path / "checkpoints" / "last.ckpt"
    before = path.read_bytes()

    def half(strategy, content, part, **_):
        part.write_bytes(before[:100])
        raise KeyError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("lightning.pytorch.strategies.Strategy.save_checkpoint", half)
        with pytest.raises(KeyError, match="killed"):
            count(tmp_path, 6, KeepLast(2), ckpt_path=path)
    assert path.read_bytes() == before
    count(tmp_path, 6, KeepLast(2), ckpt_path=path)
    assert saved_weight(tmp_path) == 6


def test_a_new_fit_puts_the_old_checkpoint_aside(tmp_path):
    count(tmp_path, 5, KeepLast())
    count(tmp_path, 2, KeepLast())
    assert (saved_weight(tmp_path), saved_weight(tmp_path, "previous")) == (2, 5)
    # One that goes on takes its own place.
    count(tmp_path, 3, KeepLast(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert (saved_weight(tmp_path), saved_weight(tmp_path, "previous")) == (3, 5)


def test_a_checkpoint_may_be_a_folder(tmp_path):
    """That of a sharded model is one."""
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]


def test_the_checkpoint_of_another_module_is_refused(tmp_path):
    class Other(Counting):
        pass

    fit = count(tmp_path, 2, KeepLast())
    path = tmp_path / "checkpoints" / "last.ckpt"
    message = f"a checkpoint of Other to resume from, but found one of Counting at {path}. Name"
    with pytest.raises(InputError, match=message):
        fit.fit(Other(), DataLoader(range(4)), ckpt_path=path)


def test_resuming_without_the_callback_warns(tmp_path):
    count(tmp_path, 2, KeepLast())
    with pytest.warns(UserWarning, match="Please add the following callbacks: .'KeepLast'"):
        count(tmp_path, 3, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")


def test_a_checkpoint_every_no_step_is_refused():
    with pytest.raises(InputError, match="every to be at least 1, but found 0. Raise it"):
        KeepLast(0)
