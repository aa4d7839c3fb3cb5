"""Results of benchmarks.credit → credit.md, and credit.png with the curves."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.page.cells import number, table
from r4t.report.plots import STYLE

ORDER = ("shopper", "specific_coverage", "diversity")  # of the objectives
REFERENCE = "set"
COLORS = ("#8c8c8c", "#0072b2", "#e69f00", "#d55e00")  # of Okabe and Ito
AXES = {"step": "optimizer steps", "seconds": "seconds of training"}
POINTS = 41


def report(results: Path) -> str:
    """Write and return the tables of the finished results, and draw the figure."""
    noises, rewards = read(results, "noise-*.json"), read(results, "*-seed*.json")
    tables = [noise_table(noises)] if noises else []
    if rewards:
        tables.append(reward_table(rewards))
        draw(rewards, results / "credit.png")
    return write_tables(tables, results / "credit.md")


def write_tables(tables: Sequence[str], path: Path) -> str:
    """Write Markdown tables, and return the text."""
    text = "\n\n".join(tables) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def read(results: Path, pattern: str) -> list[dict[str, Any]]:
    """Read the finished results, by objective and seed."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob(pattern)]
    known = [*ORDER, *sorted({each["objective"] for each in found} - {*ORDER})]
    return sorted(found, key=lambda each: (known.index(each["objective"]), each.get("seed", 0)))


def at(rows: Sequence[Mapping[str, float]], axis: str, place: float, measure: str) -> float:
    """Return a measure at a place of an axis ("step" or "seconds"), between two rows by a line.

    Examples:
        >>> rows = [{"step": 0, "reward": 0.0}, {"step": 4, "reward": 1.0}]
        >>> at(rows, "step", 3, "reward")
        0.75
    """
    for before, after in pairwise(rows):
        if place <= after[axis]:
            share = (place - before[axis]) / (after[axis] - before[axis])
            return before[measure] + share * (after[measure] - before[measure])
    return rows[-1][measure]


def ends(run: Mapping[str, Any], measure: str = "reward") -> dict[str, dict[str, float]]:
    """Return, by credit, a measure after all steps and after equal seconds, and seconds per step."""
    rows = run["held_out"]
    least = min(each[-1]["seconds"] for each in rows.values())
    return {
        name: {
            "start": each[0][measure],
            "equal steps": each[-1][measure],
            "equal seconds": at(each, "seconds", least, measure),
            "seconds a step": each[-1]["seconds"] / each[-1]["step"],
        }
        for name, each in rows.items()
    }


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Mean and range of values over seeds.

    Examples:
        >>> spread([0.25, 0.5])
        '0.375 (0.250 … 0.500)'
    """
    return (
        f"{number(fmean(values), form)} ({number(min(values), form)} … {number(max(values), form)})"
    )


def noise_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Objectives and credits × noise of the gradient by the weights, unscaled and scaled."""
    lines = []
    for result in results:
        rows = [row for row in result["rows"] if row["space"] == "weights"]
        plain = {row["credit"]: row for row in rows if not row["scaled"]}
        scaled = {row["credit"]: row for row in rows if row["scaled"]}
        for name, row in plain.items():
            cells = [
                number(row["trace"] / plain[REFERENCE]["trace"], ".3f"),
                *(number(each[name]["noise"], ".2f") for each in (plain, scaled)),
                *(number(each[name]["cosine"], ".3f") for each in (plain, scaled)),
                number(row["cosine with set"], ".2f"),
            ]
            lines.append([f"{result['objective']}: {name}", *cells])
    header = ["gradient by the weights", "variance / set", "variance / signal", "scaled"]
    return table([*header, "cosine with the mean", "scaled", "with set's mean"], lines)


def reward_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Objectives and credits × reward on validation queries, mean and range over seeds."""
    lines = []
    for objective in dict.fromkeys(result["objective"] for result in results):
        runs = [ends(result) for result in results if result["objective"] == objective]
        for name in runs[0]:
            cells = [
                spread([run[name][column] for run in runs])
                for column in ("equal steps", "equal seconds")
            ]
            times = [run[name]["seconds a step"] / run[REFERENCE]["seconds a step"] for run in runs]
            start = number(fmean(run[name]["start"] for run in runs))
            lines.append([f"{objective}: {name}", start, *cells, number(fmean(times), ".2f")])
    header = ["reward on validation queries", "start", "after equal steps", "after equal seconds"]
    return table([*header, "time of a step / set"], lines)


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot reward on validation queries against steps and seconds: mean and range over seeds."""
    objectives = list(dict.fromkeys(result["objective"] for result in results))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(objectives) + 0.6, 5.0), layout="constrained")
        grid = figure.subplots(2, len(objectives), squeeze=False)
        for column, objective in enumerate(objectives):
            runs = [result for result in results if result["objective"] == objective]
            for panel, axis in zip(grid[:, column], AXES):
                _curves(panel, runs, axis)
                panel.set_xlabel(AXES[axis])
            grid[0, column].set_title(objective)
        grid[0, 0].set_ylabel("reward")
        grid[1, 0].set_ylabel("reward")
        lines, names = grid[0, 0].get_legend_handles_labels()
        seeds = len({result["seed"] for result in results})
        title = f"validation queries, mean and range of {seeds} seeds"
        figure.legend(lines, names, title=title, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(path, dpi=150)


def _curves(panel: Axes, runs: Sequence[Mapping[str, Any]], axis: str) -> None:
    """Plot each credit of the runs of one objective, up to where the shortest ends."""
    names = list(runs[0]["held_out"])
    lengths = {name: min(run["held_out"][name][-1][axis] for run in runs) for name in names}
    shortest = min(lengths.values())
    for color, name in zip(COLORS, names):
        places = [shortest * point / (POINTS - 1) for point in range(POINTS)]
        values = [[at(run["held_out"][name], axis, x, "reward") for run in runs] for x in places]
        low, high = ([end(each) for each in values] for end in (min, max))
        panel.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
        panel.plot(places, [fmean(each) for each in values], color=color, label=name)
