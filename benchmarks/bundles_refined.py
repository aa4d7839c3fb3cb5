"""Does a retriever refined for coverage help on real shopping bundles? Five folds of two data sets.

    python -m benchmarks.bundles_refined                              # every missing run
    python -m benchmarks.bundles_refined --sets clothing --folds 0 1
    python -m benchmarks.bundles_refined --table                      # only the tables of finished runs

The folds are those of ``benchmarks.bundles``. A run needs no model: stage 5 begins with the ridge map of
the training bundles and ten parts around it, exactly as in configs/wscr/5_refine.yaml: nothing is chosen
for these sets. Every method answers the fold's test intents. A run writes RESULTS/refined-SET-foldN.json
and is skipped if that file exists. The tables pool the queries of all folds: recall in a pool of 150
distinct items, Vendi of the first ten, paired differences.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.bundles import (
    EVALUATE,
    MEASURES,
    RUNS,
    SETS,
    clusters,
    difference,
    evaluated,
    interval,
    make_data,
    means_table,
    options,
    pooled,
    pooled_clusters,
    run_words,
    shown,
)
from benchmarks.figure4 import dump
from benchmarks.real_sets import hardware
from r4t.__main__ import run as run_verb
from r4t.run import Run

REFINED = "R4T-Refined"
METHODS = ("No fan-out", "MMR in pool", "DPP in pool", "Nearest sets", "Ridge map", REFINED)
CONFIGS = ["--config", "configs/toy/5_refine.yaml", "--config", "configs/wscr/5_refine.yaml"]


def measure(name: str, fold: int, options: argparse.Namespace) -> None:
    """Make one run and write its file, unless it exists."""
    path = options.results / f"refined-{name}-fold{fold}.json"
    if path.is_file():
        print(f"skipped: {path} exists")
        return
    begun, folder = time.perf_counter(), options.runs / f"refined-{name}-fold{fold}"
    shutil.rmtree(folder, ignore_errors=True)
    make_data(name, options.data, options.runs)
    run = run_words(name, fold, options.runs, folder)
    # What fails the gate is measured too.
    fit = ["fit", *CONFIGS, *run, "--model.init_args.max_loss", "20"]
    run_verb(fit)
    evaluate = ["evaluate", str(folder), "--methods", f"[{', '.join(METHODS)}]", *EVALUATE]
    run_verb(evaluate)
    content = {
        "setting": f"{name}, fold {fold}",
        "commands": [shown(words, options.runs, RUNS) for words in (fit, evaluate)],
        "hardware": hardware(),
        "minutes": round((time.perf_counter() - begun) / 60, 1),
        "gate": json.loads((folder / "refine/model/gate.json").read_text(encoding="utf-8")),
        "methods": {name: each for name, each in evaluated(folder).items() if name in METHODS},
        "clusters": clusters(Run.open(folder)),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(content), encoding="utf-8")


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means with intervals, and differences from R4T-Refined with intervals and p values."""
    numbers = pooled_clusters(runs)
    values = pooled(runs, METHODS)
    means = {
        method: {measure: interval(column, numbers) for measure, column in columns.items()}
        for method, columns in values.items()
    }
    differences = {
        f"{REFINED} − {method}": {
            measure: difference(values[REFINED][measure] - values[method][measure], numbers)
            for measure in MEASURES
        }
        for method in METHODS
        if method != REFINED
    }
    return {
        "folds": len(runs),
        "queries": len(numbers),
        "methods": means,
        "differences": differences,
    }


def tables(results: Path) -> None:
    """Print and write, for each data set, means and paired differences over the finished folds."""
    lines, summaries = [], {}
    for name in SETS:
        files = sorted(results.glob(f"refined-{name}-fold*.json"))
        if not files:
            continue
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        summaries[name] = each = summary(runs)
        lines += [f"**{name}**, {each['folds']} folds, {each['queries']} test queries", ""]
        lines += means_table(each["methods"])
        lines += ["", "| paired difference | of recall | of Vendi |", "|---|---:|---:|"]
        for pair, columns in each["differences"].items():
            cells = [f"{m:+.3f} ({low:+.3f} … {high:+.3f})" for m, low, high, _ in columns.values()]
            lines.append(f"| {pair} | {' | '.join(cells)} |")
        lines.append("")
    print("\n".join(lines))
    (results / "refined.md").write_text("\n".join(lines), encoding="utf-8")
    (results / "refined.json").write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    if not arguments.table:
        for fold in arguments.folds:
            for name in arguments.sets:
                measure(name, fold, arguments)
    tables(arguments.results)


if __name__ == "__main__":
    main()
