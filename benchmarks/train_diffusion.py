"""Steps per second of stage 3, and what limits them: data, Python, kernel launches or arithmetic.

    python -m benchmarks.train_diffusion                      # one GPU: the paper's network, bfloat16
    OMP_NUM_THREADS=1 python -m benchmarks.train_diffusion    # a CPU: the toy's network, float32
    python -m benchmarks.train_diffusion --small              # tiny sizes, to test the code in seconds

``DiffusionRetriever`` trains on ``TargetData`` with Lightning and averaged weights, alternating with the
same training on one batch that is already on the device. The difference is the wait for data, in
wall-clock seconds and in CPU seconds, which are reliable even if other programs keep the cores busy. A
step without Lightning (eager, compiled, and recorded as a CUDA graph) explains the rest: a graph saves
the launches, and the remaining time is the device's. The operations of the matrix products are counted
by hand and divided by the seconds and the device's peak. Writes benchmarks/results/train_diffusion.json.

Only the CPU's sizes and --small have been run so far, on a CPU.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.alternating import alternate
from benchmarks.device import default_device, hardware, release, timed
from benchmarks.directions import NETWORK
from benchmarks.ratios import interval, quotients
from benchmarks.train_sides import (
    WAYS,
    bare_step,
    forward_flops,
    held_batch,
    lightning_side,
    loader_seconds,
    per_step,
    training_flops,
    write_sets,
)
from r4t.diffusion.data import TargetData

# Dense bfloat16 operations per second of the SXM cards, from their data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
TOY = NETWORK | {"width": 128, "mlp_width": 384, "heads": 4, "layers": 3, "condition_tokens": 4}


@dataclass(frozen=True)
class Size:
    """Sizes of a measurement.

    Attributes:
        network: Sizes of the ``SetTransformer``.
        batch: Sets per step.
        sets: Sets in the target folder.
        block: Optimizer steps per turn.
        blocks: Turns; the first one does not count.
    """

    network: dict[str, Any]
    batch: int
    sets: int
    block: int
    blocks: int = 9


SIZES = {
    "paper": Size(NETWORK, batch=512, sets=40_000, block=50),
    "toy": Size(TOY | {"dropout": 0.0}, batch=64, sets=4000, block=20),
    "small": Size(
        TOY | {"dim": 16, "width": 32, "mlp_width": 32, "layers": 1},
        batch=8,
        sets=80,
        block=3,
        blocks=3,
    ),
}


def peak_of(name: str) -> float | None:
    """Peak operations per second of a GPU with this name; None if it is unknown.

    Example:
        >>> peak_of("NVIDIA H100 80GB HBM3"), peak_of("a CPU")
        (989000000000000.0, None)
    """
    return next((peak for card, peak in PEAKS.items() if card in name), None)


def rates(seconds: Sequence[float], size: Size, peak: float | None) -> dict[str, Any]:
    """Steps, sets and operations per second, and share of the peak, from the seconds of steps."""
    middle = median(seconds)
    flops = size.batch * training_flops(size.network) / middle
    return {
        "seconds": middle,
        "steps_per_second": 1 / middle,
        "sets_per_second": size.batch / middle,
        "flops_per_second": flops,
        "share_of_peak": None if peak is None else flops / peak,
        "all_seconds": list(seconds),
    }


def measure_lightning(
    size: Size, data: TargetData, device: torch.device, compiled: bool, peak: float | None
) -> dict[str, Any]:
    """Time training on the data's batches, alternating with training on one held batch."""
    held = held_batch(data, device)
    sides = {
        name: lightning_side(size.network, data, batch, compiled, size.block, size.blocks)
        for name, batch in (("read", None), ("held", held))
    }
    turns = alternate(sides, size.blocks)
    release()
    results: dict[str, Any] = {}
    for kind, column in (("data_share", 0), ("data_share_of_cpu", 1)):
        seconds = {name: per_step(blocks, size.block, column) for name, blocks in turns.items()}
        shares = [1 - ratio for ratio in quotients(seconds["held"], seconds["read"])]
        results |= {kind: median(shares), f"{kind}_interval": interval(shares)}
        if kind == "data_share":
            results |= {name: rates(times, size, peak) for name, times in seconds.items()}
    return results


