"""The diffusion retriever on real shopping bundles, compared with the curves of MMR and DPP.

    python -m benchmarks.bundles_diffusion                          # every tuned fold
    python -m benchmarks.bundles_diffusion --sets clothing --folds 0 1
    python -m benchmarks.bundles_diffusion --anchors                # directions closer to the query
    python -m benchmarks.bundles_diffusion --table                  # only tables and plot of finished folds

Continues from the models that ``benchmarks.bundles`` tuned for coverage (RUNS/SET-foldN): synthesizes
target sets from the fold's training intents, distills and accelerates them with the toy and wscr
configs, and answers the fold's test intents. As there, recall is the mean over ``DRAWS`` sets per query,
in a pool of 150 distinct items, and Vendi is that of the first ten. Writes
RESULTS/diffusion-SET-foldN.json, and skips a fold whose file exists.
"""

import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.bundles import (
    DRAWS,
    FOLDS,
    OVERLAYS,
    POOL,
    RUNS,
    SEED,
    SETS,
    SIZE,
    clusters,
    first_items,
    options,
    pooled_clusters,
)
from benchmarks.figure4 import dump, shown
from benchmarks.real_sets import hardware
from r4t.__main__ import run as run_verb
from r4t.choice import QueryTime
from r4t.diffusion import DirectionGenerator
from r4t.evaluation.measures import item_vendi, pool_recall
from r4t.evaluation.resampling import bootstrap, sign_flip
from r4t.methods import DiffusionMethod, MethodOptions
from r4t.reward import Reward
from r4t.run import MODELS, Run
from r4t.support.configs import configs_folder

STEPS = {"synthesize": "2_synthesize", "distill": "3_distill", "accelerate": "4_accelerate"}
OURS = ("R4T-FOLM", "R4T-Diffusion", "R4T-Student")
NAMED = ("No fan-out", "MMR", "DPP", "MMR in pool", "DPP in pool", "Ridge map", *OURS)
ANCHORS = (0.0, 0.2, 0.4, 0.6)
POINTS = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95]  # λ on the curves


def commands(name: str, fold: int, runs: Path) -> list[list[str]]:
    """Return the words of each command of one fold."""
    configs, lines = configs_folder(), []
    for step in STEPS.values():
        layers = [layer / f"{step}.yaml" for layer in (configs / "toy", configs / "wscr", OVERLAYS)]
        words = [w for p in layers if p.is_file() for w in ("--config", os.path.relpath(p))]
        verb = "synthesize" if step == "2_synthesize" else "fit"
        run = ["--run", str(runs / f"{name}-fold{fold}"), "--seed_everything", str(SEED)]
        lines.append([verb, *words, *run, "--trainer.enable_progress_bar", "false"])
    return lines


def measure(name: str, fold: int, runs: Path, results: Path) -> None:
    """Train and evaluate one fold and write its file, unless it exists."""
    path = results / f"diffusion-{name}-fold{fold}.json"
    folder = runs / f"{name}-fold{fold}"
    if path.is_file() or not (folder / "tune" / "model").is_dir():
        print(f"skipped: {path} exists" if path.is_file() else f"{folder} has no tuned model yet")
        return
    begun, steps = time.perf_counter(), commands(name, fold, runs)
    for words in steps:
        run_verb(words)
    run = Run.open(folder)
    content = {
        "setting": f"{name}, fold {fold}",
        "commands": [shown(words, runs, RUNS) for words in steps],
        "hardware": hardware(),
        "minutes": round((time.perf_counter() - begun) / 60, 1),
        "methods": answers(run),
        "clusters": clusters(run),
    }
    gate = run.step("accelerate") / "model" / "gate.json"
    if gate.is_file():
        content["gate"] = json.loads(gate.read_text(encoding="utf-8"))
    path.write_text(dump(content), encoding="utf-8")


