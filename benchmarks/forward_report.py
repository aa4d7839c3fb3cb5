"""Results of benchmarks.forward_process → forward_process.md, and forward_process.png with the curves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.credit_report import spread, write_tables
from benchmarks.page.cells import number, table
from r4t.report.plots import STYLE

NAMES = {
    "refiner": "policy gradient on items (stage 5)",
    "forward": "forward process (DiffusionNFT)",
}
COLORS = {"refiner": "#0072b2", "forward": "#d55e00"}  # of Okabe and Ito
MEASURES = {"facet recall": "facet recall", "fitting": "share fitting", "vendi": "Vendi"}


def read_tries(results: Path) -> list[dict[str, Any]]:
    """Read the finished tries, by number."""
    paths = sorted(results.glob("try-*.json"), key=lambda path: int(path.stem.split("-")[-1]))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def highest(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the measurement with the highest reward on validation queries.

    Examples:
        >>> highest([{"val": {"reward": x}} for x in (0.1, 0.3, 0.2)])
        {'val': {'reward': 0.3}}
    """
    return max(rows, key=lambda row: row["val"]["reward"])


def tries_table(tries: Sequence[Mapping[str, Any]]) -> str:
    """Tries × what they reached at best on validation queries."""
    lines = []
    for each in tries:
        tried, row = each["tried"], highest(each["rows"])
        setting = f"τ {tried['temperature']:g}"
        if tried["way"] == "forward":
            setting = f"β {tried['beta']:g}, {tried['inner']} updates, old {tried['decay']:g}"
            setting += "" if tried["items"] else ", rows"
        value = row["val"]
        cells = [f"{tried['rate']:g}, {setting}", f"{row['step']}", number(value["reward"])]
        lines.append([NAMES[tried["way"]], *cells, *(number(value.get(m)) for m in MEASURES)])
    return table(["tried", "rate", "rollouts", "reward", *MEASURES.values()], lines)


def final_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Ways × measures on both splits after equal time, mean and range over seeds."""
    lines = []
    for split in ("val", "test"):
        for way in results[0]["rows"]:
            runs = [result["rows"][way] for result in results]
            picked = {
                "start": [run[0] for run in runs],
                "best on validation": [highest(run) for run in runs],
                "end": [run[-1] for run in runs],
            }
            for name, rows in picked.items():
                known = [measure for measure in MEASURES if measure in rows[0][split]]
                cells = [spread([row[split][measure] for row in rows]) for measure in known]
                steps = number(fmean(row["step"] for row in rows), ".0f")
                lines.append([f"{split}: {NAMES[way]}, {name}", steps, *cells])
    known = [m for m in MEASURES if m in results[0]["rows"]["refiner"][0]["val"]]
    return table(["queries", "rollouts", *(MEASURES[m] for m in known)], lines)


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot each measure against seconds of training: test solid, validation dashed, all seeds."""
    known = [m for m in MEASURES if m in results[0]["rows"]["refiner"][0]["val"]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(known) + 0.4, 3.0), layout="constrained")
        panels = figure.subplots(1, len(known), squeeze=False)[0]
        for panel, measure in zip(panels, known):
            for way, color in COLORS.items():
                for number_of, result in enumerate(results):
                    rows = result["rows"][way]
                    at = [row["seconds"] for row in rows]
                    for split, line in (("test", "-"), ("val", "--")):
                        label = f"{NAMES[way]}, {split}" if number_of == 0 else None
                        values = [row[split][measure] for row in rows]
                        panel.plot(at, values, line, color=color, linewidth=1, label=label)
            panel.set_title(MEASURES[measure])
            panel.set_xlabel("seconds of training")
        lines, names = panels[0].get_legend_handles_labels()
        title = f"{len(results)} seeds, both ways in turns"
        where: Any = {"loc": "outside lower center", "ncols": 2, "frameon": False}
        figure.legend(lines, names, title=title, **where)
        figure.savefig(path, dpi=150)


def report(results: Path) -> str:
    """Write and return the tables of the finished results, and draw the figure."""
    tries = read_tries(results)
    paths = sorted(results.glob("seed*.json"))
    finals = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    tables = [tries_table(tries)] if tries else []
    if finals:
        tables.append(final_table(finals))
        draw(finals, results / "forward_process.png")
    return write_tables(tables, results / "forward_process.md")