def measure_bare(
    size: Size, data: TargetData, device: torch.device, way: str, peak: float | None
) -> dict[str, Any]:
    """Time steps without Lightning on one held batch."""
    step = bare_step(size.network, held_batch(data, device), way, device)
    step()  # compilation
    steps = range(size.block)
    seconds = []
    for _ in range(size.blocks):
        _, block_seconds = timed(lambda: [step() for _ in steps])
        seconds.append(block_seconds / size.block)
    release()
    return rates(seconds[1:], size, peak)


def measure(size: Size, folder: Path, workers: int, ways: Sequence[str]) -> dict[str, Any]:
    """Measure everything at one size.

    Args:
        size: Sizes of the network and its data.
        folder: Folder for random target sets.
        workers: Processes that read the data; 0 for the main process.
        ways: Ways of the bare step, out of ``WAYS``.
    """
    device = default_device()
    write_sets(folder, size.sets, size.network)
    data = TargetData(str(folder), size.batch, num_workers=workers)
    data.setup()
    peak = peak_of(torch.cuda.get_device_name(0)) if device.type == "cuda" else None
    bare = {way: measure_bare(size, data, device, way, peak) for way in ways}
    lightning = {
        name: measure_lightning(size, data, device, compiled, peak)
        for name, compiled in (("eager", False), ("compiled", True))
        if name in ways
    }
    forward = forward_flops(size.network)
    return {
        "flops_of_a_set": {"forward": forward, "training": training_flops(size.network)},
        "peak": peak,
        "loader_seconds": median(loader_seconds(data, size.block)),
        "lightning": lightning,
        "bare": bare,
    }


def summary(results: dict[str, Any]) -> str:
    """Return the measurements as Markdown."""
    lines = [
        "| step | ms | steps/s | sets/s | TFLOP/s | of the peak |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    rows = {f"bare, {way}": row for way, row in results["bare"].items()}
    for way, row in results["lightning"].items():
        rows |= {f"Lightning, {way}, {data}": row[data] for data in ("held", "read")}
    for name, row in rows.items():
        share = "–" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.1f} %"
        cells = [f"{1000 * row['seconds']:.3g}", f"{row['steps_per_second']:.4g}"]
        cells += [f"{row['sets_per_second']:.4g}", f"{row['flops_per_second'] / 1e12:.3g}", share]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    for way, row in results["lightning"].items():
        for kind, name in (("data_share", "seconds"), ("data_share_of_cpu", "CPU seconds")):
            low, high = (100 * share for share in row[f"{kind}_interval"])
            share = f"{100 * row[kind]:.1f} % ({low:.1f} to {high:.1f})"
            lines.append(f"\nShare of a step's {name} spent on reading, {way}: {share}")
    lines.append(f"\nLoader alone: {1000 * results['loader_seconds']:.3g} ms per batch")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="Tiny sizes, to test the code.")
    parser.add_argument("--workers", type=int, default=0, help="Processes that read the data.")
    parser.add_argument("--threads", type=int, default=1, help="On a CPU.")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        help="Ways of the bare step; Lightning skips graphs. Default: all on a GPU, else eager.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/train_diffusion.json"
    )
    options = parser.parse_args(arguments)
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        torch.set_num_threads(options.threads)
    name = "small" if options.small else "paper" if on_gpu else "toy"
    size, ways = SIZES[name], options.ways or (WAYS if on_gpu else WAYS[:1])
    with tempfile.TemporaryDirectory() as folder:
        results = measure(size, Path(folder), options.workers, ways)
    words = sys.argv[1:] if arguments is None else arguments
    record = {
        "command": " ".join(["python -m benchmarks.train_diffusion", *words]),
        "size": name,
        "settings": vars(size) | {"workers": options.workers},
        "precision": "bfloat16 autocast" if on_gpu else "float32",
        "hardware": hardware(),
        **results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(summary(results))


if __name__ == "__main__":
    main()
