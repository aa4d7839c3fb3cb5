"""A fit that goes on from any of its checkpoints is the fit that was never interrupted, bit for bit."""

import csv
import shutil

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.loggers import CSVLogger

from r4t import callbacks
from r4t.callbacks import KeepLast
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.grpo.module import FanoutTuner, WarmStart
from r4t.reward import Ramp, Reward

TIMED = ("seconds", "tokens_per_second", "hits")  # what differs from one run to the next


class Dropout(TinyQwen3):
    """A tiny model whose attention drops out, so that the global random state matters."""

    def build(self, texts, root):
        lm, tokenizer = super().build(texts, root)
        for layer in lm.model.layers:
            layer.self_attn.attention_dropout = 0.3
        return lm, tokenizer


class Curve(Callback):
    """Keeps of each step what it was asked, its rewards, and the weights after it."""

    def __init__(self, flat):
        self.flat, self.steps = flat, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        rollout = getattr(pl_module, "rollout", None)
        self.steps.append(
            {
                "queries": [query.id for query in batch],
                "texts": None if rollout is None else rollout.texts,
                "rewards": torch.zeros(0) if rollout is None else rollout.rewards,
                "weights": self.flat(pl_module),
                "rate": trainer.optimizers[0].param_groups[0]["lr"],
            }
        )


def rows(folder):
    """What the logger wrote, row by row, but for what is timed."""
    path = folder / "metrics.csv"
    found = []
    if path.is_file():  # a fit that was at its end has no log
        with path.open(encoding="utf-8") as lines:
            found = list(csv.DictReader(lines))
    return [
        {name: value for name, value in row.items() if value and not name.endswith(TIMED)}
        for row in found
    ]


@pytest.fixture
def fits(tiny, tmp_path, monkeypatch):
    """Fits with a log of its own; of one with ``KeepLast(1)``, keeps the checkpoint of each step."""
    kept = []

    def put(source, target):
        callbacks_put(source, target)
        if target.name == "last.ckpt":
            name = f"{call.name}-{len(kept) + 1}.ckpt"
            kept.append(shutil.copy(target, tmp_path / name))

    callbacks_put = callbacks.put
    monkeypatch.setattr(callbacks, "put", put)

    def call(name, make, *others, **arguments):
        kept.clear()
        call.name = name
        curve, logger = Curve(tiny.flat), CSVLogger(str(tmp_path), name="logs", version=name)
        settings = {"logger": logger, "limit_val_batches": 1, "enable_checkpointing": None}
        settings |= {"val_check_interval": 2, "check_val_every_n_epoch": None}
        tiny.fit(curve, *others, module=make(), **{**settings, **arguments})
        return curve.steps, rows(tmp_path / "logs" / name)

    call.kept = kept
    return call


def check(found, whole, after):
    """The steps of a resumed fit are the last ones of the whole fit."""
    assert len(found) == len(whole) - after
    for step, expected in zip(found, whole[after:]):
        assert step.keys() == expected.keys()
        for name, value in step.items():
            same = torch.equal if isinstance(value, torch.Tensor) else (lambda a, b: a == b)
            assert same(value, expected[name]), name


def tuner(tiny, **arguments):
    seed_everything(3, verbose=False)
    ramp = Ramp(1.0, 0.2, steps=12)
    reward = Reward({"letters": ramp, "diversity": 0.1}, {"letters": tiny.Letters()})
    lm = Dropout(width=32, layers=1, vocabulary=300)
    settings = {"group_size": 2, "max_new_tokens": 12, "learning_rate": 1e-2}
    return FanoutTuner(str(tiny.run.folder), reward, lm, Expand(set_size=3), **settings)


def warm_start(tiny):
    seed_everything(3, verbose=False)
    lm = Dropout(width=32, layers=1, vocabulary=300)
    arguments = {"learning_rate": 1e-2, "max_new_tokens": 12}
    return WarmStart(
        str(tiny.run.folder), Reward({"diversity": 1.0}), lm, Expand(set_size=3), **arguments
    )


VALIDATES = {
    "every 2 steps": {"val_check_interval": 2, "check_val_every_n_epoch": None},
    "every 5 steps": {"val_check_interval": 5, "check_val_every_n_epoch": None},
    "every epoch": {"val_check_interval": None, "check_val_every_n_epoch": 1},
    "never": {"limit_val_batches": 0},
    "epochs": {"limit_val_batches": 0, "max_steps": -1, "max_epochs": 2, "limit_train_batches": 4},
    "epochs 2": {"val_check_interval": 2, "max_steps": -1, "max_epochs": 2, "limit_train_batches": 4},
    "epochs each": {"val_check_interval": None, "check_val_every_n_epoch": 1, "max_steps": -1, "max_epochs": 2, "limit_train_batches": 4},
}

@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("when", VALIDATES)
@pytest.mark.parametrize("make", [tuner, warm_start])
def test_any_step(tiny, fits, make, when, chain):
    """24 queries in batches of 4: an epoch ends after step 6."""
    steps = 8
    limit = {"max_steps": steps * (2 if make is tuner else 1)} | VALIDATES[when]
    plain, plain_rows = fits("plain", lambda: make(tiny), **limit)
    whole, log = fits("whole", lambda: make(tiny), KeepLast(1), **limit)
    check(whole, plain, 0)
    assert log == plain_rows
    kept = list(fits.kept)
    assert len(kept) == steps
    for step in range(1, steps + 1):
        found, rest = fits(f"after{step}", lambda: make(tiny), KeepLast(1), ckpt_path=kept[step-1], **limit)
        check(found, whole, step)
        assert rest == log[len(log) - len(rest):]
        assert len(rest) == sum(int(row["step"]) >= step for row in log)
        if chain and step < steps:
            kept[step] = fits.kept[0]
