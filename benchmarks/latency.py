"""From a batch of queries to sets: the language model and the diffusion retriever, side by side.

    python -m benchmarks.latency RUN      # the small models of a run, on a CPU
    python -m benchmarks.latency --paper  # the paper's sizes, on one GPU of 80 GB
    python -m benchmarks.latency --paper --small  # the same code at a tiny size: does it run?

All sides answer the same queries in turns within one run, on one device, so that what slows the
machine slows all of them. Encoding (queries and sub-queries), generating and searching are timed apart
and together. Writes RESULTS/NAME.json with every call, NAME.csv, NAME.md and, like the paper's Figure
5, NAME.png: generation against the number of queries. A side whose next calls would take more than its
budget is called less often, but at least once after the call that warms it up.

--paper has not yet run on hardware: only --paper --small has been run, on a CPU.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.grpo_step import interval

BATCHES = (1, 8, 64, 256, 1024)
PARTS = ("encode", "generate", "search", "total")
SLOW = "R4T-FOLM"
Side = Callable[[int, int], dict[str, float]]  # batch, number of the call → seconds by part


def in_turns(
    sides: dict[str, Side], batch: int, calls: int, budget: float
) -> dict[str, list[dict[str, float]]]:
    """Call each side once to warm it up, then in turns.

    Args:
        sides: By name.
        batch: Queries of a call.
        calls: Of each side, at most.
        budget: Seconds of a side's calls together; one call is made in any case.

    Returns:
        Seconds of each call by side.
    """
    left, timed = {}, {name: [] for name in sides}
    for name, side in sides.items():
        start = time.perf_counter()
        side(batch, 0)
        left[name] = max(1, min(calls, int(budget / (time.perf_counter() - start))))
    for call in range(calls):
        for name, side in sides.items():
            if call < left[name]:
                timed[name].append(side(batch, call + 1))
    return timed


def rows(batch: int, timed: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Median seconds of each part by side, and how many times as fast as the language model."""
    found = []
    slow = [call["total"] for call in timed[SLOW]]
    slow_alone = [call["generate"] for call in timed[SLOW]]
    for name, calls in timed.items():
        row: dict[str, Any] = {"side": name, "batch": batch, "calls": len(calls)}
        row |= {part: median(call[part] for call in calls) for part in PARTS}
        ratios = [median(slow) / call["total"] for call in calls]
        low, high = interval(ratios)
        row |= {"times as fast": median(ratios), "low": low, "high": high}
        row["generation alone"] = median(slow_alone) / row["generate"] if row["generate"] else 0.0
        found.append(row)
    return found


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """The table for docs/latency.md: milliseconds a call."""
    lines = [
        "| batch | | encode | generate | search | total, ms | times as fast as R4T-FOLM | generation "
        "alone |",
        "|---:|---|" + "---:|" * 6,
    ]
    for row in table:
        parts = " | ".join(f"{1000 * row[part]:.1f}" for part in PARTS)
        spread = f"{row['times as fast']:.1f} ({row['low']:.1f} … {row['high']:.1f})"
        lines.append(
            f"| {row['batch']} | {row['side']} | {parts} | {spread} | {row['generation alone']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def plot(table: Sequence[dict[str, Any]], path: Path, told: str) -> None:
    """Seconds of generation against the number of queries, on two log axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 5), layout="constrained")
    for number, name in enumerate(dict.fromkeys(row["side"] for row in table)):
        points = [(row["batch"], row["generate"]) for row in table if row["side"] == name]
        axis.plot(*zip(*points), marker="os^vDPX*h"[number % 9], label=name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sorted({row["batch"] for row in table}))
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.set_xlabel("queries together")
    axis.set_ylabel("seconds to generate their fan-outs")
    axis.set_title(told, fontsize=9)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def write(found: dict[str, Any], name: str, results: Path, told: str) -> None:
    """Write JSON, CSV, Markdown and the plot."""
    results.mkdir(parents=True, exist_ok=True)
    table = found["table"]
    text = json.dumps(found, indent=1) + "\n"
    (results / f"{name}.json").write_text(text, encoding="utf-8")
    (results / f"{name}.md").write_text(markdown(table), encoding="utf-8")
    with (results / f"{name}.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    plot(table, results / f"{name}.png", told)
    print(markdown(table))


def of_run(run: Path, told: argparse.Namespace) -> dict[str, Any]:
    """Time the models of a run."""
    from benchmarks.latency_sides import run_sides
    from benchmarks.real_sets import hardware

    sides, facts = run_sides(run)
    table, calls = [], {}
    for batch in told.batches:
        timed = in_turns(sides, batch, told.calls, told.budget)
        table += rows(batch, timed)
        calls[batch] = timed
        print(markdown(table[-len(timed) :]), flush=True)
    return {
        "hardware": hardware(),
        "precision": "float32",
        "compiled": False,
        **facts,
        "table": table,
        "calls": calls,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="Run folder.")
    parser.add_argument("--paper", action="store_true", help="The paper's sizes, on a GPU.")
    parser.add_argument("--small", action="store_true", help="With --paper: a tiny size.")
    parser.add_argument("--eager", action="store_true", help="With --paper: compile nothing.")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--calls", type=int, default=7)
    parser.add_argument("--budget", type=float, default=15.0, help="Seconds a side and batch.")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/latency"))
    told = parser.parse_args(arguments)
    if told.paper:
        from benchmarks.latency_paper import measure

        found = measure(told)
        name = "paper-small" if told.small else "paper"
        write(found, name, told.results, f"{found['hardware']}, {found['precision']}"[:110])
        print(json.dumps(found["floor"], indent=1))
        return
    if told.run is None:
        parser.error("name a run folder, or say --paper")
    torch.set_grad_enabled(False)
    found = of_run(told.run, told)
    cpu = found["hardware"]
    title = f"{cpu['cpu']}, {cpu['threads']} threads, float32, not compiled"
    write(found, "cpu", told.results, title)


if __name__ == "__main__":
    main()
