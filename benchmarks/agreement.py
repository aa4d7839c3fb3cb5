"""What a reward is worth at its optimum: the true facets of the sets that it rates highest.

    python -m benchmarks.agreement RUN --queries 48

`r4t evaluate RUN --agreement` compares how objectives rank the sets of methods. This completes its
table: for each objective, and for eq. (1), directions are added one by one, each the best for it
(`GreedyBound`: items near the query, and blends of item and query). The run needs latent facets.
Writes RESULTS/agreement.json and prints a Markdown table of means with 95 % bootstrap intervals.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from r4t.evaluation.agreement import mean_interval
from r4t.methods.bounds import GreedyBound
from r4t.methods.context import EQUATION_1, MethodContext
from r4t.methods.nearest import NoFanout
from r4t.methods.rerank import Mmr
from r4t.objective import Objective, load_objective
from r4t.report.agreement import known_truth
from r4t.reward import Reward
from r4t.run import Run

OBJECTIVES = ["groundedness", "diversity", "alignment", "specificity", "specific_coverage"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--queries", type=int, default=48, help="evenly spaced test queries")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/agreement.json"))
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    searcher = run.searcher()
    known, _ = searcher.searchable(run.read_queries("test"))
    queries = known[:: max(1, len(known) // arguments.queries)][: arguments.queries]
    vectors = searcher.encode_queries([query.text for query in queries])
    reward = Reward(EQUATION_1)
    name, truth = known_truth(MethodContext(run, searcher, queries=queries), reward)
    objectives: dict[str, Objective] = {each: load_objective(each) for each in OBJECTIVES}
    scores = {"eq. (1)": reward.score, **objectives}
    methods = {"No fan-out": NoFanout(searcher), "MMR": Mmr(searcher)}
    methods |= {each: GreedyBound(searcher, score) for each, score in scores.items()}
    found = {}
    print(f"| highest by | {name} |\n|---|---:|")
    for each, method in methods.items():
        parts = zip(torch.arange(len(queries)).split(8), vectors.split(8))
        values = [
            truth([queries[n] for n in rows], method([queries[n] for n in rows], part))
            for rows, part in parts
        ]
        interval = mean_interval(torch.cat(values).double())
        found[each] = asdict(interval)
        print(f"| {each} | {interval.mean:.3f} ±{interval.half:.3f} |", flush=True)
    command = f"python -m benchmarks.agreement RUN --queries {arguments.queries}"
    record = {"command": command, "truth": name, "queries": len(queries), "rows": found}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
