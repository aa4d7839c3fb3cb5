"""A network's sizes → its training steps: through Lightning with its data, and bare."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.alternating import Record, Side
from benchmarks.device import BACKEND, now, recorded
from r4t.diffusion.data import TargetData
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.module import DiffusionRetriever, TrainingNoise
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.schedule import LogNormal
from r4t.geometry import normalize
from r4t.targets import TargetBatch, as_fetched, write_targets

Batch = tuple[Tensor, Tensor]  # conditions (B, d), rows (B, L, d)
WAYS = ("eager", "compiled", "graph", "compiled graph")


def forward_flops(config: dict[str, Any]) -> dict[str, int]:
    """Floating-point operations of the matrix products in one set's forward pass, by part.

    A product of (n, k) and (k, m) counts 2·n·k·m; norms, activations and softmax do not count.

    Args:
        config: Sizes of a ``SetTransformer``: d ``dim``, w ``width``, m ``mlp_width``, L
            ``set_size``, n ``layers``, t ``condition_tokens``.
    """
    d, w, m = config["dim"], config["width"], config["mlp_width"]
    rows, layers, tokens = config["set_size"], config["layers"], config["condition_tokens"]
    projections = 2 * rows * w * (3 * w + w) + 2 * rows * w * (w + w)  # self-, cross-attention
    attention = 4 * rows * rows * w + 4 * rows * tokens * w
    return {
        "rows_in": 2 * rows * d * w,
        "noise": 2 * (2 * w * w),
        "tokens": 2 * d * tokens * d,
        "keys_values": 2 * tokens * d * layers * 2 * w,
        "blocks": layers * (projections + attention + 2 * (2 * rows * w * m)),
        "rows_out": 2 * rows * w * d,
    }


def training_flops(config: dict[str, Any]) -> int:
    """Operations of one set's forward and backward pass.

    In the backward pass each product needs two: one for the gradient of its input, one for that of
    the weights. Inputs of the network itself need no gradient.
    """
    parts = forward_flops(config)
    inputs = parts["rows_in"] + parts["noise"] // 2 + parts["tokens"]
    return 3 * sum(parts.values()) - inputs


def write_sets(folder: Path, sets: int, network: dict[str, Any]) -> Path:
    """Write random target sets, eight per query."""
    generator = torch.Generator().manual_seed(0)
    size, dim = network["set_size"], network["dim"]
    batch = TargetBatch(
        condition=normalize(torch.randn(sets, dim, generator=generator)),
        rows=normalize(torch.randn(sets, size, dim, generator=generator)),
        items=torch.zeros(sets, size, dtype=torch.long),
        scores={},
        query_ids=[f"q{number // 8}" for number in range(sets)],
        queries=["made up"] * sets,
        texts=[[]] * sets,
    )
    origin = {"fingerprint": "", "encoder": "made up", "model": "made up"}
    write_targets(folder, [batch], dim=dim, set_size=size, **origin)
    return folder


def build_module(network: dict[str, Any], compiled: bool = False) -> DiffusionRetriever:
    """Build the trained module, with random weights."""
    torch.manual_seed(0)
    # The toy's noise. The default copies its range to the GPU, which a CUDA graph cannot record.
    noise = TrainingNoise(LogNormal(mean=0.0, std=1.2))
    module = DiffusionRetriever(DirectionGenerator(SetTransformer(**network)), noise)
    if compiled:
        module.generator.network.compile(dynamic=False, backend=BACKEND)
    return module


def held_batch(data: TargetData, device: torch.device) -> Batch:
    """The first batch of the training data, on the device."""
    condition, rows = next(iter(data.train_dataloader()))
    return condition.to(device), rows.to(device)


def lightning_side(
    network: dict[str, Any],
    data: TargetData,
    held: Batch | None,
    compiled: bool,
    block: int,
    blocks: int,
) -> Side:
    """Training by Lightning with averaged weights, as in stage 3; a turn is a block of steps.

    Args:
        network: Sizes of the network.
        data: The data, after ``setup``.
        held: A batch that replaces all batches of ``data``, in epochs of equal length.
        compiled: Whether the network is compiled.
        block: Optimizer steps per turn.
        blocks: Number of turns.
    """
    on_gpu = torch.cuda.is_available()
    loader: Any = data.train_dataloader()
    if held is not None:
        loader = DataLoader([held] * len(loader), batch_size=None, collate_fn=as_fetched)

    class Rest(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step % block == 0:
                now()
                side.rest()

    trainer = Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        precision="bf16-mixed" if on_gpu else "32-true",
        max_steps=block * blocks,
        callbacks=[EMAWeightAveraging(decay=0.9999, update_every_n_steps=1), Rest()],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(data.folder),
    )
    module = build_module(network, compiled)
    side = Side(lambda: trainer.fit(module, loader), Record())
    return side


def bare_step(
    network: dict[str, Any], batch: Batch, way: str, device: torch.device
) -> Callable[[], Any]:
    """One optimizer step on a held batch, without Lightning, schedule or averaged weights.

    Args:
        network: Sizes of the network.
        batch: The batch, on the device.
        way: One of ``WAYS``.
        device: Where to train; in bfloat16 on a GPU.
    """
    module = build_module(network, compiled="compiled" in way).to(device)
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-4, capturable=on_gpu)
    condition, rows = batch
    dropped = torch.zeros(len(rows), dtype=torch.bool, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        # Use the device's generator, from which a CUDA graph draws new numbers at each replay.
        t = torch.rand(len(rows), device=device)
        noise = torch.randn(rows.shape, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu, cache_enabled=False):
            loss = module.loss(condition, rows, dropped, t, noise).mean()
        loss.backward()
        optimizer.step()

    return recorded(step, device) if "graph" in way else step


def loader_seconds(data: TargetData, batches: int) -> list[float]:
    """Seconds to read each of some batches, without other work."""
    seconds: list[float] = []
    while len(seconds) < batches:
        begin = now()
        for _ in data.train_dataloader():
            seconds.append(now() - begin)
            begin = now()
    return seconds[:batches]


def per_step(turns: Sequence[tuple[float, float]], block: int, column: int = 0) -> list[float]:
    """Seconds per step in each turn except the first, which includes setup and compilation.

    Args:
        turns: Wall-clock seconds and CPU seconds of each block.
        block: Steps per block.
        column: 0 for wall-clock seconds, 1 for CPU seconds.
    """
    return [turn[column] / block for turn in turns[1:]]
