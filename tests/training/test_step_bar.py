import re

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

import r4t.support.progress
from r4t.training.step_bar import StepBar
from tests.training.test_callbacks import Counting


@pytest.fixture
def lines(monkeypatch, capsys):
    """Runs a trainer that shows each step at once → the lines of its log."""
    monkeypatch.setattr(r4t.support.progress, "DELAY", 1e-6)
    monkeypatch.setattr(r4t.support.progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(r4t.support.progress, "_shown", True)

    def run(verb="fit", model=None, **settings):
        off = {"logger": False, "enable_model_summary": False, "enable_checkpointing": False}
        trainer = Trainer(
            accelerator="cpu", enable_progress_bar=False, callbacks=[StepBar()], **off, **settings
        )
        capsys.readouterr()
        loader = DataLoader(torch.zeros(6, 1))
        getattr(trainer, verb)(Counting() if model is None else model, loader)
        return capsys.readouterr().err.splitlines()

    return run


def counts(lines):
    return [re.search(r"(\d+/\d+) \[", line)[1] for line in lines if "/" in line]


def test_the_steps_of_the_whole_fit_are_shown_not_those_of_an_epoch(lines):
    assert counts(lines(max_steps=8)) == [f"{step}/8" for step in range(1, 9)]
    assert counts(lines(max_epochs=2))[-1] == "12/12"


def test_what_the_module_logs_to_the_bar_is_shown(lines):
    class Logging(Counting):
        step = "tune"

        def training_step(self, batch, batch_idx):
            self.log("reward", 0.25, prog_bar=True)
            return super().training_step(batch, batch_idx)

    printed = lines(model=Logging(), max_steps=2)
    assert re.match(r"tune: .*2/2 .*reward=0.25", printed[-1])


def test_a_prediction_counts_its_batches(lines):
    assert counts(lines("predict", limit_predict_batches=3)) == ["1/3", "2/3", "3/3"]
