"""Fits that are killed and go on, through the program: the model is that of a fit left alone."""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from r4t.__main__ import run as run_verb
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.support.configs import configs_folder

ROLLOUTS = 9  # an epoch is 6 of them
SETTINGS = {
    "model": {
        "init_args": {
            "grpo": {"group_size": 4},
            "sampling": {"max_new_tokens": 20},
            "optimizer": {"init_args": {"lr": 1e-2}},
        }
    },
    "data": {"init_args": {"batch_size": 4, "val_queries": 4}},
    "trainer": {
        "max_steps": 2 * ROLLOUTS,
        "val_check_interval": 4,
        "log_every_n_steps": 1,
        "callbacks": [
            {"class_path": "FanoutStatistics"},
            {
                "class_path": "r4t.grpo.monitor.rollout_tables.SampleTable",
                "init_args": {"every": 1},
            },
            {
                "class_path": "r4t.training.watchdog.Watchdog",
                "init_args": {"action": "r4t.training.watchdog.RollBack", "window": 2},
            },
            {"class_path": "r4t.training.callbacks.KeepLast", "init_args": {"every": 1}},
            {"class_path": "r4t.training.callbacks.Export"},
        ],
    },
}


@pytest.fixture
def arguments(small_run, tmp_path):
    """Of a quick tuning of the small run."""
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red linen shirt"], None)
    FanoutModel(lm, tokenizer, Expand(set_size=5), 8).save(small_run.step("warm_start") / "model")
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    toy = configs_folder() / "toy" / "1_tune.yaml"
    return ["fit", *map(str, ("--config", toy, "--config", path, "--run", small_run.folder))]


def model(step):
    return load_file(step / "model" / "model.safetensors")


def same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def curve(step):
    """Step and log name → value, of all versions; what several have must be the same."""
    values = {}
    for path in sorted(step.glob("logs/version_*/metrics.csv")):
        with path.open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                for name, value in row.items():
                    timed = name.endswith(("seconds", "tokens_per_second", "hits"))
                    if value and not timed and name != "step":
                        assert values.setdefault((row["step"], name), value) == value
    return values


def killed(process, checkpoint, wait):
    """Kill a fit some time after it wrote its first checkpoint."""
    until = time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(wait)
    os.kill(process.pid, signal.SIGKILL)
    return process


def test_a_fit_killed_in_the_middle_goes_on(program, small_run, arguments, tmp_path):
    """Killed twice, once soon after it began and once soon after it went on."""
    step = small_run.step("tune")
    assert program(*arguments)[0] == 0
    whole, log = model(step), curve(step)
    assert len({number for number, _ in log}) == ROLLOUTS
    step.rename(tmp_path / "whole")
    last = step / "checkpoints" / "last.ckpt"
    for number, more in enumerate(([], ["--ckpt_path", "last"])):
        process = multiprocessing.get_context("fork").Process(
            target=run_verb, args=([*arguments, *more],), daemon=True
        )
        process.start()
        killed(process, last, wait=0.15 + 0.3 * number).join()
        assert process.exitcode == -signal.SIGKILL
        assert not (step / "model").exists()
        partial = curve(step)
    assert partial.items() <= log.items()
    assert len(partial) < len(log)
    assert program(*arguments, "--ckpt_path", "last")[0] == 0
    same(model(step), whole)
    assert curve(step) == log


AUDIT = """
import json, os, sys
from pathlib import Path
from lightning.pytorch import Callback
from r4t.fanout.model import FanoutModel

class Audit(Callback):
    \"\"\"Notes which files below a folder a rank opens to write, renames or removes.\"\"\"

    def __init__(self, folder: str, out: str) -> None:
        self.folder, self.out, self.seen = folder, out, []

    def setup(self, trainer, pl_module, stage):
        sys.addaudithook(self.see)
        save = FanoutModel.save
        def noted(model, folder):
            self.seen.append(["model", str(folder)])
            save(model, folder)
        FanoutModel.save = noted

    def see(self, event, args):
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or event in ("os.mkdir", "os.rename", "os.remove"):
            path = args[1] if event == "os.rename" else args[0]
            path = os.path.abspath(path) if isinstance(path, (str, os.PathLike)) else ""
            if path.startswith(self.folder):
                self.seen.append([event, path])

    def on_fit_end(self, trainer, pl_module):
        trainer.strategy.barrier("audit")
        Path(self.out, f"rank-{trainer.global_rank}.json").write_text(json.dumps(self.seen))
"""


