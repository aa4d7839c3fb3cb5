"""Alternating calls of methods → table, CSV, JSON, and a figure of latency against batch size."""

import csv
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ratios import interval, quotients

PARTS = ("encode", "generate", "search", "total")
SHOWN = {"generate": "fan-out alone", "total": "encode + fan-out + search"}
RATIOS = {"generate": "fan-out", "total": "together", "cpu": "CPU seconds"}
# Figure 5 of the paper, k = 10: batch → seconds; neither hardware nor precision is stated.
PAPER = {"autoregressive": {8: 1.46, 1024: 50.0}, "diffusion": {8: 0.07, 1024: 4.21}}
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")
Call = Callable[[], dict[str, float]]  # → seconds of each part


@dataclass
class Timing:
    """Measurements of a method at one batch size, in one way to run it.

    Attributes:
        method: Name of its line in the figure.
        batch: Queries per call.
        variant: Precision, compilation and whatever else distinguishes the way to run it.
        calls: Seconds of each part, for each call.
        prepared: Seconds of compilation, graph recording and warm-up, outside all calls.
        note: A remark for the reader.
    """

    method: str
    batch: int
    variant: str
    calls: list[dict[str, float]] = field(default_factory=list)
    prepared: float = 0.0
    note: str = ""

    def median(self, part: str) -> float:
        """Median seconds of a part."""
        return median(call[part] for call in self.calls)


@dataclass
class Group:
    """Methods that alternated at one batch size: call i of each belongs to the same round.

    Attributes:
        baseline: The autoregressive model.
        others: The methods compared with it.
    """

    baseline: Timing
    others: list[Timing] = field(default_factory=list)

    def fastest(self) -> "Group":
        """Keep only the fastest way to run each of the others."""
        best: dict[str, Timing] = {}
        for other in self.others:
            rival = best.get(other.method)
            if rival is None or other.median("generate") < rival.median("generate"):
                best[other.method] = other
        return Group(self.baseline, list(best.values()))


def alternate(
    calls: Sequence[tuple[Timing, Call]], most: int, budget: float, least: int = 3
) -> None:
    """Let methods alternate, in an order that changes from round to round.

    Args:
        calls: Each runs once untimed; then the seconds of its calls are added to its timing.
        most: Maximum number of rounds.
        budget: Seconds after which no further round starts.
        least: Minimum number of rounds, whatever the budget.
    """
    begin = time.perf_counter()
    for timing, call in calls:
        start = time.perf_counter()
        call()
        timing.prepared += time.perf_counter() - start
    for number in range(most):
        if number >= least and time.perf_counter() - begin > budget:
            break
        for timing, call in calls[:: 1 if number % 2 == 0 else -1]:
            timing.calls.append(call())


def rows(groups: Iterable[Group], floors: dict[int, float] | None = None) -> list[dict[str, Any]]:
    """Medians of every method, and its speed relative to the baseline.

    Args:
        groups: If several have the same batch size, the one with the fastest baseline counts.
        floors: Batch → minimum seconds of the baseline's fan-out, if known.

    Returns:
        One row for each batch size and method, with the baseline first. Seconds are medians of a
        call. Ratios are the baseline's seconds over the method's in the same round: their median
        and its 95 % interval. "cpu" is the CPU time of the process, if measured.
    """
    best: dict[int, Group] = {}
    for group in groups:
        batch, seconds = group.baseline.batch, group.baseline.median("generate")
        if batch not in best or seconds < best[batch].baseline.median("generate"):
            best[batch] = group
    return [
        _row(timing, group.baseline, floors)
        for _, group in sorted(best.items())
        for timing in [group.baseline, *group.fastest().others]
    ]


