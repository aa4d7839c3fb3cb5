"""Does tuning for coverage help on real shopping bundles? Five folds of two data sets.

    python -m benchmarks.bundles                              # every missing run
    python -m benchmarks.bundles --sets clothing --folds 0 1
    python -m benchmarks.bundles --table                      # only the tables of the finished runs
    python -m benchmarks.bundles --why                        # temperature and anchor, no training

Folds keep equal intents (in words) and equal item sets together. A run warm-starts a model on the
words of the training bundles and tunes it with coverage (eq. 5) as the reward. Then the model before
and after tuning, and the methods that need no model, answer the fold's test intents. A model's recall
is the mean over ``DRAWS`` fan-outs per query, with the same seeds before and after. A run writes
RESULTS/SET-foldN-seed0.json and is skipped if that file exists. The tables pool the queries of all
folds: recall in a pool of 150 distinct items, Vendi of the first ten, paired differences.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.figure4 import dump, rollouts, shown
from benchmarks.held_out import FILE
from benchmarks.real_sets import hardware
from r4t.__main__ import run as run_verb
from r4t.data.queries import Query, cluster_queries
from r4t.evaluation.measures import item_vendi, pool_recall
from r4t.evaluation.resampling import bootstrap, sign_flip
from r4t.fanout.model import FanoutModel
from r4t.geometry import distinct_first
from r4t.run import Run
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.chains import chained
from r4t.support.configs import configs_folder
from r4t.support.seeds import query_seed

SETS, FOLDS, SEED, DRAWS, POOL, SIZE = ("clothing", "electronic"), 5, 0, 5, 150, 10
MEASURES = ("recall", "vendi")
RUNS = Path("runs/bundles")
OVERLAYS = Path(__file__).with_suffix("")
PLAIN = ("No fan-out", "MMR in pool", "Nearest sets", "Ridge map")
MODELS = {"Zero-shot": "warm_start", "R4T-FOLM": "tune"}
EVALUATE = ["--latency_batches", "[]", "--curves", "[]", "--across_runs", "0", "--plots", "false"]


def commands(name: str, fold: int, data: Path, runs: Path) -> dict[str, list[str]]:
    """Return step → words of its command, for one run."""
    run = runs / f"{name}-fold{fold}"
    run_options = [*run_words(name, fold, runs, run), "--seed_everything", str(SEED)]
    configs = configs_folder()
    layers = {
        step: [
            word
            for layer in (configs / "toy", configs / "wscr", OVERLAYS)
            for word in ("--config", os.path.relpath(layer / f"{step}.yaml"))
        ]
        for step in ("0_warm_start", "1_tune")
    }
    methods = "[" + ", ".join(PLAIN) + "]"
    return {
        **data_commands(name, data, runs),
        "warm_start": ["fit", *layers["0_warm_start"], *run_options],
        "tune": ["fit", *layers["1_tune"], *run_options],
        "evaluate": ["evaluate", str(run), "--methods", methods, *EVALUATE],
    }


def data_commands(name: str, data: Path, runs: Path) -> dict[str, list[str]]:
    """Return the commands that make the catalog and the queries of a data set, for all folds."""
    catalog, source = str(runs / name / "catalog"), str(data / "bundles" / name)
    queries = ["--out", str(runs / name / "queries"), "--folds", str(FOLDS)]
    return {
        "catalog": ["catalog", source, "--out", catalog],
        "queries": ["queries", catalog, "--sets", source, *queries],
    }


def run_words(name: str, fold: int, runs: Path, run: Path) -> list[str]:
    """Return the options of a run on a fold."""
    shared = runs / name
    words = ["--run", str(run), "--catalog", str(shared / "catalog")]
    return [*words, "--queries", str(shared / "queries" / f"fold_{fold}")]


def make_data(name: str, data: Path, runs: Path) -> None:
    """Make the catalog and the queries of a data set, unless they exist."""
    for step, words in data_commands(name, data, runs).items():
        if not (runs / name / step).is_dir():
            run_verb(words)


def measure(name: str, fold: int, data: Path, runs: Path, results: Path) -> None:
    """Make one run and write its file, unless it exists."""
    path = results / f"{name}-fold{fold}-seed{SEED}.json"
    if path.is_file():
        print(f"skipped: {path} exists")
        return
    steps, begun = commands(name, fold, data, runs), time.perf_counter()
    folder = runs / f"{name}-fold{fold}"
    shutil.rmtree(folder, ignore_errors=True)
    make_data(name, data, runs)
    for step in ("warm_start", "tune", "evaluate"):
        run_verb(steps[step])
    run = Run.open(folder)
    content = {
        "setting": f"{name}, fold {fold}",
        "weights": {"coverage": 1.0, "groundedness": 0.0, "diversity": 0.0, "alignment": 0.0},
        "seed": SEED,
        "commands": [shown(words, runs, RUNS) for words in steps.values()],
        "hardware": hardware(),
        "encoder": run.searcher().encoder.describe(),  # type: ignore[union-attr]
        "minutes": round((time.perf_counter() - begun) / 60, 1),
        "methods": answers(run),
        "clusters": clusters(run),
        "rollouts": rollouts(run.step("tune")),
        "held_out": json.loads((run.step("tune") / FILE).read_text(encoding="utf-8")),
    }
    results.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(content), encoding="utf-8")


def answers(run: Run) -> dict[str, dict[str, list[float]]]:
    """Return method → measure → a value for each test query with a word that the encoder knows."""
    by_method = evaluated(run.folder)
    searcher = run.searcher(cached=2**16)
    queries, _ = searcher.searchable(run.read_queries("test"))
    for method, step in MODELS.items():
        model = FanoutModel.load(run.step(step) / "model")
        parts = [
            drawn(searcher, model, queries[start : start + 64])
            for start in range(0, len(queries), 64)
        ]
        by_method[method] = {
            measure: [round(value, 5) for part in parts for value in part[measure].tolist()]
            for measure in MEASURES
        }
    return by_method


def evaluated(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return method → measure → values, as ``r4t evaluate`` left them in a run folder."""
    results = json.loads((folder / "results" / "results.json").read_text(encoding="utf-8"))
    return {
        method: {
            measure: [round(value, 5) for value in values[f"items/{measure}"]]
            for measure in MEASURES
        }
        for method, values in results["values"].items()
    }


