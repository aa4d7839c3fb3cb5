"""Training on weights that two processes share (FSDP2) equals training on one process."""

import json
import os
import signal
import socket
import traceback
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.tensor import DTensor

from r4t.errors import InputError
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import Pretrained, TinyQwen3
from r4t.fanout.lora import LoRA
from r4t.fanout.model import FanoutModel
from r4t.fanout.teachers import FanoutTeacher
from r4t.fanout.weights import shard
from r4t.grpo.training import adamw
from r4t.grpo.warm_start import WarmStart
from r4t.reward import Reward
from r4t.training.callbacks import Export, KeepLast
from r4t.training.soft_grpo import SoftGRPO


def two_processes(work, seconds=60):
    """Run ``work()`` in two forked processes, which Lightning takes for those of a launcher.

    Returns what each returned, as it comes out of JSON.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(seconds)  # a process that waits for the other one would wait forever
            os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            try:
                answer = {"found": work()}
            except BaseException:
                answer = {"failed": traceback.format_exc()}
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
        os.close(writer)
        children.append((child, reader))
    answers = []
    for child, reader in children:
        with open(reader, encoding="utf-8") as pipe:
            text = pipe.read()
        assert os.waitpid(child, 0)[1] == 0, "a process hung"
        answers.append(json.loads(text))
    assert ["failed" in answer for answer in answers] == [False, False], answers
    return [answer["found"] for answer in answers]


def shared(**arguments):
    """Arguments of a trainer on two processes that share the weights."""
    return {"strategy": ModelParallelStrategy(2, 1), "devices": 2, **arguments}


def exported(folder):
    model = FanoutModel.load(folder)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


class Everything(FanoutTeacher):
    """Teaches every query the same additions, so that all batches have as many tokens."""

    def additions(self, searcher, queries, vectors, set_size, seed):
        return [["red shirt", "blue hat"] for _ in queries]


class Shares(Callback):
    """Counts, at the start and the end of training, all weights and those held by this process."""

    def __init__(self):
        self.counts = []

    def count(self, module):
        weights = list(module.fanout.parameters())
        assert all(isinstance(weight, DTensor) for weight in weights)
        held = sum(weight.to_local().numel() for weight in weights)
        self.counts.append([sum(weight.numel() for weight in weights), held])

    def on_train_start(self, trainer, pl_module):
        self.count(pl_module)

    def on_train_end(self, trainer, pl_module):
        self.count(pl_module)


@pytest.fixture
def sources(tiny):
    """Ways to the same model of two layers, by name."""
    lm, tokenizer = TinyQwen3(32, 2, 300).build(tiny.run.searcher().catalog.texts, tiny.run.folder)
    FanoutModel(lm, tokenizer, Expand(set_size=3), 12).save(tiny.run.folder / "start")
    return {
        "whole": Pretrained("start"),
        "checkpointed": Pretrained("start", gradient_checkpointing=True),
        "adapters": LoRA(Pretrained("start", gradient_checkpointing=True), rank=4),
        "adapters in bfloat16": LoRA(Pretrained("start", dtype="bfloat16"), rank=4),
    }


@pytest.mark.parametrize("name", ["whole", "adapters", "adapters in bfloat16"])
def test_tuning_on_shares_equals_tuning_on_the_whole(tiny, sources, tmp_path, name):
    """All 24 queries in one batch, or 12 on each of two ranks, whose completions differ in length."""

    grpo = SoftGRPO(group_size=4, micro_batch=20)

    def tune(folder, batch_size, *callbacks, **arguments):
        module = tiny.tuner(sources[name], grpo=grpo, optimizer=adamw(1e-3))
        callbacks = [Export(str(folder)), *callbacks]
        tiny.fit(*callbacks, module=module, rollouts=2, batch_size=batch_size, **arguments)

    def share():
        shares = Shares()
        tune(tmp_path / "two", 12, shares, **shared())
        return shares.counts

    counts = two_processes(share)
    assert counts[0][0] == counts[0][1]
    (total, first), (_, second) = counts[0][0], counts[1][0]
    assert first + second == total
    assert 0.4 < first / total < 0.6
    tune(tmp_path / "one", 24)
    one, two = exported(tmp_path / "one"), exported(tmp_path / "two")
    start = exported(tiny.run.folder / "start")
    assert (one - start).abs().max() > 9e-4
    # Rounded to bfloat16, a product depends a little on the rows beside.
    assert torch.allclose(one, two, atol=1e-4 if "bfloat16" in name else 1e-5)


def test_a_warm_start_on_shares_equals_one_on_the_whole(tiny, sources, tmp_path):
    def teach(folder, batch_size, **arguments):
        seed_everything(0, verbose=False)
        reward = Reward({"diversity": 1.0})
        module = WarmStart(
            str(tiny.run.folder), reward, lm=sources["checkpointed"], optimizer=adamw(1e-3)
        )
        module.teacher = Everything()
        tiny.fit(
            Export(str(folder)),
            module=module,
            batch_size=batch_size,
            max_steps=3,
            limit_val_batches=1,
            val_check_interval=1,
            gradient_clip_val=1.0,
            **arguments,
        )

    two_processes(lambda: teach(tmp_path / "two", 12, **shared()))
    teach(tmp_path / "one", 24)
    one, two = exported(tmp_path / "one"), exported(tmp_path / "two")
    assert (one - exported(tiny.run.folder / "start")).abs().max() > 1e-4
    assert torch.allclose(one, two, atol=1e-5)


class SaveAt(Callback):
    """Saves a checkpoint after an optimizer step."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_a_sharded_run_resumes_from_its_checkpoint(tiny, sources, tmp_path):
    def tune(name, *callbacks, ckpt_path=None):
        module = tiny.tuner(sources["adapters"], optimizer=adamw(1e-3))
        callbacks = [Export(str(tmp_path / name)), *callbacks]
        tiny.fit(*callbacks, module=module, rollouts=3, ckpt_path=ckpt_path, **shared())
        return tiny.last.global_step

    half = tmp_path / "half.ckpt"
    assert two_processes(lambda: tune("through", SaveAt(2, half))) == [6, 6]
    assert half.is_dir()
    assert two_processes(lambda: tune("resumed", ckpt_path=half)) == [6, 6]
    through, resumed = exported(tmp_path / "through"), exported(tmp_path / "resumed")
    assert (through - exported(tiny.run.folder / "start")).abs().max() > 1e-4
    assert torch.equal(through, resumed)