def _row(timing: Timing, baseline: Timing, floors: dict[int, float] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"batch": timing.batch, "method": timing.method}
    parts = [part for part in (*PARTS, "cpu") if part in timing.calls[0]]
    row |= {part: timing.median(part) for part in parts}
    row |= {"calls": len(timing.calls), "prepared": timing.prepared}
    for part in (part for part in parts if part in RATIOS):
        theirs, mine = ([call[part] for call in one.calls] for one in (baseline, timing))
        ratios = quotients(theirs, mine)
        row[f"ratio_{part}"] = median(ratios)
        row[f"ratio_{part}_low"], row[f"ratio_{part}_high"] = interval(ratios)
    if floors is not None:
        row["ratio_floor"] = floors[timing.batch] / row["generate"]
    return row | {"variant": timing.variant, "note": timing.note}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as Markdown: milliseconds per call, ratios with intervals."""
    ratios = [part for part in RATIOS if f"ratio_{part}" in rows[0]]
    heads = ["batch", "method", "encode ms", "fan-out ms", "search ms", "together ms"]
    heads += [f"baseline ÷ this: {RATIOS[part]}" for part in ratios]
    heads += ["floor ÷ fan-out"] if "ratio_floor" in rows[0] else []
    heads += ["calls", "how"]
    sides = ["---" if head in ("method", "how") else "---:" for head in heads]
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(sides) + "|"]
    for row in rows:
        cells = [str(row["batch"]), row["method"], *(f"{1000 * row[part]:.4g}" for part in PARTS)]
        for part in ratios:
            low, high = (row[f"ratio_{part}_{end}"] for end in ("low", "high"))
            cells.append(f"{row[f'ratio_{part}']:.3g} ({low:.3g} to {high:.3g})")
        cells += [f"{row['ratio_floor']:.3g}"] if "ratio_floor" in row else []
        how = "; ".join(text for text in (row["variant"], row["note"]) if text)
        lines.append("| " + " | ".join([*cells, str(row["calls"]), how]) + " |")
    return "\n".join(lines)


def write(
    folder: Path,
    groups: Sequence[Group],
    about: dict[str, Any],
    floors: dict[int, float] | None = None,
) -> list[dict[str, Any]]:
    """Write latency.json (all calls), latency.csv (medians and ratios) and latency.png.

    Args:
        folder: Output folder; created if missing.
        groups: All measurements.
        about: Command, settings and hardware.
        floors: See ``rows``.

    Returns:
        The rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = rows(groups, floors)
    record = {**about, "floors": floors, "rows": lines, "groups": [asdict(one) for one in groups]}
    text = json.dumps(record, indent=1) + "\n"
    (folder / "latency.json").write_text(text, encoding="utf-8")
    with (folder / "latency.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        for row in lines:
            writer.writerow(
                {name: f"{x:.6g}" if isinstance(x, float) else x for name, x in row.items()}
            )
    if find_spec("matplotlib") is None:
        print("No figure: matplotlib is not installed. Install it, then use --redraw.")
    else:
        draw(folder / "latency.png", lines, floors)
    return lines


def draw(
    path: Path, rows: Sequence[dict[str, Any]], floors: dict[int, float] | None = None
) -> None:
    """Draw seconds against batch size, on logarithmic axes: the fan-out alone, and everything."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    batches = sorted({row["batch"] for row in rows})
    for panel, (part, title) in zip(panels, SHOWN.items()):
        for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            places = [(row["batch"], row[part]) for row in rows if row["method"] == method]
            color = COLORS[number % len(COLORS)]
            marker = "s-" if number == 0 else "o-"
            panel.plot(*zip(*places), marker, color=color, markersize=4, label=method)
        panel.set(title=title, xscale="log", yscale="log", xlabel="queries in a batch")
        panel.set_xticks(batches, [str(batch) for batch in batches], minor=False)
        panel.minorticks_off()
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    if floors:
        panels[0].plot(
            *zip(*sorted(floors.items())), "k:", label="floor: weights read once per token"
        )
        for (kind, places), color in zip(PAPER.items(), COLORS):
            label = f"paper's Figure 5, {kind} (other hardware)"
            panels[0].plot(*zip(*places.items()), "x", color=color, alpha=0.6, label=label)
    panels[0].set_ylabel("seconds for the whole batch")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def read(path: Path) -> tuple[list[Group], dict[str, Any], dict[int, float] | None]:
    """Read latency.json: its groups, its settings and hardware, and its floors."""
    record = json.loads(path.read_text(encoding="utf-8"))
    groups = [
        Group(Timing(**group["baseline"]), [Timing(**other) for other in group["others"]])
        for group in record.pop("groups")
    ]
    del record["rows"]
    floors = record.pop("floors")
    return groups, record, floors and {int(batch): low for batch, low in floors.items()}
