"""Methods without a model, with and without variants among ten items; and how many items words come from.

    r4t catalog wardrobe --seed 0 --out RUN/catalog
    r4t queries RUN/catalog --wardrobe oar --out RUN/queries
    python -m benchmarks.variants RUN        # half a minute

Measures the run's test queries and writes benchmarks/results/variants.json: method → ``distinct_by``
→ measure → mean.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.real_sets import hardware
from r4t.catalog import BY_DEFAULT, BY_ITEM
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.measuring import Plan, Scores, evaluate
from r4t.fanout.teachers import NearbyWords
from r4t.methods import AddedWords, MethodContext
from r4t.methods.method import Method
from r4t.methods.registry import find
from r4t.run import Run

PLAIN = ("no-fan-out", "mmr", "dpp", "k-means")
NEAR = (5, 20, 50, 100)
MEASURES = ("facet recall", "fit precision", "vendi")

Means = dict[str, dict[str, dict[str, float]]]


def lineup(context: MethodContext, near: Sequence[int]) -> list[Method]:
    """Plain methods, and words of ever more items."""
    sizes = context.searcher, context.set_size, context.pool_size
    words = [AddedWords(*sizes, NearbyWords(n), name=f"Words of the {n} nearest") for n in near]
    return [*(entry.build(context) for entry in find(PLAIN)), *words]


def measure(run: Run, near: Sequence[int] = NEAR) -> Means:
    """Mean of each measure over the test queries."""
    context = MethodContext(run, run.searcher())
    queries, _ = context.searcher.searchable(run.read_queries("test"))
    truth = GroundTruth(context.searcher, queries, context.truth)
    methods = lineup(context, near)
    means: Means = {method.name: {} for method in methods}
    for distinct_by in (BY_ITEM, BY_DEFAULT):
        plan = Plan(latency_batches=(), distinct_by=distinct_by)
        found = evaluate(methods, queries, context.searcher, Scores({}), truth, plan)
        for name in means:
            means[name][distinct_by] = {m: found.mean(name, f"items/{m}") for m in MEASURES}
    return means


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/variants.json")
    options = parser.parse_args(arguments)
    means = measure(Run.begin(options.run))
    text = json.dumps({"hardware": hardware(), "means": means}, indent=1) + "\n"
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
