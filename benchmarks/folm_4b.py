"""Time and memory of each part of Soft-GRPO on a language model of 4 billion parameters.

    python -m benchmarks.folm_4b            # one GPU of 80 GB
    python -m benchmarks.folm_4b --small    # the same code on a CPU, in seconds

The model has Qwen3-4B's architecture, random bfloat16 weights, LoRA on all linear layers and
checkpointed layers. It makes three rollouts of two updates each: write, encode, search, score, update.
The format is forced: each token is a word, and a completion runs to the limit (unless the one ending
token of the vocabulary is drawn) and is cut into k sub-queries. The reward is the share of even token
ids, so groups vary. At each step the gradients of the adapters must not be zero. Writes
benchmarks/results/folm_4b.json: seconds of each part of each rollout, and on a GPU its peak memory.

LoRA needs ``peft``; without it, ``--last_layers 2`` trains the last layers instead.

Only --small has been run so far, on a CPU.
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
from r4t.grpo.module import FanoutTuner
from r4t.grpo.training import Sampling, adamw
from r4t.reward import Reward
from r4t.support.stopwatch import Stopwatch
from r4t.training.query_data import QueryData
from r4t.training.soft_grpo import SoftGRPO

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
    """Sizes of a measurement.

    Attributes:
        model: Sizes of the architecture.
        queries: B per rollout.
        group: Rollouts G per query.
        prompt: Words per query.
        entry: Tokens per sub-query.
        micro_batch: Rollouts in one forward pass.
        items: Items in the catalog.
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
    """A stopwatch that also records the peak GPU memory of each part, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, int] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block and record its peak memory."""
        outer = not self._running
        if outer and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with super().part(name):
            yield
        if outer and torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated()
            self.memory[name] = max(peak, self.memory.get(name, 0))


class Record(Callback):
    """Records seconds, reward and memory of each rollout, and gradient norms of the adapters.

    Raises:
        RuntimeError: If gradients are zero that must not be.
    """

    def __init__(self) -> None:
        self.rollouts: list[dict[str, Any]] = []
        self.norms: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Check the gradients; those of A are zero at first, because B is zero."""
        gradients = {
            name: float(weight.grad.norm()) if weight.grad is not None else 0.0
            for name, weight in pl_module.fanout.named_parameters()
            if weight.requires_grad
        }
        first = not self.norms
        zero = [name for name, norm in gradients.items() if not norm > 0]
        zero = [name for name in zero if not (first and ".lora_A." in name)]
        if zero:
            raise RuntimeError(f"{len(zero)} of {len(gradients)} gradients are zero: {zero[:3]}")
        self.norms.append(
            {
                kind: min(norms)
                for kind in (".lora_A.", ".lora_B.", "model.")
                if (norms := [norm for name, norm in gradients.items() if kind in name])
            }
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Record the logged numbers."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        values = {name: value for name, value in logged.items() if name.endswith("/seconds")}
        for name in ("train/reward/mean", "train/reward/spread", "train/tokens/mean"):
            values[name] = logged[name]
        if not logged["train/reward/spread"] > 0:
            raise RuntimeError("No group had different rewards, so there was nothing to learn.")
        self.rollouts.append({"seconds_and_reward": values, "memory": dict(pl_module.watch.memory)})
        pl_module.watch.memory.clear()


def measure(size: Size, rollouts: int, rank: int, last_layers: int, folder: Path) -> dict[str, Any]:
    """Tune for some rollouts; return the measurements."""
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
            name: median(rollout["seconds_and_reward"][name] for rollout in record.rollouts)
            for name in names
            if name.endswith("/seconds")
        },
        "least_gradient_norms": record.norms,
        "peak_process_memory_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def hardware() -> dict[str, Any]:
    """Versions, and the GPU if there is one."""
    facts: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    facts["transformers"] = transformers.__version__
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {"gpu": properties.name, "gpu_memory": properties.total_memory}
    return facts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="A tiny model, to test the code.")
    parser.add_argument("--rollouts", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16, help="Rank of the adapters.")
    parser.add_argument(
        "--last_layers", type=int, default=0, help="Train this many layers instead of adapters."
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/folm_4b.json")
    options = parser.parse_args(arguments)
    if not options.last_layers and find_spec("peft") is None:
        parser.error("LoRA needs peft, which is not installed; install it or use --last_layers 2")
    size = SIZES["small" if options.small else "4b"]
    last = options.last_layers
    with tempfile.TemporaryDirectory() as folder:
        results = measure(size, options.rollouts, options.rank, last, Path(folder))
    settings = {
        "small": options.small,
        "model": size.model,
        "trained": f"last {last} layers" if last else f"LoRA {options.rank}",
        "queries": size.queries,
        "group_size": size.group,
        "prompt_tokens": size.prompt,
        "completion_tokens": SET_SIZE * size.entry,
        "micro_batch": size.micro_batch,
        "items": size.items,
    }
    text = json.dumps({"settings": settings, "hardware": hardware(), **results}, indent=2)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(results["median_seconds"], indent=2))


if __name__ == "__main__":
    main()
