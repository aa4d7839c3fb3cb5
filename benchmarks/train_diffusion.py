"""How fast stage 3 trains, and what it waits for: arithmetic, launches, or data.

    python -m benchmarks.train_diffusion            # the paper's network on one GPU
    python -m benchmarks.train_diffusion --cpu      # the toy network on a CPU
    python -m benchmarks.train_diffusion --small    # either's code at a tiny size: does it run?

The real ``DiffusionRetriever`` is fitted by Lightning's Trainer for some steps: with the real input
pipeline (target sets in shards on disk, ``TargetData``) and with one batch that lies on the device
already, in turns. What the first takes longer is the share that the device waits for data. On a GPU
both run eager and compiled: what compiling gains was launches, not arithmetic. The share of the peak is
that of the matrix products of forward and backward pass, counted below. Writes
benchmarks/results/train_diffusion.json.

The GPU part has not yet run on hardware: only --cpu and --small have been run, on a CPU.
"""

import argparse
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader, IterableDataset

from r4t.diffusion.data import TargetData
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.module import DiffusionRetriever
from r4t.diffusion.network import SetTransformer
from r4t.geometry import normalize
from r4t.targets import TargetBatch, write_targets

# Dense bfloat16 without sparsity, FLOP/s, as the vendor states it.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass(frozen=True)
class Size:
    """What is trained.

    Attributes:
        network: Arguments of ``SetTransformer``.
        batch: Sets a step.
        steps: Timed a turn, after as many that are not.
        turns: How often each side is timed.
        sets: In the folder.
        workers: Of the loader.
    """

    network: dict[str, Any]
    batch: int
    steps: int
    turns: int
    sets: int
    workers: int = 0


PAPER = {
    "dim": 128, "width": 1024, "mlp_width": 1024, "heads": 16, "layers": 6, "set_size": 12,
    "condition_tokens": 1, "dropout": 0.1,
}  # fmt: skip
TOY = {
    "dim": 128, "width": 128, "mlp_width": 384, "heads": 4, "layers": 3, "set_size": 12,
    "condition_tokens": 4,
}  # fmt: skip
SIZES = {
    "gpu": Size(PAPER, 512, 50, 5, 20_000, workers=4),
    "cpu": Size(TOY, 64, 40, 5, 20_000),
    "small": Size({**TOY, "width": 16, "mlp_width": 16, "heads": 2, "layers": 1}, 8, 2, 2, 64),
}


def forward_flops(network: dict[str, Any]) -> int:
    """FLOP of the matrix products of one forward pass on one set: 2 for each multiply-add.

    Args:
        network: Arguments of ``SetTransformer``.

    Example:
        >>> sizes = {"dim": 2, "width": 4, "mlp_width": 3, "layers": 1}
        >>> forward_flops({**sizes, "set_size": 5, "condition_tokens": 1})
        1944
    """
    d, w, m = network["dim"], network["width"], network["mlp_width"]
    rows, tokens = network["set_size"], network["condition_tokens"]
    layer = rows * w * (3 * w + w)  # self-attention's projections
    layer += 2 * rows * rows * w  # its scores and sums
    layer += rows * w * 2 * w + 2 * rows * tokens * w  # cross-attention
    layer += 2 * rows * w * m  # feed-forward
    ends = 2 * rows * d * w  # into and out of the width
    once = 2 * w * w + d * tokens * d + tokens * d * network["layers"] * 2 * w  # noise, query
    return 2 * (network["layers"] * layer + ends + once)