@torch.no_grad()
def answers(run: Run) -> dict[str, dict[str, list[float]]]:
    """Return method → measure → a value for each test query with a word that the encoder knows."""
    searcher = run.searcher(cached=2**16)
    queries, _ = searcher.searchable(run.read_queries("test"))
    absent = {"R4T-Student"} if not (run.folder / MODELS["student"]).is_dir() else set()
    named = [name for name in NAMED if name not in absent]
    options = MethodOptions(SIZE, POOL, named, curves=POINTS, dpp_curves=POINTS)
    reward = Reward({"diversity": 1.0})
    lineup = options.line_up(options.context(run, searcher, queries, reward))
    by_method: dict[str, dict[str, list[float]]] = {}
    for method in lineup.methods:
        draws = range(DRAWS if method.name in OURS else 1)
        parts = []
        for start in range(0, len(queries), 64):
            part = queries[start : start + 64]
            z = searcher.encode_queries([query.text for query in part])
            references = [searcher.catalog.rows(query.references) for query in part]
            sums = torch.zeros(len(part), 2)
            for draw in draws:
                sets = method(part, z, draw=draw)
                if sets.references is None:
                    sets = with_references(sets, references)
                sums[:, 0] += pool_recall(sets)
                sums[:, 1] += item_vendi(first_items(searcher, sets))
            parts.append(sums / len(draws))
        both = torch.cat(parts)
        by_method[method.name] = {
            measure: [round(value, 5) for value in both[:, column].tolist()]
            for column, measure in enumerate(("recall", "vendi"))
        }
    return by_method


@torch.no_grad()
def anchors(name: str, runs: Path, results: Path) -> None:
    """Write recall and Vendi of R4T-Diffusion at several anchors, on validation and test queries.

    Nothing is trained. A user would choose the anchor with the best recall on validation queries.
    """
    by_anchor: dict[str, dict[str, list[torch.Tensor]]] = {}
    folds = [int(path.stem[-1]) for path in sorted(results.glob(f"diffusion-{name}-fold*.json"))]
    for fold in folds:
        run = Run.open(runs / f"{name}-fold{fold}")
        searcher = run.searcher(cached=2**16)
        for split in ("val", "test"):
            queries, _ = searcher.searchable(run.read_queries(split))
            for anchor in ANCHORS:
                folder = run.folder / MODELS["diffusion"]
                choice = QueryTime.load(folder).choice
                generator = DirectionGenerator.load(folder)
                query_time = QueryTime(choice, anchor)
                method = DiffusionMethod(searcher, generator, SIZE, POOL, query_time)
                values = by_anchor.setdefault(f"{split}, {anchor}", {"recall": [], "vendi": []})
                for start in range(0, len(queries), 64):
                    part = queries[start : start + 64]
                    sets = method(part, searcher.encode_queries([query.text for query in part]))
                    references = [searcher.catalog.rows(query.references) for query in part]
                    sets = with_references(sets, references)
                    values["recall"].append(pool_recall(sets))
                    values["vendi"].append(item_vendi(first_items(searcher, sets)))
    means = {
        key: {
            measure: round(float(torch.cat(parts).mean()), 4) for measure, parts in values.items()
        }
        for key, values in by_anchor.items()
    }
    files = [results / f"diffusion-{name}-fold{fold}.json" for fold in folds]
    by_method = pooled(files)
    for key, mean in means.items():
        if key.startswith("test"):
            point = (mean["vendi"], mean["recall"])
            mean["above MMR"] = above(point, curve(by_method, "MMR"))
    best = max(ANCHORS, key=lambda anchor: means[f"val, {anchor}"]["recall"])
    content = {"folds": folds, "chosen on validation": best, "means": means}
    path = results / f"diffusion-{name}-anchors.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(path, json.dumps(content, indent=1))


def with_references(sets: Any, references: list[list[int]]) -> Any:
    """The sets, extended by the reference rows of their queries."""
    from r4t.sets import pad_rows

    return sets.extended(references=pad_rows(references))


def pooled(runs: list[dict[str, Any]]) -> dict[str, dict[str, torch.Tensor]]:
    """Return method → measure → values of the queries of all folds, for methods in every fold."""
    folds = [run["methods"] for run in runs]
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    return {
        name: {
            measure: torch.tensor([value for fold in folds for value in fold[name][measure]])
            for measure in ("recall", "vendi")
        }
        for name in names
    }


def curve(by_method: dict[str, dict[str, torch.Tensor]], name: str) -> list[tuple[float, float]]:
    """(Vendi, recall) of the points on a curve, sorted by Vendi; No fan-out is one end."""
    points = [
        (float(values["vendi"].mean()), float(values["recall"].mean()))
        for method, values in by_method.items()
        if method == "No fan-out" or (method.startswith(f"{name} ") and "in pool" not in method)
    ]
    return sorted(points)


