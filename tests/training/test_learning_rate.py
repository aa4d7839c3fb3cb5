"""Schedules by hand; the config's optimizer and schedule in a fit, and in one that is resumed."""

import math

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from r4t.errors import InputError
from r4t.training.learning_rate import (
    ScheduledModule,
    WarmupConstant,
    WarmupCosine,
    WarmupLinear,
)

PEAK = 0.5


def test_warm_up_and_cosine_by_hand():
    # Warm-up 2, end 10: step 6 is half way, (1 + cos(π/2)) / 2; step 4 a quarter.
    schedule, steps = WarmupCosine(2), (0, 1, 2, 4, 6, 10, 99)
    quarter = (1 + math.cos(math.pi / 4)) / 2
    expected = pytest.approx([0.5, 1.0, 1.0, quarter, 0.5, 0.0, 0.0])
    assert [schedule.factor(step, 10) for step in steps] == expected
    assert [WarmupCosine(2, end=10).factor(step, 1000) for step in steps] == expected
    assert WarmupCosine(0).factor(0, 10) == 1.0


def test_warm_up_and_a_line_by_hand():
    # Warm-up 4, end 20: ¼ · 1, ½ · 19/20, 1 · 16/20, then the line alone.
    factors = [WarmupLinear(4).factor(step, 20) for step in (0, 1, 4, 10, 20, 25)]
    assert factors == pytest.approx([0.25, 0.475, 0.8, 0.5, 0.0, 0.0])


def test_warm_up_and_a_constant_by_hand():
    factors = [WarmupConstant(4).factor(step, math.inf) for step in (0, 1, 3, 4, 1000)]
    assert factors == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert WarmupConstant(0).factor(0, math.inf) == 1.0
    with pytest.raises(InputError, match=r"warmup .*at least 0, .*found -1"):
        WarmupConstant(-1)


class Weight(ScheduledModule):
    """One weight with a constant gradient of 1; a frozen one beside it."""

    def __init__(self, optimizer, schedule):
        super().__init__(optimizer, schedule)
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.frozen = torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    def training_step(self, batch, batch_idx):
        return self.weight


class Record(Callback):
    """Keeps the settings of the optimizer at each step."""

    def __init__(self):
        self.groups = {}

    def on_train_batch_start(self, trainer, *_):
        (group,) = trainer.optimizers[0].param_groups
        self.groups[trainer.global_step] = {k: v for k, v in group.items() if k != "params"}

    @property
    def rates(self):
        return [group["lr"] for group in self.groups.values()]


def sgd(rate=PEAK, **settings):
    return lambda weights: torch.optim.SGD(weights, lr=rate, **settings)


def fit(module, folder, steps=6, checkpoint=None, **arguments):
    """Return what was recorded of a fit of so many steps, in epochs of four."""
    record = Record()
    off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[record],
        enable_checkpointing=False,
        **{"max_steps": steps, **off, **arguments},
    )
    trainer.fit(module, DataLoader(range(4)), ckpt_path=checkpoint)
    trainer.save_checkpoint(folder / "last.ckpt")
    return record


def test_a_fit_follows_its_schedule_to_the_last_step(tmp_path):
    module = Weight(sgd(), WarmupLinear(2))
    rates = fit(module, tmp_path).rates
    # Half of the peak, then 5/6, 4/6 … 1/6 of it.
    assert rates == pytest.approx([0.25, 2.5 / 6, 2 / 6, 1.5 / 6, 1 / 6, 0.5 / 6])
    assert module.weight.item() == pytest.approx(-sum(rates))
    assert module.trained_parameters() == [module.weight]


def test_epochs_end_a_schedule_too(tmp_path):
    rates = fit(Weight(sgd(), WarmupCosine(0)), tmp_path, steps=-1, max_epochs=2).rates
    # Two epochs of four steps: the cosine ends at step 8.
    expected = [PEAK * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [WarmupCosine(1000), WarmupLinear(1000)])
def test_a_training_without_end_is_refused_before_its_first_step(tmp_path, schedule):
    module = Weight(sgd(), schedule)
    message = r"a training with a last step, .* but found a trainer without end\. Set max_steps"
    with pytest.raises(InputError, match=message):
        fit(module, tmp_path, steps=-1, max_epochs=-1)
    assert module.weight.item() == 0


@pytest.mark.parametrize("schedule", [WarmupCosine(0, end=8), WarmupConstant(2)])
def test_a_schedule_with_an_end_of_its_own_needs_none(tmp_path, schedule):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == 3

    record = Record()
    Trainer(
        accelerator="cpu", max_epochs=-1, default_root_dir=tmp_path, callbacks=[record, Stop()],
        logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    ).fit(Weight(sgd(), schedule), DataLoader(range(4)))  # fmt: skip
    assert record.rates == [PEAK * schedule.factor(step, math.inf) for step in range(3)]


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_learning_rate_must_be_finite_and_above_0(tmp_path, rate):
    def build(weights):
        optimizer = torch.optim.SGD(weights, lr=PEAK)
        optimizer.param_groups[0]["lr"] = rate
        return optimizer

    with pytest.raises(InputError, match=rf"finite and above 0, but found {rate}\. 3e-4 suits"):
        fit(Weight(build, WarmupConstant()), tmp_path)


def test_a_resumed_fit_continues_bit_for_bit(tmp_path):
    def build():
        return Weight(sgd(momentum=0.9), WarmupCosine(2, end=6))

    whole = build()
    rates = fit(whole, tmp_path).rates
    fit(build(), tmp_path, steps=3)
    resumed = build()
    assert fit(resumed, tmp_path, checkpoint=tmp_path / "last.ckpt").rates == rates[3:]
    assert torch.equal(resumed.weight, whole.weight)


def test_the_config_wins_over_a_checkpoint(tmp_path):
    fit(Weight(sgd(momentum=0.9), WarmupCosine(2, end=6)), tmp_path, steps=3)
    changed = Weight(sgd(1e-5, momentum=0.5, weight_decay=0.1), WarmupLinear(2))
    record = fit(changed, tmp_path, steps=8, checkpoint=tmp_path / "last.ckpt")
    # The line ends at step 8, of which 5, 4 … 1 are left.
    assert list(record.groups) == [3, 4, 5, 6, 7]
    assert record.rates == pytest.approx([1e-5 * left / 8 for left in (5, 4, 3, 2, 1)])
    group = record.groups[3]
    assert (group["momentum"], group["weight_decay"], group["initial_lr"]) == (0.5, 0.1, 1e-5)
