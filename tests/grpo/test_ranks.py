"""Two processes tune as one does at the same global batch, resume, and never hang."""

import json
import multiprocessing
import signal
from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch import Callback

from r4t.fanout.backend import Transformers
from r4t.grpo.training import adamw
from r4t.reward import Reward
from r4t.training.callbacks import KeepLast
from r4t.training.soft_grpo import SoftGRPO

TWO = {"strategy": "ddp_fork", "devices": 2}


@contextmanager
def in_time(seconds):
    """Fail after some time, and end the processes that still wait for each other."""

    def fail(*_):
        for process in multiprocessing.active_children():
            process.kill()
        pytest.fail(f"the processes still wait after {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Report(Callback):
    """Writes the steps of a rank into a file, as forked processes return little."""

    def __init__(self, folder, flat):
        self.folder, self.flat, self.steps, self.losses = folder, flat, [], []

    def on_train_start(self, trainer, pl_module):
        inner = pl_module._pass

        def outer(*arguments):
            results = inner(*arguments)
            self.losses.append(results[0].item())
            return results

        pl_module._pass = outer

    def on_train_batch_end(self, trainer, pl_module, *_):
        rollout = pl_module.rollout
        parsed = [len(texts) for texts in rollout.fanouts.subqueries]
        queries = [query.id for query in rollout.queries]
        self.steps.append({"queries": queries, "texts": rollout.fanouts.texts, "parsed": parsed})

    def on_fit_end(self, trainer, pl_module):
        report = {"steps": self.steps, "losses": self.losses, "global": trainer.global_step}
        report["weights"] = self.flat(pl_module).tolist()
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(report))


def tuner(tiny, skip_flat_groups=False, **arguments):
    return tiny.tuner(grpo=SoftGRPO(group_size=4, skip_flat_groups=skip_flat_groups), **arguments)


@pytest.fixture
def reports(tiny, tmp_path):
    """Fits and returns what each rank reports."""

    def call(name, *callbacks, module=None, **arguments):
        folder = tmp_path / f"reports-{name}"
        with in_time(120):
            tiny.fit(Report(folder, tiny.flat), *callbacks, module=module, **arguments)
        return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]

    return call


def test_the_loss_curve_of_two_is_that_of_one(tiny, reports):
    """Four rollouts of two updates each, past the end of an epoch, as the loader deals them."""
    one, two = (
        reports(f"{len(more)}", module=tuner(tiny, optimizer=adamw(1e-3)), rollouts=4,
                batch_size=size, **more)
        for size, more in ((8, {}), (4, TWO))
    )  # fmt: skip
    (one,) = one
    assert len(one["steps"]) == 4
    assert len(one["losses"]) == 8
    for whole, *parts in zip(one["steps"], *(rank["steps"] for rank in two), strict=True):
        dealt = [query for part in parts for query in part["queries"]]
        assert sorted(dealt) == sorted(whole["queries"])
        assert parts[0]["queries"] != parts[1]["queries"]
        assert sorted(parts[0]["texts"] + parts[1]["texts"]) == sorted(whole["texts"])
    for loss, *parts in zip(one["losses"], *(rank["losses"] for rank in two), strict=True):
        assert sum(parts) / 2 == pytest.approx(loss, abs=1e-5)
    assert len({round(loss, 4) for loss in one["losses"]}) > 4  # it is a curve
    assert two[0]["weights"] == two[1]["weights"]
    difference = torch.tensor(two[0]["weights"]) - torch.tensor(one["weights"])
    start = tiny.flat(tuner(tiny))
    moved = (torch.tensor(one["weights"]) - start).abs().max()
    assert difference.abs().max() < 1e-2 * moved


class Silent(Transformers):
    """Ends each completion of rank 1 before it begins."""

    def generate(self, model, prompts):
        if torch.distributed.get_rank() == 0:
            return super().generate(model, prompts)
        rows = len(prompts.seeds) * prompts.group_size
        return torch.full((rows, 1), model.tokenizer.eos_token_id)


@pytest.mark.parametrize("skip", [False, True])
def test_a_rank_without_a_parsable_completion_does_not_hang_the_other(tiny, reports, skip):
    module = tuner(tiny, skip_flat_groups=skip)
    before = tiny.flat(module)
    module.fanout.backend = Silent()
    speaks, silent = reports("silent", module=module, rollouts=3, **TWO)
    assert [set(step["texts"]) for step in silent["steps"]] == [{""}] * 3
    assert {count for step in silent["steps"] for count in step["parsed"]} == {0}
    assert max(count for step in speaks["steps"] for count in step["parsed"]) > 0
    assert speaks["global"] == silent["global"] == 6
    assert speaks["weights"] == silent["weights"]
    assert (torch.tensor(speaks["weights"]) - before).abs().max() > 1e-3


def test_two_processes_resume_bit_for_bit(tiny, reports, tmp_path):
    """The objective draws at random, and each rank has another random state."""

    def drawing():
        return tiny.tuner(reward=Reward({"letters": 1.0}, {"letters": tiny.Noisy()}))

    settings = {"default_root_dir": str(tmp_path), "enable_checkpointing": None, **TWO}
    whole = reports("whole", KeepLast(100), module=drawing(), rollouts=5, **settings)
    reports("part", KeepLast(2), module=drawing(), rollouts=2, **settings)
    path = tmp_path / "checkpoints" / "last.ckpt"
    states = torch.load(path, weights_only=True)["r4t"]["random"]
    assert not torch.equal(states[0]["torch"], states[1]["torch"])
    rest = reports("rest", KeepLast(2), module=drawing(), rollouts=5, ckpt_path=path, **settings)
    for steps, expected in zip(rest, whole, strict=True):
        assert steps["steps"] == expected["steps"][2:]
        assert steps["losses"] == expected["losses"][4:]
        assert steps["weights"] == expected["weights"]
