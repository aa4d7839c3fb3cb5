"""Milliseconds to draw the retriever's initial noise: one generator per query, or one hash for all.

    OMP_NUM_THREADS=1 python -m benchmarks.noise

Both give a query the same noise in any batch. They alternate, and the median counts. Writes
benchmarks/results/noise.json. Run only on a CPU so far.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from benchmarks.device import default_device, hardware, timed
from r4t.diffusion.sampler import seeded_noise

ROWS, WIDTH = 12, 128  # of a set
BATCHES = (1, 64, 1024)


def one_generator_per_query(seeds: Sequence[int], device: torch.device) -> Tensor:
    """Draw (B, 12, 128) on the CPU, with one generator per seed, and copy it to the device."""
    noise = [
        torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    return torch.stack(noise).to(device)


def hashed(seeds: Sequence[int], device: torch.device) -> Tensor:
    """Draw (B, 12, 128) on the device."""
    return seeded_noise(seeds, (ROWS, WIDTH), device)()


def measure(batch: int, turns: int, device: torch.device) -> dict[str, float]:
    """Milliseconds of each way; the first turn does not count."""
    seconds: dict[str, list[float]] = {"one generator a query": [], "hash": []}
    seeds = list(range(batch))
    for _ in range(turns + 1):
        for name, draw in zip(seconds, (one_generator_per_query, hashed), strict=True):
            seconds[name].append(timed(lambda draw=draw: draw(seeds, device))[1])
    return {name: 1000 * median(times[1:]) for name, times in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/noise.json")
    options = parser.parse_args(arguments)
    device = default_device()
    milliseconds = {str(batch): measure(batch, options.turns, device) for batch in BATCHES}
    settings = {"rows": ROWS, "width": WIDTH, "turns": options.turns}
    content = {"hardware": hardware(), "settings": settings, "milliseconds": milliseconds}
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(milliseconds, indent=2))


if __name__ == "__main__":
    main()