def test_the_last_checkpoint_of_a_sharded_run_is_a_folder_that_replaces_the_one_before(
    tiny, sources, tmp_path
):
    def tune(name, rollouts, *keeps, ckpt_path=None):
        module = tiny.tuner(sources["whole"], optimizer=adamw(1e-3))
        arguments = {"default_root_dir": str(tmp_path), "enable_checkpointing": bool(keeps)}
        arguments |= {"rollouts": rollouts, "ckpt_path": ckpt_path, **shared()}
        tiny.fit(Export(str(tmp_path / name)), *keeps, module=module, **arguments)
        return tiny.last.global_step

    last = tmp_path / "checkpoints" / "last.ckpt"
    assert two_processes(lambda: tune("through", 3)) == [6, 6]
    assert two_processes(lambda: tune("begun", 2, KeepLast(1))) == [4, 4]
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert last.is_dir()
    assert two_processes(lambda: tune("resumed", 3, KeepLast(1), ckpt_path=last)) == [6, 6]
    through, resumed = exported(tmp_path / "through"), exported(tmp_path / "resumed")
    assert torch.equal(through, resumed)
    assert not torch.equal(through, exported(tmp_path / "begun"))


def test_tensor_parallelism_is_refused(tiny, sources):
    def tune():
        module, strategy = tiny.tuner(sources["whole"]), ModelParallelStrategy(1, 2)
        with pytest.raises(
            InputError, match="tensor_parallel_size 1, but found 2. Set it to 1 and"
        ):
            tiny.fit(module=module, strategy=strategy, devices=2)

    two_processes(tune)


def test_a_model_without_layers_is_refused():
    mesh = {"tensor_parallel": SimpleNamespace(size=lambda: 1)}
    with pytest.raises(
        InputError, match="a list of layers to shard, but found none in Linear. Train it with"
    ):
        shard(nn.Linear(2, 2), mesh)