def clusters(run: Run) -> list[int]:
    """Return the cluster of each test query with a word that the encoder knows."""
    return cluster_queries(run.searcher().searchable(run.read_queries("test"))[0])


def drawn(
    searcher: Searcher,
    model: FanoutModel,
    queries: list[Query],
    draws: int = DRAWS,
    temperature: float = 0.9,
    anchor: float = 0.0,
) -> dict[str, torch.Tensor]:
    """Recall and Vendi (B,) of a model's answers, as means over several fan-outs per query."""
    texts = [query.text for query in queries]
    seeds = [query_seed(query.id, 0) for query in queries]
    subqueries = model.sample(texts, seeds, draws, temperature).subqueries
    sets = searcher.retrieve_groups(queries, subqueries, model.form.set_size, POOL, anchor)
    measures = {"recall": pool_recall(sets), "vendi": item_vendi(first_items(searcher, sets))}
    return {name: values.view(len(queries), draws).mean(1) for name, values in measures.items()}


def first_items(searcher: Searcher, sets: SetBatch) -> SetBatch:
    """Sets of the first k distinct items of each pool, which is how every method is measured."""
    assert sets.pool is not None
    items = distinct_first(sets.pool, SIZE)
    return sets.extended(
        items=items, item_embeddings=searcher.embeddings(items), mask=items >= 0, directions=None
    )


def why(name: str, runs: Path, results: Path) -> None:
    """Write how recall depends on temperature and anchor, for the finished runs of a data set.

    The models answer each fold's test intents with one fan-out per query, without further training.
    """
    recalls: dict[str, list[float]] = {}
    folds = [fold for fold in range(FOLDS) if (runs / f"{name}-fold{fold}" / "tune/model").is_dir()]
    for fold in folds:
        run = Run.open(runs / f"{name}-fold{fold}")
        searcher = run.searcher(cached=2**16)
        queries, _ = searcher.searchable(run.read_queries("test"))
        for method, step in MODELS.items():
            model = FanoutModel.load(run.step(step) / "model")
            for temperature, anchor in ((0.9, 0.0), (0.9, 0.3), (0.2, 0.0), (0.2, 0.3)):
                key = f"{method}, temperature {temperature}, anchor {anchor}"
                values = drawn(searcher, model, queries, 1, temperature, anchor)
                recalls.setdefault(key, []).extend(values["recall"].tolist())
    means = {key: round(sum(values) / len(values), 4) for key, values in recalls.items()}
    content = {"folds": folds, "queries": len(next(iter(recalls.values()))), "recall": means}
    path = results / f"{name}-why.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(path, json.dumps(content, indent=1))


