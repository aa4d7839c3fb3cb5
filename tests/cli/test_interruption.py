"""Ctrl-C as a real signal to a separate process: what it leaves resumes to the same end."""

import json
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

import r4t.cli.lightning  # noqa: F401  (its logger would keep the captured stderr of one test)
from r4t.__main__ import main
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.support.configs import configs_folder
from r4t.support.interruption import AtOnce, Interruption

TUNE = {
    "model": {
        "init_args": {
            "grpo": {"group_size": 4},
            "sampling": {"max_new_tokens": 20},
            "optimizer": {"init_args": {"lr": 1e-2}},
        }
    },
    "data": {"init_args": {"batch_size": 4, "val_queries": 4}},
    "trainer": {
        "max_steps": 60,  # 30 rollouts
        "val_check_interval": 10,
        "log_every_n_steps": 1,
        "callbacks": [
            {"class_path": "r4t.training.callbacks.KeepLast", "init_args": {"every": 7}},
            {"class_path": "r4t.training.callbacks.Export"},
        ],
    },
}
SYNTHESIZE = {
    "model": {
        "init_args": {
            "sampling": {"samples": 4, "model": "warm_start/model"},
            "writing": {"overwrite": False},
        }
    },
    "data": {"init_args": {"batch_size": 1}},
}


@pytest.fixture
def run(small_run):
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red linen shirt"], None)
    FanoutModel(lm, tokenizer, Expand(set_size=5), 8).save(small_run.step("warm_start") / "model")
    return small_run


def command(tmp_path, run, verb, name, settings):
    path = tmp_path / f"{verb}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    toy = configs_folder() / "toy" / name
    return [verb, *map(str, ("--config", toy, "--config", path, "--run", run.folder))]


def stopped(arguments, begun, tmp_path, times=1):
    """Run the program, send Ctrl-C once it has begun → exit code, what it printed."""
    path = tmp_path / "printed.txt"

    def program():
        with path.open("w") as out:
            os.dup2(out.fileno(), 2)
            os.dup2(out.fileno(), 1)
        sys.stderr, sys.stdout = os.fdopen(2, "w"), os.fdopen(1, "w")
        sys.argv = ["r4t", *arguments]
        main()

    process = multiprocessing.get_context("fork").Process(target=program, daemon=True)
    process.start()
    wait(lambda: begun() or not process.is_alive(), pause=0.002)
    for _ in range(times):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.01)
    process.join(120)
    return process.exitcode, path.read_text()


def test_a_fit_stopped_by_the_user_goes_on_to_the_same_end(program, run, tmp_path):
    arguments = command(tmp_path, run, "fit", "1_tune.yaml", TUNE)
    step = run.step("tune")
    last = step / "checkpoints" / "last.ckpt"
    code, printed = stopped(arguments, last.exists, tmp_path)
    assert code == 130, printed
    assert "Traceback" not in printed
    sentence = printed.splitlines()[-1]
    match = re.match(
        r"r4t: stopped at step (\d+); resume with: (r4t fit .* --ckpt_path last)$", sentence
    )
    assert match is not None, printed
    # The checkpoint is of the very step, not of the last seventh rollout.
    assert torch.load(last, weights_only=False)["global_step"] == int(match[1]) < 60
    assert shlex.split(match[2]) == ["r4t", *arguments, "--ckpt_path", "last"]
    assert not (step / "model").exists()
    assert program(*shlex.split(match[2])[1:])[0] == 0
    ended = load_file(step / "model" / "model.safetensors")
    step.rename(tmp_path / "stopped")
    assert program(*arguments)[0] == 0
    whole = load_file(step / "model" / "model.safetensors")
    assert all(torch.equal(ended[name], whole[name]) for name in whole)


def test_the_second_time_a_fit_stops_at_once(run, tmp_path):
    arguments = command(tmp_path, run, "fit", "1_tune.yaml", TUNE)
    last = run.step("tune") / "checkpoints" / "last.ckpt"
    code, printed = stopped(arguments, last.exists, tmp_path, times=2)
    assert code == 130, printed
    assert re.search(
        r"\nr4t: stopped at (once; resume from the last checkpoint with|step \d+; resume with): ",
        printed,
    )
    assert printed.rstrip().endswith("--ckpt_path last")


def test_ranks_stop_at_one_step_and_one_of_them_reports(run, tmp_path):
    arguments = command(tmp_path, run, "fit", "1_tune.yaml", TUNE)
    arguments += ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
    last = run.step("tune") / "checkpoints" / "last.ckpt"
    path = tmp_path / "printed.txt"
    with path.open("w") as out:
        # A terminal sends the signal to the whole group: to the ranks as to the program.
        first = subprocess.Popen(
            [sys.executable, "-m", "r4t", *arguments],
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        wait(lambda: last.exists() or first.poll() is not None)
        ranks = psutil.Process(first.pid).children(recursive=True)
        os.killpg(first.pid, signal.SIGINT)
        code = first.wait(120)
    printed = path.read_text()
    assert code == 130, printed
    sentences = re.findall(
        r"^r4t: stopped at step (\d+); resume with: .* --ckpt_path last$", printed, re.M
    )
    assert len(sentences) == 1, printed
    assert "Traceback" not in printed
    kept = torch.load(last, weights_only=False)
    assert kept["global_step"] == int(sentences[0]) < 60
    assert len(kept["r4t"]["random"]) == 2
    wait(lambda: not any(map(running, ranks)))
    assert ranks
    assert not any(map(running, ranks))


def running(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait(until, pause=0.01):
    end = time.monotonic() + 120
    while not until() and time.monotonic() < end:
        time.sleep(pause)


def sums(folder):
    """What the manifest counts, whatever the shards."""
    content = json.loads((folder / "manifest.json").read_text())
    return {name: content[name] for name in ("queries", "sets", "drawn", "dropped")}


def test_a_synthesis_stopped_by_the_user_goes_on(program, run, tmp_path):
    arguments = command(tmp_path, run, "synthesize", "2_synthesize.yaml", SYNTHESIZE)
    folder = run.step("targets")
    code, printed = stopped(arguments, (folder / "begun.json").exists, tmp_path)
    assert code == 130, printed
    shown = shlex.join(["r4t", *arguments])
    assert re.search(
        rf"\nr4t: stopped after batch \d+; .* resume with: {re.escape(shown)}\n$", printed
    )
    landed = sum(len(json.loads(p.read_text())["queries"]) for p in folder.glob("shard-*.json"))
    assert 0 < landed < 24
    assert not (folder / "manifest.json").exists()
    code, _, err = program(*arguments)
    assert code == 0, err
    ended = sums(folder)
    assert ended["queries"] == 24
    again = ["--model.init_args.writing.overwrite", "true"]
    assert program(*arguments, *again)[0] == 0
    assert sums(folder) == ended


def test_two_signals():
    interruption = Interruption()
    interruption.listen()
    try:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        with pytest.raises(AtOnce):
            signal.raise_signal(signal.SIGINT)
    finally:
        interruption.leave()
    with pytest.raises(KeyboardInterrupt) as plain:
        signal.raise_signal(signal.SIGINT)
    assert not isinstance(plain.value, AtOnce)


def test_a_verb_without_checkpoints_says_the_same_command(program, monkeypatch):
    def run_verb(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("r4t.__main__.run", run_verb)
    code, _, err = program("evaluate", "runs/my run")
    assert code == 130
    assert err == (
        "r4t: stopped; no file is half-written; start again with: r4t evaluate 'runs/my run'\n"
    )
