"""Time and memory of Soft-GRPO on a language model of 4 billion parameters, part by part.

    python -m benchmarks.folm_4b            # one GPU of 80 GB
    python -m benchmarks.folm_4b --small    # the same on a CPU, in seconds: does it run?

A model of Qwen3-4B's architecture with random weights in bfloat16, LoRA on all linear layers and
checkpointed layers make three rollouts of two updates each: write, encode, search, score, update.
The format is forced: a token is a word, a completion runs to the limit (but for the one token in
the vocabulary that ends it) and is cut into k sub-queries, and the reward is the share of even token
ids, so that groups vary. At each
step the gradients of the adapters must not be zero. Writes benchmarks/results/folm_4b.json: seconds,
and on a GPU the most memory, of each part of each rollout.

Without ``peft`` it says so; ``--last_layers 2`` then trains the last layers themselves.

Not yet run on hardware: only --small has been run, on a CPU.
"""

import argparse
import json
import platform
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from lightning.pytorch import Callback, Trainer, seed_everything

from benchmarks.made_up import EvenTokens, Forced, Random, small_world
from r4t.fanout.formats import Full
from r4t.fanout.lora import LoRA
from r4t.grpo.data import QueryData
from r4t.grpo.loss import SoftGRPO
from r4t.grpo.module import FanoutTuner
from r4t.grpo.training import Sampling, adamw
from r4t.reward import Reward
from r4t.support.stopwatch import Stopwatch

QWEN3_4B = {
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "vocab_size": 151936,
}
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 512,
}
SET_SIZE = 10


@dataclass(frozen=True)
class Size:
    """How much is made of everything.

    Attributes:
        model: Of the architecture.
        queries: B a rollout.
        group: Rollouts G a query.
        prompt: Words of a query.
        entry: Tokens of a sub-query.
        micro_batch: Rollouts in one forward pass.
        items: Of the catalog.
    """

    model: dict[str, int]
    queries: int = 8
    group: int = 8
    prompt: int = 128
    entry: int = 16
    micro_batch: int = 8
    items: int = 20000


SIZES = {
    "4b": Size(QWEN3_4B),
    "small": Size(SMALL, queries=2, group=4, prompt=8, entry=3, micro_batch=3, items=300),
}


class Meter(Stopwatch):
    """A stopwatch that also keeps the most GPU memory allocated in each part, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, int] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block, and look at the most memory that it had."""
        outer = not self._running
        if outer and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with super().part(name):
            yield
        if outer and torch.cuda.is_available():
            found = torch.cuda.max_memory_allocated()
            self.memory[name] = max(found, self.memory.get(name, 0))


class Record(Callback):
    """Keeps seconds, reward and memory of each rollout, and the norms of what adapters learn from.

    Raises:
        RuntimeError: Gradients are zero where they must not be.
    """

    def __init__(self) -> None:
        self.rollouts: list[dict[str, Any]] = []
        self.norms: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Look at the gradients; those of A are zero at first, because B is."""
        found = {
            name: float(weight.grad.norm()) if weight.grad is not None else 0.0
            for name, weight in pl_module.fanout.named_parameters()
            if weight.requires_grad
        }
        first = not self.norms
        zero = [name for name, norm in found.items() if not norm > 0]
        zero = [name for name in zero if not (first and ".lora_A." in name)]
        if zero:
            raise RuntimeError(f"{len(zero)} of {len(found)} gradients are zero: {zero[:3]}")
        self.norms.append(
            {
                kind: min(norms)
                for kind in (".lora_A.", ".lora_B.", "model.")
                if (norms := [norm for name, norm in found.items() if kind in name])
            }
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Keep what was logged."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        kept = {name: value for name, value in logged.items() if name.endswith("/seconds")}
        for name in ("train/reward/mean", "train/reward/spread", "train/tokens/mean"):
            kept[name] = logged[name]
        if not logged["train/reward/spread"] > 0:
            raise RuntimeError("No group varied, so that there was nothing to learn.")
        self.rollouts.append({"seconds_and_reward": kept, "memory": dict(pl_module.watch.memory)})
        pl_module.watch.memory.clear()


def measure(size: Size, rollouts: int, rank: int, last_layers: int, folder: Path) -> dict[str, Any]:
    """Tune for some rollouts and return what was measured."""
    seed_everything(0, verbose=False)
    run = small_world(folder, size.items, 3 * size.queries, size.prompt)
    source: Any = Random(size.model, torch.bfloat16, last_layers)
    tuner = FanoutTuner(
        str(run.folder),
        Reward({"even": 1.0}, {"even": EvenTokens()}),
        SoftGRPO(group_size=size.group, micro_batch=size.micro_batch),
        lm=source if last_layers else LoRA(source, rank=rank),
        form=Full(Forced(size.entry), SET_SIZE),
        sampling=Sampling(max_new_tokens=SET_SIZE * size.entry),
        optimizer=adamw(1e-4),
    )
    tuner.watch = tuner.searcher.watch = Meter()
    record = Record()
    trainer = Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        max_steps=rollouts * tuner.grpo.updates,
        limit_val_batches=0,
        callbacks=[record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    trainer.fit(tuner, QueryData(str(run.folder), batch_size=size.queries))
    weights = list(tuner.fanout.parameters())
    names = sorted(record.rollouts[0]["seconds_and_reward"])
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "trained": sum(weight.numel() for weight in weights if weight.requires_grad),
        "rollouts": record.rollouts,
        "median_seconds": {
            name: median(found["seconds_and_reward"][name] for found in record.rollouts)
            for name in names
            if name.endswith("/seconds")
        },
        "least_gradient_norms": record.norms,
        "peak_process_memory_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def hardware() -> dict[str, Any]:
    """What it ran on."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    found["transformers"] = transformers.__version__
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "gpu_memory": properties.total_memory}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="A tiny model: does it run?")
    parser.add_argument("--rollouts", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16, help="Of the adapters.")
    parser.add_argument(
        "--last_layers", type=int, default=0, help="Train so many layers themselves, without LoRA."
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/folm_4b.json")
    told = parser.parse_args(arguments)
    if not told.last_layers and find_spec("peft") is None:
        parser.error("LoRA needs peft, found none installed; install it, or say --last_layers 2.")
    size = SIZES["small" if told.small else "4b"]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(size, told.rollouts, told.rank, told.last_layers, Path(folder))
    settings = {
        "small": told.small,
        "model": size.model,
        "trained": f"last {told.last_layers} layers" if told.last_layers else f"LoRA {told.rank}",
        "queries": size.queries,
        "group_size": size.group,
        "prompt_tokens": size.prompt,
        "completion_tokens": SET_SIZE * size.entry,
        "micro_batch": size.micro_batch,
        "items": size.items,
    }
    text = json.dumps({"settings": settings, "hardware": hardware(), **found}, indent=2)
    told.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(found["median_seconds"], indent=2))


if __name__ == "__main__":
    main()
