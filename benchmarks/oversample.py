"""Is it worth generating more sets, or more rows, than needed, and keeping the best?

    python -m benchmarks.oversample RUN

Compares the tuned language model (one fan-out, and the best of 8) with the diffusion retriever and its
student: the first k rows of one set, the best k of all rows of M sets (``BestRows``), and the best of M
whole sets (``BestSet``). All choose by the composite, which is also the measure. Reports paired
differences from R4T-FOLM on test queries, and milliseconds per query at batch 1 and 64, with all methods
alternating. Writes oversample.json and .md to benchmarks/results/oversample.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.real_sets import hardware
from benchmarks.scoring import AUDITED, SIZE, WEIGHTS, scored
from r4t.choice import BestRows, BestSet, Choice, QueryTime
from r4t.diffusion.generator import DirectionGenerator
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.latency import FRESH, time_call
from r4t.evaluation.resampling import bootstrap, sign_flip
from r4t.fanout.model import FanoutModel
from r4t.methods import (
    BestOf,
    DiffusionMethod,
    LanguageMethod,
    Method,
    MethodContext,
    SubqueryWriter,
)
from r4t.reward import Reward
from r4t.run import MODELS, Run
from r4t.search import Searcher
from r4t.support.chains import chained

FOLM = "R4T-FOLM"


def choices(reward: Reward) -> dict[str, Choice | None]:
    """Name → how to choose among the generated rows or sets."""
    return {
        "first 10 rows": None,
        "best 10 of 12 rows": BestRows(reward, 1),
        "best 10 of 2 × 12 rows": BestRows(reward, 2),
        "best 10 of 8 × 12 rows": BestRows(reward, 8),
        "best of 2 sets": BestSet(reward, 2),
        "best of 8 sets": BestSet(reward, 8),
    }


def methods(run: Run, searcher: Searcher, reward: Reward, models: list[str]) -> dict[str, Method]:
    """Name → method, for every row of the table."""
    writer = SubqueryWriter(FanoutModel.load(run.folder / MODELS["folm"]))
    language = LanguageMethod(searcher, writer)
    rows: dict[str, Method] = {FOLM: language, f"{FOLM}, best of 8": BestOf(language, reward, 8)}
    for model in models:
        generator = DirectionGenerator.load(run.folder / MODELS[model])
        for name, choice in choices(reward).items():
            query_time = QueryTime(choice)
            rows[f"{model}, {name}"] = DiffusionMethod(
                searcher, generator, SIZE, query_time=query_time
            )
    return rows


def row(
    name: str,
    scores: dict[str, torch.Tensor],
    folm: dict[str, torch.Tensor],
    clusters: torch.Tensor,
) -> dict[str, Any]:
    """Means, and the paired difference of the composite from the language model's."""
    difference = scores["composite"] - folm["composite"]
    ends = bootstrap(difference.unsqueeze(1).float(), clusters=clusters)
    low, high = ends.flatten().tolist()
    means = {measure: float(values.mean()) for measure, values in scores.items()}
    return {
        "name": name,
        **means,
        "of R4T-FOLM": means["composite"] / float(folm["composite"].mean()),
        "difference": float(difference.mean()),
        "low": low,
        "high": high,
        "p": sign_flip(difference, clusters=clusters) if difference.any() else 1.0,
    }


def markdown(table: list[dict[str, Any]]) -> str:
    """The table for docs/results.md."""
    lines = [
        "| | composite | groundedness | Vendi | alignment | distinct items | of R4T-FOLM | composite − "
        "R4T-FOLM | ms per query, batch 1 | 64 |",
        "|---|" + "---:|" * 9,
    ]
    for row in table:
        lines.append(
            f"| {row['name']} | {row['composite']:.4f} | {row['groundedness']:.4f} | "
            f"{row['vendi']:.3f} | {row['alignment']:.4f} | {SIZE * row['distinctness']:.2f} | "
            f"{row['of R4T-FOLM']:.1%} | {row['difference']:+.4f} ({row['low']:+.4f} … "
            f"{row['high']:+.4f}) | {row['ms, batch 1']:.1f} | {row['ms, batch 64']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--models", nargs="+", default=["diffusion", "student"])
    parser.add_argument("--split", default="test")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/oversample"))
    options = parser.parse_args(arguments)
    run = Run.open(options.run)
    searcher = run.searcher()
    queries, _ = searcher.searchable(run.read_queries(options.split))
    reward = Reward(AUDITED)
    by_name = methods(run, searcher, Reward(WEIGHTS), options.models)
    scores = {}
    for name, method in by_name.items():
        scores[name] = scored(method, searcher, queries, reward)
        print(name, round(float(scores[name]["composite"].mean()), 4), flush=True)
    truth = MethodContext(run, searcher).truth
    labels = GroundTruth(searcher, queries, truth).clusters(queries)
    clusters = torch.tensor(chained([[label] for label in labels]))
    table = [row(name, values, scores[FOLM], clusters) for name, values in scores.items()]
    for batch in (1, 64):
        seconds: dict[str, list[float]] = {name: [] for name in by_name}
        for call in range(options.calls + 1):  # alternating; the first round is a warm-up
            chosen = [queries[(call * batch + n) % len(queries)] for n in range(batch)]
            for name, method in by_name.items():
                draw = FRESH + call if method.draws is None else 0  # never one that is remembered
                seconds[name].append(time_call(method, searcher, chosen, draw)["total"])
        for line in table:
            line[f"ms, batch {batch}"] = 1000 * median(seconds[line["name"]][1:]) / batch
    options.results.mkdir(parents=True, exist_ok=True)
    facts = {"split": options.split, "queries": len(queries), "clusters": int(clusters.max()) + 1}
    facts |= {"hardware": hardware()}
    text = json.dumps({**facts, "table": table}, indent=1) + "\n"
    (options.results / "oversample.json").write_text(text, encoding="utf-8")
    (options.results / "oversample.md").write_text(markdown(table), encoding="utf-8")
    print(markdown(table))


if __name__ == "__main__":
    main()