def tables(results: Path) -> None:
    """Print and write, for each data set, means and paired differences over the finished folds."""
    lines, summaries = [], {}
    for name in SETS:
        files = sorted(results.glob(f"{name}-fold*-seed{SEED}.json"))
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        if not runs:
            continue
        values, numbers = pooled(runs), pooled_clusters(runs)
        count = {"queries": len(numbers), "clusters": int(numbers.max()) + 1}
        summaries[name] = {"folds": len(runs), **count, **summary(values, numbers)}
        lines += [
            f"**{name}**, {len(runs)} folds, {count['queries']} test queries in "
            f"{count['clusters']} groups",
            "",
        ]
        lines += markdown(summaries[name])
    text = "\n".join(lines)
    print(text)
    (results / "bundles.md").write_text(text, encoding="utf-8")
    (results / "bundles.json").write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")


def pooled(
    runs: list[dict[str, Any]], methods: Sequence[str] = (*PLAIN, *MODELS)
) -> dict[str, dict[str, torch.Tensor]]:
    """Return method → measure → (n,) values of the queries of all folds."""
    return {
        method: {
            measure: torch.tensor(
                [value for run in runs for value in run["methods"][method][measure]]
            )
            for measure in MEASURES
        }
        for method in methods
    }


def pooled_clusters(runs: list[dict[str, Any]]) -> torch.Tensor:
    """Return the number (n,) of the cluster of each query of all folds, which share no cluster."""
    return torch.tensor(
        chained([[(n, own)] for n, run in enumerate(runs) for own in run["clusters"]])
    )


def summary(by_method: dict[str, dict[str, torch.Tensor]], numbers: torch.Tensor) -> dict[str, Any]:
    """Return means with intervals, and paired differences of recall with intervals and p values.

    ``numbers`` (n,) are those of the queries' clusters.
    """
    pairs = [("R4T-FOLM", "Zero-shot"), ("R4T-FOLM", "No fan-out"), ("R4T-FOLM", "MMR in pool")]
    pairs += [("R4T-FOLM", "Nearest sets"), ("R4T-FOLM", "Ridge map"), ("Zero-shot", "No fan-out")]
    differences = {}
    for one, other in pairs:
        change = by_method[one]["recall"] - by_method[other]["recall"]
        differences[f"{one} − {other}"] = difference(change, numbers)
    means = {
        method: {measure: interval(column, numbers) for measure, column in values.items()}
        for method, values in by_method.items()
    }
    return {"methods": means, "recall differences": differences}


def interval(values: torch.Tensor, clusters: torch.Tensor) -> list[float]:
    """Return mean, low and high of values (n,), rounded; ``clusters`` (n,) are drawn together."""
    low, high = bootstrap(values.unsqueeze(1), clusters=clusters).flatten().tolist()
    return [round(float(values.double().mean()), 4), round(low, 4), round(high, 4)]


def difference(change: torch.Tensor, clusters: torch.Tensor) -> list[float]:
    """Return mean, low, high and p value of paired differences (n,)."""
    chance = sign_flip(change, clusters=clusters)
    return [*interval(change, clusters), round(chance, 4)]


def markdown(summary: dict[str, Any]) -> list[str]:
    """Return both tables of a data set."""
    lines = means_table(summary["methods"])
    lines += [
        "",
        "| paired difference of recall | mean | 95 % interval | p |",
        "|---|---:|---:|---:|",
    ]
    for pair, (mean, low, high, chance) in summary["recall differences"].items():
        lines.append(f"| {pair} | {mean:+.4f} | {low:+.4f} … {high:+.4f} | {chance:.4f} |")
    return [*lines, ""]


def means_table(methods: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return methods × measures, with intervals."""
    lines = ["| method | recall in 150 | Vendi of ten |", "|---|---:|---:|"]
    for method, values in methods.items():
        cells = [f"{mean:.3f} ({low:.3f} … {high:.3f})" for mean, low, high in values.values()]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def options(description: str) -> argparse.ArgumentParser:
    """Return the parser of a program over folds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(FOLDS)))
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/bundles"))
    parser.add_argument("--table", action="store_true", help="only make tables of finished runs")
    return parser


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--why", action="store_true", help="only run the finished models at other settings"
    )
    arguments = parser.parse_args()
    if arguments.why:
        for name in arguments.sets:
            why(name, arguments.runs, arguments.results)
    elif not arguments.table:
        for fold in arguments.folds:
            for name in arguments.sets:
                measure(name, fold, arguments.data, arguments.runs, arguments.results)
    tables(arguments.results)


if __name__ == "__main__":
    main()
