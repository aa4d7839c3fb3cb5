import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from r4t.time_left import TimeLeft
from tests.training.test_callbacks import Counting


def shown(monkeypatch, capsys, verb="fit", **settings):
    """Plain lines of a trainer that has all its steps told at once."""
    monkeypatch.setattr("r4t.support.progress.EVERY", 0.0)
    loader = DataLoader(torch.zeros(6, 1))
    made = Trainer(
        accelerator="cpu", logger=False, enable_model_summary=False, callbacks=[TimeLeft()],
        enable_checkpointing=False, **settings,
    )  # fmt: skip
    getattr(made, verb)(Counting(), loader)
    told = capsys.readouterr()
    assert "Epoch" not in told.out
    return [
        line.split(" gone")[0].rsplit(",", 1)[0] for line in told.err.splitlines() if "gone" in line
    ]


def test_the_steps_of_the_whole_fit_are_told_not_those_of_an_epoch(monkeypatch, capsys):
    lines = shown(monkeypatch, capsys, max_steps=8)
    assert lines == [f"Counting: {n} of 8 ({n / 8:.0%})" for n in range(1, 9)]
    lines = shown(monkeypatch, capsys, max_epochs=2)
    assert lines[-1] == "Counting: 12 of 12 (100%)"


def test_a_prediction_counts_its_batches(monkeypatch, capsys):
    lines = shown(monkeypatch, capsys, "predict", limit_predict_batches=3)
    assert lines == ["Counting: 1 of 3 (33%)", "Counting: 2 of 3 (67%)", "Counting: 3 of 3 (100%)"]
