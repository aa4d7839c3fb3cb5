"""Is it worth generating more sets, or more rows, than are asked for, and keeping the best?

    python -m benchmarks.oversample RUN

The tuned language model, once and best of 8, beside the diffusion retriever and its student: the first
k rows of one set, the best k of all rows of M sets (``BestRows``), the best of M whole sets
(``BestSet``), all by the composite that they are measured with. Test queries, paired differences to
R4T-FOLM; milliseconds a query of one call at batch 1 and 64, all methods in turns. Writes
oversample.json and .md to benchmarks/results/oversample.
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
from r4t.evaluation.latency import FRESH, time_call
from r4t.evaluation.resampling import bootstrap, sign_flip
from r4t.fanout.model import FanoutModel
from r4t.methods import BestOf, DiffusionMethod, LanguageMethod, Method, SubqueryWriter
from r4t.reward import Reward
from r4t.run import MODELS, Run
from r4t.search import Searcher
from r4t.support.stopwatch import Stopwatch

FOLM = "R4T-FOLM"


def choices(reward: Reward) -> dict[str, Choice | None]:
    """What is done with what is generated, by name."""
    return {
        "first 10 rows": None,
        "best 10 of 12 rows": BestRows(reward, 1),
        "best 10 of 2 × 12 rows": BestRows(reward, 2),
        "best 10 of 8 × 12 rows": BestRows(reward, 8),
        "best of 2 sets": BestSet(reward, 2),
        "best of 8 sets": BestSet(reward, 8),
    }


def methods(run: Run, searcher: Searcher, reward: Reward, models: list[str]) -> dict[str, Method]:
    """Every row of the table by name."""
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


def row(name: str, found: dict[str, torch.Tensor], folm: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Means, and the paired difference of the composite to the language model's."""
    apart = found["composite"] - folm["composite"]
    low, high = bootstrap(apart.unsqueeze(1).float()).flatten().tolist()
    means = {measure: float(scores.mean()) for measure, scores in found.items()}
    share = means["composite"] / float(folm["composite"].mean())
    told = {"difference": float(apart.mean()), "low": low, "high": high}
    return {
        "name": name,
        **means,
        "of R4T-FOLM": share,
        **told,
        "p": sign_flip(apart) if apart.any() else 1.0,
    }


def markdown(table: list[dict[str, Any]]) -> str:
    """The table for docs/results.md."""
    lines = [
        "| | composite | groundedness | Vendi | alignment | distinct items | of R4T-FOLM | composite − "
        "R4T-FOLM | ms a query, batch 1 | 64 |",
        "|---|" + "---:|" * 9,
    ]
    for told in table:
        lines.append(
            f"| {told['name']} | {told['composite']:.4f} | {told['groundedness']:.4f} | "
            f"{told['vendi']:.3f} | {told['alignment']:.4f} | {SIZE * told['distinctness']:.2f} | "
            f"{told['of R4T-FOLM']:.1%} | {told['difference']:+.4f} ({told['low']:+.4f} … "
            f"{told['high']:+.4f}) | {told['ms, batch 1']:.1f} | {told['ms, batch 64']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--models", nargs="+", default=["diffusion", "student"])
    parser.add_argument("--split", default="test")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/oversample"))
    told = parser.parse_args(arguments)
    run = Run.open(told.run)
    searcher = run.searcher(watch=Stopwatch())
    queries, _ = searcher.searchable(run.read_queries(told.split))
    reward = Reward(AUDITED)
    every = methods(run, searcher, Reward(WEIGHTS), told.models)
    measured = {}
    for name, method in every.items():
        measured[name] = scored(method, searcher, queries, reward)
        print(name, round(float(measured[name]["composite"].mean()), 4), flush=True)
    table = [row(name, found, measured[FOLM]) for name, found in measured.items()]
    for batch in (1, 64):
        timed: dict[str, list[float]] = {name: [] for name in every}
        for call in range(told.calls + 1):  # in turns; the first round warms up
            chosen = [queries[(call * batch + n) % len(queries)] for n in range(batch)]
            for name, method in every.items():
                draw = FRESH + call if method.draws is None else 0  # never one that is remembered
                timed[name].append(time_call(method, searcher, chosen, draw)["total"])
        for line in table:
            line[f"ms, batch {batch}"] = 1000 * median(timed[line["name"]][1:]) / batch
    told.results.mkdir(parents=True, exist_ok=True)
    kept = {"split": told.split, "queries": len(queries), "hardware": hardware(), "table": table}
    text = json.dumps(kept, indent=1) + "\n"
    (told.results / "oversample.json").write_text(text, encoding="utf-8")
    (told.results / "oversample.md").write_text(markdown(table), encoding="utf-8")
    print(markdown(table))


if __name__ == "__main__":
    main()
