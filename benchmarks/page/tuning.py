"""Results of stage 1 → tables: figure 4, the watchdog, shopping bundles, a step against TRL's."""

import csv
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

from benchmarks.page.cells import (
    RESULTS,
    between,
    chance,
    markdown_tables,
    number,
    read,
    table,
)

SETTINGS = ("groundedness", "groundedness+alignment", "6:2:2", "4:3:3", "2:4:4", "6:2:2+members")
SCORES = {
    "groundedness": "groundedness",
    "diversity": "Vendi / k",
    "alignment": "alignment",
    "facet recall": "true-facet recall",
    "pool facet recall": "in the pool",
}
SIGNS = {
    "duplicate_subqueries": "repeats",
    "universal_subqueries": "universal",
    "query_copies": "copies",
}
SEEDS = (0, 1, 2)
BUNDLES = ("clothing", "electronic")


def runs(setting: str) -> list[dict[str, Any]]:
    """The runs of one reward, by seed."""
    return [read(f"figure4/{setting.replace(':', '')}-seed{seed}.json") for seed in SEEDS]


def ends(setting: str, measure: str) -> tuple[float, float]:
    """Means over the seeds on held-out queries, before and after tuning."""
    rows = [run["held_out"] for run in runs(setting)]
    return fmean(row[0][measure] for row in rows), fmean(row[-1][measure] for row in rows)


def entropy(setting: str) -> tuple[float, float]:
    """Means over the seeds, in nats: at the first rollout, and over the last five."""
    with (RESULTS / "figure4/figure4.csv").open(newline="", encoding="utf-8") as file:
        means = {
            int(row["rollout"]): float(row["mean"])
            for row in csv.DictReader(file)
            if (row["setting"], row["metric"]) == (setting, "entropy/mean")
        }
    return means[min(means)], means[max(means)]


def figure4(columns: dict[str, str], with_entropy: bool) -> str:
    """Rewards × measures, before → after."""

    def arrow(pair: tuple[float, float], form: str = ".3f") -> str:
        return f"{number(pair[0], form)} → {number(pair[1], form)}"

    rows = []
    for setting in SETTINGS:
        cells = [arrow(ends(setting, measure)) for measure in columns]
        rows.append([setting, *cells, *([arrow(entropy(setting), ".2f")] if with_entropy else [])])
    more = ["entropy, nats"] if with_entropy else []
    return table(["reward", *columns.values(), *more], rows)


def held_out() -> str:
    """Seeds × methods, from the tables that ``r4t evaluate`` wrote."""
    rows = []
    for seed in SEEDS:
        cells: dict[tuple[str, str], str] = {}
        differences: dict[str, str] = {}
        for header, *lines in markdown_tables(RESULTS / f"figure4/evaluate-seed{seed}.md"):
            for first, *values in lines:
                if header[0] == "method":
                    cells |= {(first, name): value for name, value in zip(header[1:], values)}
                elif header[0] == "paired difference" and values[0] == "directions/composite":
                    differences[first] = f"{values[1]} ({values[2]})"
        names = ("Zero-shot", "Best-of-5", "R4T-FOLM")
        facets = [cells[name, "facet recall"] for name in ("Zero-shot", "R4T-FOLM")]
        rows.append(
            [
                f"{seed}",
                *(cells[name, "composite"] for name in names),
                differences["R4T-FOLM − Best-of-5"],
                differences["Best-of-5 − Zero-shot"],
                " → ".join(facets),
            ]
        )
    header = ["seed", "Zero-shot", "Best-of-5", "R4T-FOLM", "R4T-FOLM − Best-of-5"]
    return table([*header, "Best-of-5 − Zero-shot", "true facets, Zero-shot → R4T-FOLM"], rows)


def verdicts() -> list[dict[str, Any]]:
    """The watchdog's verdict on each run."""
    rows: list[dict[str, Any]] = read("watchdog.json")["runs"]
    return rows


def watchdog() -> str:
    """Runs × collapse, first alarm and verdict."""
    rows = []
    for row in verdicts():
        collapse = row["collapse"]
        cell = "–" if collapse is None else f"rollout {collapse['rollout']}, {collapse['how']}"
        alarm = "–" if row["first_alarm"] is None else str(row["first_alarm"])
        rows.append([row["run"], cell, alarm, row["verdict"]])
    counts = [
        f"{name}: {sum(row[-1] == name for row in rows)}"
        for name in ("hit", "miss", "false alarm", "quiet")
    ]
    header = ["run", "collapse on held-out queries", "first alarm", "verdict"]
    return table(header, rows) + f"\n\n{', '.join(counts)}."