def test_of_two_processes_one_writes(program, small_run, arguments, tmp_path, monkeypatch):
    """Config, log, samples, checkpoint and model: all by rank zero."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "auditing.py").write_text(AUDIT)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    audit = {"folder": str(small_run.folder), "out": str(tmp_path)}
    listed = [
        *SETTINGS["trainer"]["callbacks"],
        {"class_path": "auditing.Audit", "init_args": audit},
    ]
    path = tmp_path / "audited.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"callbacks": listed}}), encoding="utf-8")
    two = ["--trainer.strategy", "ddp_fork", "--trainer.devices", "2", "--trainer.max_steps", "8"]
    assert program(*arguments, "--config", path, *two)[0] == 0
    first, second = (json.loads((tmp_path / f"rank-{r}.json").read_text()) for r in range(2))
    assert second == []
    step = small_run.step("tune")
    written = {path for event, path in first if event != "os.mkdir"}
    wanted = ["config.yaml", "model", "model/fanout.json", "checkpoints/last.ckpt"]
    wanted += ["logs/version_0/metrics.csv"]
    wanted += [f"samples/version_0/rollout-{number:06d}.jsonl" for number in range(1, 5)]
    assert {str(step / name) for name in wanted} <= written
    # What is one rollout's or one fit's is written once.
    for name in (*(name for name in wanted if "samples" in name), "config.yaml", "model"):
        times = [path for event, path in first if event in ("open", "model")].count(
            str(step / name)
        )
        assert times == 1, name


@pytest.mark.e2e
def test_a_killed_process_goes_on_in_another(program, small_run, arguments, tmp_path):
    step = small_run.step("tune")
    assert program(*arguments)[0] == 0
    whole, log = model(step), curve(step)
    step.rename(tmp_path / "whole")
    command = [sys.executable, "-m", "r4t", *arguments]
    root, off = Path(__file__).resolve().parents[2], subprocess.DEVNULL
    with subprocess.Popen(command, cwd=root, stdout=off, stderr=off) as process:
        killed(process, step / "checkpoints" / "last.ckpt", wait=0.4)
    assert process.returncode == -signal.SIGKILL
    assert not (step / "model").exists()
    subprocess.run([*command, "--ckpt_path", "last"], cwd=root, check=True, capture_output=True)
    same(model(step), whole)
    files = [folder / "model" / "model.safetensors" for folder in (step, tmp_path / "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert curve(step) == log


def test_a_fit_that_begins_anew_is_not_led_astray(program, small_run, arguments):
    step = small_run.step("tune")
    with pytest.warns(
        UserWarning, match=r"There is no .*last.ckpt to resume from yet: the step starts"
    ):
        assert program(*arguments, "--ckpt_path", "last")[0] == 0
    first = model(step)
    last, previous = (step / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    kept = last.read_bytes()
    assert not previous.exists()
    assert program(*arguments)[0] == 0
    same(model(step), first)
    assert previous.read_bytes() == kept
    assert sorted(path.name for path in last.parent.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_what_cannot_be_resumed_from_is_refused(program, small_run, arguments, tmp_path):
    code, _, err = program(*arguments, "--ckpt_path", tmp_path / "no.ckpt")
    assert code == 2
    assert f"a checkpoint, or 'last', as ckpt_path, but found no file at {tmp_path}/no.ckpt." in err
    options = [
        "--trainer.max_steps",
        "2",
        "--model.init_args.lm",
        "r4t.fanout.language_model.Pretrained",
        "--model.init_args.lm.path",
        "warm_start/model",
    ]
    toy = configs_folder() / "toy" / "0_warm_start.yaml"
    code, _, err = program("fit", "--config", toy, *arguments[-2:], *options)
    assert code == 0, err
    other = small_run.step("warm_start") / "checkpoints" / "last.ckpt"
    code, _, err = program(*arguments, "--ckpt_path", other)
    assert code == 2
    assert "a checkpoint of FanoutTuner to resume from, but found one of WarmStart at" in err
