"""A resumed fit equals one that was never interrupted, bit for bit, unless its config changed."""

import csv
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import AdamW

from r4t.__main__ import run as run_verb
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.grpo.module import FanoutTuner
from r4t.grpo.monitor.rollout_tables import SampleTable
from r4t.grpo.training import Sampling, adamw
from r4t.grpo.warm_start import WarmStart
from r4t.reward import Ramp, Reward
from r4t.support.configs import configs_folder
from r4t.training.callbacks import KeepLast
from r4t.training.collapse import Rule
from r4t.training.learning_rate import WarmupLinear
from r4t.training.watchdog import RollBack, Watchdog

TIMED = ("seconds", "tokens_per_second", "hits")  # what differs from one run to the next
STEPS = 8  # 24 queries in batches of 4: an epoch ends after the sixth, or is cut after the fourth


class Curve(Callback):
    """Records the queries, completions and rewards of each step, and the weights after it."""

    def __init__(self, flat):
        self.flat, self.steps = flat, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        step = {"queries": [query.id for query in batch], "weights": self.flat(pl_module)}
        step["rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        if isinstance(pl_module, FanoutTuner):
            rollout = pl_module.rollout
            step |= {"texts": rollout.fanouts.texts, "rewards": rollout.rewards}
        self.steps.append(step)


class Rates(Callback):
    """Records the settings that the optimizer uses at each step."""

    def __init__(self):
        self.rates, self.betas, self.decays = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        (group,) = optimizer.param_groups
        self.rates.append(group["lr"])
        self.betas.append(group["betas"])
        self.decays.append(group["weight_decay"])


class Killed(Exception):
    """Ends a fit at once."""


class Kill(Checkpoint):
    """Ends a fit as it begins the step after a number of steps."""

    def __init__(self, after):
        self.left = after

    def on_train_batch_start(self, trainer, pl_module, *_):
        if self.left == 0:
            raise Killed
        self.left -= 1


def tuner(tiny, **arguments):
    seed_everything(3, verbose=False)
    ramp = Ramp(1.0, 0.2, steps=12)
    reward = Reward({"letters": ramp, "diversity": 0.1}, {"letters": tiny.Noisy()})
    return tiny.tuner(reward=reward, **arguments)


def warm_start(tiny, **changes):
    seed_everything(3, verbose=False)
    lm = tiny.Dropout(width=32, layers=1, vocabulary=300)
    arguments = {"optimizer": adamw(1e-2), "sampling": Sampling(max_new_tokens=12)}
    return WarmStart(
        str(tiny.run.folder),
        Reward({"diversity": 1.0}),
        lm=lm,
        form=Expand(set_size=3),
        **(arguments | changes),
    )


def rows(folder):
    """The rows that a logger wrote, without timings."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        return [
            {name: value for name, value in row.items() if value and not name.endswith(TIMED)}
            for row in csv.DictReader(lines)
        ]


@pytest.fixture
def fit(tiny, tmp_path):
    """Fits into a folder by name; returns what ``Curve`` recorded and the rows of the log."""

    def call(name, make, *callbacks, **arguments):
        curve, folder = Curve(tiny.flat), tmp_path / name
        settings = {"logger": CSVLogger(str(folder), name="logs"), "default_root_dir": str(folder)}
        settings |= {"limit_val_batches": 1, "enable_checkpointing": None, **arguments}
        with suppress(Killed):
            tiny.fit(curve, *callbacks, module=make(tiny), **settings)
        version = tiny.last.logger.version
        return curve.steps, rows(folder / "logs" / f"version_{version}")

    return call


def last(tmp_path, name):
    return tmp_path / name / "checkpoints" / "last.ckpt"


def same(steps, expected):
    """Check that two fits did the same at each step, bit for bit."""
    assert len(steps) == len(expected)
    for step, other in zip(steps, expected):
        assert step.keys() == other.keys()
        for name, value in step.items():
            equal = torch.equal if isinstance(value, torch.Tensor) else value.__eq__
            assert equal(*((value, other[name]) if equal is torch.equal else (other[name],))), name


def steps_of(make):
    return {"max_steps": STEPS * (2 if make is tuner else 1)}  # a tuner makes 2 per rollout


EPOCHS = {"max_steps": -1, "max_epochs": 2, "limit_train_batches": 4}
VALIDATES = {
    "every 2 steps": {"val_check_interval": 2, "check_val_every_n_epoch": None},
    "every 5 steps": {"val_check_interval": 5, "check_val_every_n_epoch": None},
    "twice an epoch": {"val_check_interval": 2, **EPOCHS},
}


@pytest.mark.parametrize("when", VALIDATES)
@pytest.mark.parametrize("make", [tuner, warm_start])
def test_a_fit_killed_after_every_step(fit, tmp_path, make, when):
    """Each step runs in another fit, with a new model, new data and empty caches."""
    settings = steps_of(make) | VALIDATES[when]
    whole, log = fit("plain", make, **settings)  # keeping checkpoints changes nothing
    assert len(whole) == STEPS
    assert any("val/reward/mean" in row for row in log)
    done, logged, path = [], [], None
    for _ in range(STEPS):
        steps, more = fit("killed", make, KeepLast(1), Kill(after=1), ckpt_path=path, **settings)
        done, logged, path = done + steps, logged + more, last(tmp_path, "killed")
    same(done, whole)
    assert logged == log


@dataclass(frozen=True)
class After(Rule):
    """Holds once the detector has a number of rows."""

    rollouts: int

    def evidence(self, detector):
        return "enough seen" if len(detector.rows) >= self.rollouts else ""


@pytest.mark.parametrize("killed", [3, 4, 5, 6])
def test_a_watchdog_that_rolls_back_and_the_samples_resume(fit, tmp_path, killed):
    """The rule holds at 4 and 5: the fifth rollout ends in a rollback, before or after the kill."""

    def watched(name):
        dog = Watchdog(RollBack(slower=0.5), window=2, patience=2, rules=[After(4)])
        return [dog, SampleTable(1, folder=str(tmp_path / name / "samples"))]

    settings = steps_of(tuner) | VALIDATES["every 5 steps"]
    with pytest.warns(UserWarning, match="after rollout 5, .* are those after rollout 0, and"):
        whole, log = fit("whole", tuner, *watched("whole"), **settings)
    callbacks = watched("killed")
    begun, head = fit("killed", tuner, *callbacks, KeepLast(2), Kill(after=killed), **settings)
    saved = killed - killed % 2  # steps that the last checkpoint holds
    path = last(tmp_path, "killed")
    callbacks = watched("killed")
    rest, tail = fit("killed", tuner, *callbacks, KeepLast(2), ckpt_path=path, **settings)
    same(begun, whole[:killed])
    same(rest, whole[saved:])
    # A row that both have is one: what was done twice was done alike.
    assert [row for row in head if int(row["step"]) < saved] + tail == log
    assert all(row in log for row in head)
    for path in sorted((tmp_path / "whole" / "samples" / "version_0").iterdir()):
        versions = [tmp_path / "killed" / "samples" / f"version_{n}" / path.name for n in range(2)]
        written = [version.read_text() for version in versions if version.is_file()]
        assert written
        assert set(written) == {path.read_text()}


def test_a_finished_fit_resumes_if_more_steps_are_requested(fit, tmp_path):
    settings = VALIDATES["every 2 steps"]
    whole, _ = fit("whole", tuner, max_steps=2 * STEPS, **settings)
    first, _ = fit("part", tuner, KeepLast(100), max_steps=10, **settings)
    path = last(tmp_path, "part")
    assert fit("part", tuner, max_steps=10, ckpt_path=path, **settings) == ([], [])
    rest, _ = fit("part", tuner, KeepLast(100), max_steps=2 * STEPS, ckpt_path=path, **settings)
    same(first + rest, whole)


def test_no_checkpoint_is_written_while_gradients_accumulate(fit, tmp_path):
    """Two batches per optimizer step: a checkpoint that is due after the third waits for the fourth."""
    settings = VALIDATES["every 5 steps"] | {"accumulate_grad_batches": 2, "max_steps": 4}
    whole, _ = fit("whole", warm_start, **settings)
    fit("killed", warm_start, KeepLast(3), Kill(after=5), **settings)
    path = last(tmp_path, "killed")
    rest, _ = fit("killed", warm_start, KeepLast(3), ckpt_path=path, **settings)
    same(rest, whole[4:])


def resumed(fit, tmp_path, make, steps, more, **arguments):
    """Return what ``Rates`` recorded of a fit, and of one that resumes it with other arguments."""
    first, second = Rates(), Rates()
    settings = {"limit_val_batches": 0}
    fit("part", make, KeepLast(100), first, max_steps=steps, **settings)
    changed = partial(make, **arguments)
    path = last(tmp_path, "part")
    fit("part", changed, KeepLast(100), second, max_steps=more, ckpt_path=path, **settings)
    return first, second


def test_a_resumed_tuning_takes_the_optimizer_of_the_config(fit, tmp_path):
    optimizer = partial(AdamW, lr=1e-5, betas=(0.8, 0.9), weight_decay=0.1)
    first, second = resumed(fit, tmp_path, tuner, 6, 12, optimizer=optimizer)
    # A warm-up of 10 steps; the fit resumes at step 6.
    assert first.rates == pytest.approx([1e-2 * step / 10 for step in range(1, 7)])
    shares = [0.7, 0.8, 0.9, 1.0, 1.0, 1.0]
    assert second.rates == pytest.approx([1e-5 * share for share in shares])
    assert second.betas == [(0.8, 0.9)] * 6
    assert second.decays == [0.1] * 6


def test_a_resumed_tuning_takes_the_schedule_of_the_config(fit, tmp_path):
    _, second = resumed(fit, tmp_path, tuner, 6, 12, schedule=WarmupLinear(0))
    assert second.rates == pytest.approx([1e-2 * (1 - step / 12) for step in range(6, 12)])


def test_a_resumed_warm_start_takes_the_rate_of_the_config(fit, tmp_path):
    first, second = resumed(fit, tmp_path, warm_start, 4, 8, optimizer=adamw(1e-5))
    # Up over 20 steps, down to 0 at the end that each fit has.
    assert first.rates == pytest.approx([1e-2 * (n + 1) / 20 * (1 - n / 4) for n in range(4)])
    assert second.rates == pytest.approx([1e-5 * (n + 1) / 20 * (1 - n / 8) for n in range(4, 8)])


def test_extending_a_finished_warm_start_spends_no_step_at_rate_0(fit, tmp_path):
    _, second = resumed(fit, tmp_path, warm_start, 4, 8)
    whole = Rates()
    fit("whole", warm_start, whole, max_steps=8, limit_val_batches=0)
    assert second.rates == whole.rates[4:]
    assert second.rates[0] == pytest.approx(1e-2 * 5 / 20 * (1 - 4 / 8))


def test_a_slowdown_after_a_rollback_survives_a_resume_at_another_rate(fit, tmp_path):
    """Back to step 0 after the fifth rollout, at half the rate; resumed after the sixth."""
    first, second = Rates(), Rates()

    def dog():
        return Watchdog(RollBack(slower=0.5), window=2, patience=2, rules=[After(4)])

    with pytest.warns(UserWarning, match="goes on with 0.5 of the learning rate"):
        fit("part", tuner, dog(), KeepLast(100), first, max_steps=12)
    path = last(tmp_path, "part")
    changed = partial(tuner, optimizer=adamw(1e-4))
    fit("part", changed, dog(), KeepLast(100), second, max_steps=14, ckpt_path=path)
    assert first.rates[10:] == pytest.approx([1e-2 * 0.1 / 2, 1e-2 * 0.2 / 2])
    assert second.rates == pytest.approx([1e-4 * 0.3 / 2, 1e-4 * 0.4 / 2])


def test_the_program_resumes_at_the_rate_on_its_command_line(tiny, tmp_path):
    """A checkpoint holds the rate of the step after its last, here the third and the fifth of 10."""
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red linen shirt"], None)
    model = FanoutModel(lm, tokenizer, Expand(set_size=3), 12)
    model.save(tiny.run.step("warm_start") / "model")
    toy = str(configs_folder() / "toy" / "1_tune.yaml")
    words = [
        "fit",
        "--config",
        toy,
        "--run",
        str(tiny.run.folder),
        "--data.init_args.batch_size",
        "4",
    ]
    words += ["--trainer.limit_val_batches", "0", "--trainer.enable_progress_bar", "false"]
    words += ["--model.init_args.sampling.max_new_tokens", "12"]
    path = tiny.run.step("tune") / "checkpoints" / "last.ckpt"
    rates = []
    resume = ["--ckpt_path", "last", "--model.init_args.optimizer.init_args.lr", "1e-5"]
    for steps, more in (("2", []), ("4", resume)):
        run_verb([*words, "--trainer.max_steps", steps, *more])
        (state,) = torch.load(path, weights_only=True)["optimizer_states"]
        rates.append(state["param_groups"][0]["lr"])
    assert rates == pytest.approx([5e-4 * 0.3, 1e-5 * 0.5])