class Same(IterableDataset):
    """One batch, on the device already, again and again."""

    def __init__(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield self.batch


class Clock(Callback):
    """Seconds of the steps after the first ``skipped``."""

    def __init__(self, skipped: int) -> None:
        self.skipped, self.start, self.seconds = skipped, 0.0, 0.0

    def _now(self, trainer: Trainer) -> float:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Start the clock after the last step that does not count."""
        if trainer.global_step == self.skipped:
            self.start = self._now(trainer)

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop it."""
        self.seconds = self._now(trainer) - self.start


def seconds_a_step(size: Size, folder: Path, device: str, fed: bool, compiled: bool) -> float:
    """Fit for twice ``steps`` and return the seconds of each of the last ones.

    Args:
        size: What is trained.
        folder: Of the target sets.
        device: "cpu" or "gpu".
        fed: Whether the real input pipeline feeds it.
        compiled: Whether the network is compiled.
    """
    torch.manual_seed(0)
    generator = DirectionGenerator(SetTransformer(**size.network))
    module = DiffusionRetriever(generator, compile=compiled, warmup_steps=10)
    data = TargetData(str(folder), size.batch, val_share=0.0, num_workers=size.workers)
    loaders: Any = {"datamodule": data}
    if not fed:
        data.setup()
        batch = next(iter(DataLoader(data.train, size.batch, collate_fn=lambda batch: batch)))
        place = torch.device("cuda" if device == "gpu" else "cpu")
        same = Same(tuple(part.to(place) for part in batch))
        loaders = {"train_dataloaders": DataLoader(same, batch_size=None)}
    clock = Clock(size.steps)
    trainer = Trainer(
        accelerator=device, devices=1, max_steps=2 * size.steps, logger=False,
        precision="bf16-mixed" if device == "gpu" else "32-true", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        callbacks=[EMAWeightAveraging(decay=0.999, update_every_n_steps=1), clock],
    )  # fmt: skip
    trainer.fit(module, **loaders)
    return clock.seconds / size.steps


def target_sets(size: Size, folder: Path) -> None:
    """Write random unit target sets of many queries, in several shards."""
    random = torch.Generator().manual_seed(0)
    d, length = size.network["dim"], size.network["set_size"]
    queries = max(2, size.sets // 8)
    condition = normalize(torch.randn(queries, d, generator=random))
    which = torch.arange(size.sets) % queries
    names = [f"q{number}" for number in which.tolist()]
    rows = normalize(torch.randn(size.sets, length, d, generator=random))
    items = torch.full((size.sets, length), -1)
    batch = TargetBatch(condition[which], rows, items, {}, names, names, [[]] * size.sets)
    origin = {"fingerprint": "random", "encoder": "none", "model": "none"}
    write_targets(folder, [batch], shard_size=4096, dim=d, set_size=length, **origin)


def measure(size: Size, device: str, compile_too: bool) -> dict[str, Any]:
    """Time all sides in turns, and tell what bounds them."""
    sides = [
        (fed, compiled)
        for compiled in ([False, True] if compile_too else [False])
        for fed in (True, False)
    ]
    timed: dict[tuple[bool, bool], list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        target_sets(size, Path(folder))
        for _ in range(size.turns):
            for fed, compiled in sides:
                timed[fed, compiled].append(
                    seconds_a_step(size, Path(folder), device, fed, compiled)
                )
    flops = 3 * forward_flops(size.network) * size.batch  # backward costs twice the forward pass
    found: dict[str, Any] = {"flop a step": flops}
    for compiled in sorted({compiled for _, compiled in sides}):
        fed, held = (timed[True, compiled], timed[False, compiled])
        waits = [1 - other / one for one, other in zip(fed, held)]
        middle = median(fed)
        found["compiled" if compiled else "eager"] = {
            "steps/s": 1 / middle,
            "sets/s": size.batch / middle,
            "FLOP/s": flops / middle,
            "share of a step that waits for data": median(waits),
            "seconds a step": {"real pipeline": fed, "one batch held": held},
        }
    if compile_too:
        eager, compiled_too = median(timed[False, False]), median(timed[False, True])
        found["share of an eager step that compiling saves"] = 1 - compiled_too / eager
    if device == "gpu":
        name = torch.cuda.get_device_name()
        peak = next((flop for part, flop in PEAKS.items() if part in name), None)
        for way in ("eager", "compiled"):
            if peak is not None and way in found:
                found[way]["share of the peak"] = found[way]["FLOP/s"] / peak
        found["peak FLOP/s"] = peak
    return found


def hardware() -> dict[str, Any]:
    """What it ran on."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    if torch.cuda.is_available():
        return {**found, "gpu": torch.cuda.get_device_name()}
    from benchmarks.real_sets import hardware as of_cpu

    return {**found, **of_cpu()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="The toy network on a CPU.")
    parser.add_argument("--small", action="store_true", help="Tiny, on a CPU.")
    parser.add_argument("--compile", action="store_true", help="Compile on a CPU, too.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/train_diffusion.json"
    )
    told = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message=".*(workers|LeafSpec).*")
    which = "small" if told.small else "cpu" if told.cpu else "gpu"
    if which == "gpu" and not torch.cuda.is_available():
        parser.error("a GPU is needed, found none; say --cpu")
    size, device = SIZES[which], "gpu" if which == "gpu" else "cpu"
    found = {
        "settings": vars(size),
        "precision": "bf16-mixed" if device == "gpu" else "float32",
        "hardware": hardware(),
        **measure(size, device, device == "gpu" or told.compile),
    }
    told.out.parent.mkdir(parents=True, exist_ok=True)
    # One file for both: what the other kind of device gave stays.
    before = json.loads(told.out.read_text(encoding="utf-8")) if told.out.is_file() else {}
    text = json.dumps({**before, which: found}, indent=1) + "\n"
    told.out.write_text(text, encoding="utf-8")
    print(json.dumps({k: v for k, v in found.items() if k in ("eager", "compiled")}, indent=1))


if __name__ == "__main__":
    main()
