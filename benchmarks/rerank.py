"""Time re-ranking by MMR and by greedy DPP: milliseconds per query, from embeddings to order.

    python benchmarks/rerank.py

Each query has 500 candidates of 128 dimensions; 10 are picked (a set) or 150 (a pool), at batch 1 and
64, on 2 threads. The time includes the candidates' similarity matrix, but not the search for them.
Prints a Markdown table and writes benchmarks/results/rerank.json. If other programs keep the cores
busy, set OMP_WAIT_POLICY=PASSIVE: otherwise threads that spin while they wait for each other take
longer than the work.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from r4t.geometry import normalize
from r4t.methods.rerank import Order, dpp_order, mmr_order

TRADE_OFFS: dict[str, tuple[Order, float]] = {"MMR": (mmr_order, 0.7), "DPP": (dpp_order, 0.9)}


def near(batch: int, count: int, width: int) -> tuple[Tensor, Tensor]:
    """Queries (B, d), and candidates (B, C, d) at a cosine of about 0.6 with them, best first."""
    generator = torch.Generator().manual_seed(0)
    z = normalize(torch.randn(batch, width, generator=generator))
    noise = normalize(torch.randn(batch, count, width, generator=generator))
    candidates = normalize(0.6 * z.unsqueeze(1) + 0.8 * noise)
    order = (candidates @ z.unsqueeze(-1)).squeeze(-1).argsort(dim=1, descending=True)
    return z, candidates.gather(1, order.unsqueeze(-1).expand_as(candidates))


def rerank(order: Order, trade_off: float, z: Tensor, candidates: Tensor, size: int) -> Tensor:
    """Compute similarities and return the order (B, size) of candidates."""
    relevance = (candidates @ z.unsqueeze(-1)).squeeze(-1)
    return order(relevance, candidates @ candidates.mT, size, trade_off)


def milliseconds(call: Callable[[], object], calls: int) -> list[float]:
    """Milliseconds of each call, after two untimed ones."""
    times = []
    for _ in range(calls + 2):
        begin = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begin))
    return times[2:]


def processor() -> str:
    """Name of the CPU."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def measure(arguments: argparse.Namespace) -> list[dict[str, float | str]]:
    """Time every method at every batch size and number of picks."""
    rows: list[dict[str, float | str]] = []
    for batch in arguments.batches:
        z, candidates = near(batch, arguments.candidates, arguments.width)
        for size in arguments.sizes:
            for name, (order, trade_off) in TRADE_OFFS.items():
                times = milliseconds(
                    lambda: rerank(order, trade_off, z, candidates, size),  # noqa: B023
                    arguments.calls,
                )
                row = {"method": f"{name}, λ = {trade_off}", "picked": size, "batch": batch}
                per_query = {"least_ms": min(times) / batch, "median_ms": median(times) / batch}
                rows.append(row | {key: round(value, 4) for key, value in per_query.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 150], help="items picked")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calls", type=int, default=15, help="timed calls per setting")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rerank.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments)
    print("| method | picked | batch | minimum ms per query | median ms per query |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        cells = [str(row[name]) for name in ("method", "picked", "batch")]
        times = [f"{row[name]:.3f}" for name in ("least_ms", "median_ms")]
        print("| " + " | ".join(cells + times) + " |")
    options = {
        key: " ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in vars(arguments).items()
        if key != "out"
    }
    record = {
        "command": " ".join(
            ["python benchmarks/rerank.py", *(f"--{key} {value}" for key, value in options.items())]
        ),
        "environment": {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY",)},
        "hardware": {"cpu": processor(), "cores": os.cpu_count()},
        "torch": torch.__version__,
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