def above(point: tuple[float, float], line: list[tuple[float, float]]) -> float:
    """Recall of a (Vendi, recall) point minus that of a curve at the same Vendi.

    A point left of the curve is compared with its first point, one right of it with its last.

    Example:
        >>> above((1.5, 0.5), [(1.0, 0.6), (2.0, 0.2)])
        0.1
    """
    vendi, recall = point
    if vendi <= line[0][0]:
        return round(recall - line[0][1], 10)
    for (left, high), (right, low) in pairwise(line):
        if vendi <= right:
            share = (vendi - left) / (right - left)
            return round(recall - (high + share * (low - high)), 10)
    return round(recall - line[-1][1], 10)


def tables(results: Path) -> None:
    """Print and write tables, paired differences and the recall–diversity plane."""
    lines, summaries, planes = [], {}, {}
    for name in SETS:
        files = sorted(results.glob(f"diffusion-{name}-fold*.json"))
        if not files:
            continue
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        by_method, numbers = pooled(runs), pooled_clusters(runs)
        lines += [
            f"**{name}**, {len(files)} of {FOLDS} folds, {len(numbers)} test queries in "
            f"{int(numbers.max()) + 1} groups",
            "",
        ]
        lines += [
            "| method | recall in 150 | Vendi of ten | recall above the MMR curve | above DPP's |"
        ]
        lines += ["|---|---:|---:|---:|---:|"]
        summaries[name] = {}
        for method, values in by_method.items():
            cells = []
            for measure in ("recall", "vendi"):
                ends = bootstrap(values[measure].unsqueeze(1), clusters=numbers)
                low, high = ends.flatten().tolist()
                cells.append(f"{values[measure].mean():.3f} ({low:.3f} … {high:.3f})")
            point = (float(values["vendi"].mean()), float(values["recall"].mean()))
            heights = [above(point, curve(by_method, line)) for line in ("MMR", "DPP")]
            summaries[name][method] = {"vendi": point[0], "recall": point[1], "above": heights}
            if method in NAMED:
                cells += [f"{height:+.3f}" for height in heights]
                lines.append(f"| {method} | {' | '.join(cells)} |")
        lines += [
            "",
            "| paired difference of recall | mean | 95 % interval | p |",
            "|---|---:|---:|---:|",
        ]
        pairs = [(one, other) for one in OURS[1:] for other in ("R4T-FOLM", "No fan-out")]
        for one, other in pairs:
            if one in by_method:
                change = by_method[one]["recall"] - by_method[other]["recall"]
                low, high = bootstrap(change.unsqueeze(1), clusters=numbers).flatten().tolist()
                lines.append(
                    f"| {one} − {other} | {change.mean():+.4f} | {low:+.4f} … {high:+.4f} | "
                    f"{sign_flip(change, clusters=numbers):.4f} |"
                )
        lines.append("")
        planes[name] = by_method
    text = "\n".join(lines)
    print(text)
    (results / "diffusion.md").write_text(text, encoding="utf-8")
    (results / "diffusion.json").write_text(
        json.dumps(summaries, indent=1) + "\n", encoding="utf-8"
    )
    plot(planes, results / "diffusion.png")


def plot(planes: dict[str, dict[str, dict[str, torch.Tensor]]], path: Path) -> None:
    """Plot recall against Vendi, one panel per data set, with MMR and DPP as curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(planes), figsize=(6 * len(planes), 5), layout="constrained", squeeze=False
    )
    for axis, (name, by_method) in zip(axes.flat, planes.items()):
        for line, marker in (("MMR", "o"), ("DPP", "s")):
            axis.plot(*zip(*curve(by_method, line)), marker=marker, color="0.6", label=line)
        points = [n for n in NAMED if n in by_method and n not in ("MMR", "DPP")]
        for number, method in enumerate(points):
            point = [float(by_method[method][measure].mean()) for measure in ("vendi", "recall")]
            axis.plot(*point, "*Pv^XDd<>"[number % 9], markersize=10, linestyle="", label=method)
        axis.set_title(name)
        axis.set_xlabel("Vendi of the ten items")
        axis.set_ylabel(f"recall in a pool of {POOL}")
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument(
        "--anchors", action="store_true", help="only run the finished models, anchored"
    )
    arguments = parser.parse_args()
    if arguments.anchors:
        for name in arguments.sets:
            anchors(name, arguments.runs, arguments.results)
        return
    if not arguments.table:
        for fold in arguments.folds:
            for name in arguments.sets:
                measure(name, fold, arguments.runs, arguments.results)
    tables(arguments.results)


if __name__ == "__main__":
    main()
