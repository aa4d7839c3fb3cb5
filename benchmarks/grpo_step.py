"""Time and peak memory of our GRPO step, compared with those of TRL's ``GRPOTrainer``.

    OMP_NUM_THREADS=1 python -m benchmarks.grpo_step

A step is one rollout and all optimizer steps on it: 8 queries with 8 completions of 64 tokens each, by
a Qwen3-type model built from its configuration, on one thread. Both sides start with equal weights and
share tokenizer, prompts, temperature, reward, normalization, micro-batch (16 completions, the fastest
for both sides here), learning rate, gradient clip and AdamW, without a KL term. TRL has its fastest
settings here: float32, no gradient checkpointing, no top-k, no reference model, no logs, its fused
AdamW. Our side is the whole module, so it also retrieves for every sub-query and computes its
statistics.

Both loops alternate in one process, in an order that changes from pair to pair, so that other load on
the machine affects both equally. The first pairs do not count. Then each side runs alone in its own
process to measure its memory. Prints Markdown tables and writes benchmarks/results/grpo_step.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.alternating import alternate
from benchmarks.grpo_sides import PARTS, Copies, build_model, ours, trl, write_run
from benchmarks.ratios import interval, quotients
from benchmarks.rerank import processor
from r4t.run import Run

SIDES = {"ours": ours, "trl": trl}
PACKAGES = ("torch", "transformers", "lightning", "trl", "accelerate")


def compare(run: Run, model: Copies, updates: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time both sides alternately, at one number of optimizer steps per rollout."""
    sides = {name: SIDES[name](run, model, updates, arguments) for name in SIDES}
    seconds = alternate(sides, arguments.rollouts)
    expected = [arguments.queries * arguments.group_size * arguments.tokens] * arguments.rollouts
    for name, side in sides.items():
        if side.record.tokens != expected:
            raise RuntimeError(
                f"{name} sampled {side.record.tokens} tokens, not {expected[0]} each"
            )
    counted = slice(arguments.warmup, None)
    wall, cpu = (
        {name: [times[kind] for times in seconds[name][counted]] for name in SIDES}
        for kind in (0, 1)
    )
    parts = {part: sides["ours"].record.seconds[part][counted] for part in PARTS}
    retrieval = [sum(times) for times in zip(parts["encode"], parts["search"])]
    bare = [total - extra for total, extra in zip(wall["ours"], retrieval)]
    ratios = quotients(wall["ours"], wall["trl"])
    return {
        "updates": updates,
        "pairs": len(ratios),
        "tokens_a_step": expected[0],
        "ratio": median(ratios),
        "ratio_interval": interval(ratios),
        "ratio_without_retrieval": median(quotients(bare, wall["trl"])),
        "cpu_ratio": median(quotients(cpu["ours"], cpu["trl"])),
        "seconds": {name: median(wall[name]) for name in SIDES},
        "cpu_seconds": {name: median(cpu[name]) for name in SIDES},
        "tokens_per_second": {name: expected[0] / median(wall[name]) for name in SIDES},
        "our_seconds": {part: median(times) for part, times in parts.items()},
        "ratios": ratios,
    }


def resident(name: str) -> float:
    """Resident memory of this process in MiB, now (``VmRSS``) or at its peak (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def grown(work: Callable[[], Any]) -> dict[str, float]:
    """Resident MiB before some work, and the additional MiB at its peak."""
    # Reset the peak, which earlier work may have set. (getrusage would even report the peak of the
    # parent process, if that was higher.)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    work()
    return {"before": before, "peak": resident("VmHWM") - before}


def memory(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one side alone; return the memory of its steps beyond imports, model and construction."""
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), arguments.rollouts * arguments.queries, arguments.items)
        side = SIDES[name](run, build_model(run, arguments), arguments.updates[0], arguments)
        return grown(lambda: alternate({name: side}, arguments.rollouts))


def memory_alone(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """``memory`` in a separate process, for three rollouts."""
    short = argparse.Namespace(**vars(arguments) | {"rollouts": 3, "side": name})
    done = subprocess.run(
        [sys.executable, *command(short)],
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    peaks: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def command(arguments: argparse.Namespace) -> list[str]:
    """Words for python that repeat these arguments, without the output file."""
    words = ["-m", "benchmarks.grpo_step"]
    for key, value in vars(arguments).items():
        if key != "out" and value is not None:
            words += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return words


def table(rows: Sequence[dict[str, Any]], peaks: dict[str, dict[str, float]]) -> str:
    """Return the comparison as Markdown."""
    lines = [
        "| optimizer steps | ours s | TRL s | tokens/s ours | tokens/s TRL | ours/TRL (95 %) "
        "| without retrieval | of CPU seconds |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        low, high = row["ratio_interval"]
        cells = [
            str(row["updates"]),
            *(f"{row['seconds'][name]:.3f}" for name in SIDES),
            *(f"{row['tokens_per_second'][name]:.0f}" for name in SIDES),
            f"{row['ratio']:.3f} ({low:.3f} to {high:.3f})",
            *(f"{row[name]:.3f}" for name in ("ratio_without_retrieval", "cpu_ratio")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for row in rows:
        parts = ", ".join(f"{part} {row['our_seconds'][part]:.3f}" for part in PARTS)
        lines.append(f"\nOur seconds by part at {row['updates']}: {parts}")
    lines += [f"\nPeak memory of {name}: {peak['peak']:.0f} MiB" for name, peak in peaks.items()]
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, nargs="+", default=[2, 1], help="per rollout")
    parser.add_argument("--rollouts", type=int, default=28, help="per side")
    parser.add_argument("--warmup", type=int, default=3, help="rollouts that do not count")
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--group_size", type=int, default=8)
    parser.add_argument("--passes", type=int, default=4, help="micro-batches per optimizer step")
    parser.add_argument("--tokens", type=int, default=64, help="per completion")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=list(SIDES), help="only print the memory of this side")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/grpo_step.json"))
    return parser


def main() -> None:
    arguments = build_parser().parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.side:
        print(json.dumps(memory(arguments.side, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), arguments.rollouts * arguments.queries, arguments.items)
        model = build_model(run, arguments)
        rows = [compare(run, model, updates, arguments) for updates in arguments.updates]
    peaks = {name: memory_alone(name, arguments) for name in SIDES}
    print(table(rows, peaks))
    record = {
        "command": " ".join(["python", *command(arguments)]),
        "environment": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS",)},
        "hardware": {"cpu": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[2]},
        "versions": {name: version(name) for name in PACKAGES},
        "steps": rows,
        "memory_mib": peaks,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