def bundles() -> str:
    """Methods × recall and Vendi, for both data sets."""
    methods = {name: read("bundles/bundles.json")[name]["methods"] for name in BUNDLES}
    header = [f"{name}: {m}" for name in BUNDLES for m in ("recall in 150", "Vendi of ten")]
    rows = [
        [method, *(between(*methods[n][method][m]) for n in BUNDLES for m in ("recall", "vendi"))]
        for method in methods["clothing"]
    ]
    return table(["method", *header], rows)


def bundle_differences() -> str:
    """Pairs × both data sets."""
    pairs = {name: read("bundles/bundles.json")[name]["recall differences"] for name in BUNDLES}
    rows = []
    for pair in pairs["clothing"]:
        cells = []
        for name in BUNDLES:
            mean, low, high, p = pairs[name][pair]
            cells += [between(mean, low, high, "+.4f"), chance(p)]
        rows.append([pair, *cells])
    header = [text for name in BUNDLES for text in (name, "p")]
    return table(["paired difference of recall", *header], rows)


def why() -> str:
    """Settings × both data sets."""
    recall = {name: read(f"bundles/{name}-why.json")["recall"] for name in BUNDLES}
    rows = [[key, *(number(recall[name][key]) for name in BUNDLES)] for key in recall["clothing"]]
    return table(["model", *(f"{name} (5 folds)" for name in BUNDLES)], rows)


def grpo_step() -> str:
    """Updates per rollout × ours and TRL's."""
    rows = []
    for step in read("grpo_step.json")["steps"]:
        seconds, rate = step["seconds"], step["tokens_per_second"]
        low, high = step["ratio_interval"]
        rows.append(
            [
                f"{step['updates']}",
                *(number(seconds[side], ".2f") for side in ("ours", "trl")),
                f"**{number(step['ratio'])}**",
                f"{number(low)} … {number(high)}",
                *(number(rate[side], ".0f") for side in ("ours", "trl")),
            ]
        )
    header = ["updates per rollout", "ours, s", "TRL, s", "median ratio ours / TRL"]
    return table([*header, "95 % interval", "tokens/s ours", "TRL"], rows)


def warm_start() -> str:
    """First embeddings × steps: loss and composite on validation queries, over seeds."""
    runs = read("warm_start.json")["rows"]
    steps = list(dict.fromkeys(row["steps"] for row in runs))
    rows = []
    for way in dict.fromkeys(row["way"] for row in runs):
        cells = []
        for measure in ("nll", "composite"):
            for count in steps:
                values = [
                    row[measure] for row in runs if (row["way"], row["steps"]) == (way, count)
                ]
                cells.append(f"{number(fmean(values))} ({min(values):.3f} … {max(values):.3f})")
        rows.append([way, *cells])
    names = ("nats per token", "composite")
    header = [f"{name}, {count} steps" for name in names for count in steps]
    return table(["first embeddings", *header], rows)


def encoder_as_decoder() -> str:
    """Models × results after the same CPU time."""
    rows = []
    for name, model in read("encoder_as_decoder.json")["models"].items():
        counts = [f"{model['parameters'] / 1e6:.1f}M", f"{model['steps']}"]
        values = [number(model[key], form) for key, form in (("nll", ".2f"), ("recall", ".3f"))]
        rows.append([name, *counts, *values, number(model["subqueries"], ".1f")])
    header = ["model", "parameters", "steps", "nats per token, last ten steps"]
    return table([*header, "recall in 150", "readable sub-queries, of ten"], rows)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "figure 4, scores": ("figure4", partial(figure4, SCORES, False)),
    "figure 4, signs of gaming": ("figure4", partial(figure4, SIGNS, True)),
    "figure 4, composite": ("figure4_held_out", held_out),
    "watchdog": ("watchdog", watchdog),
    "bundles, recall and Vendi": ("bundles", bundles),
    "bundles, differences over the same queries": ("bundles", bundle_differences),
    "bundles, why": ("bundles_why", why),
    "warm start": ("warm_start", warm_start),
    "encoder as decoder": ("encoder_as_decoder", encoder_as_decoder),
    "grpo step": ("grpo_step", grpo_step),
}
