"""Perspectrum: which of a claim's perspectives ten sentences hold, by methods without a language model.

    python -m benchmarks.models          # first: brings the encoder
    python -m benchmarks.perspectrum     # about ten minutes

Claims ask, sentences answer; sentences of one gold cluster say the same. The split is the official one, and
the 200 test claims with at least two clusters count. Methods that learn saw the same training claims;
validation claims choose the settings of the vote and the set regressions, MMR and DPP have their defaults,
and the numbers in the learned choice's code were chosen on training and validation claims of this set.
Facet recall is the share of the clusters that ten sentences hold, α-nDCG is of their order; the candidates
are those among which the learned choice chooses. Writes RESULTS/perspectrum.json (every value, paired
differences with intervals over clusters of test claims, milliseconds of a query) and
RESULTS/perspectrum.md.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.bundles import difference, interval
from benchmarks.models import MINILM, MODELS
from benchmarks.real_sets import hardware
from r4t.__main__ import run as run_verb
from r4t.data.queries import Query, cluster_queries
from r4t.evaluation.latency import measure_latency
from r4t.evaluation.subtopics import ALPHA_NDCG
from r4t.methods.candidate_features import CANDIDATES
from r4t.methods.context import MethodContext
from r4t.methods.registry import find
from r4t.run import Run
from r4t.support.files import write_text

METHODS = ["No fan-out", "MMR", "DPP", "k-means facets", "Most popular items", "Nearest sets"]
METHODS += ["Nearest sets by vote", "Ridge map", "Set regression (matched)"]
METHODS += ["Set regression (mixture)", "Learned choice"]
FACETS = "facet recall"
MEASURES = {
    FACETS: "facet recall of ten",
    ALPHA_NDCG: "α-nDCG",
    "recall": "recall in the pool",
    "vendi": "Vendi of ten",
}
BEST = "Learned choice"
SIZE, POOL, LEAST = 10, 389, 2  # items; 3.5 % of the catalog; gold clusters of a test claim
CALLS = 30  # of one query each, for the median


def commands(data: Path, run: Path, encoder: str) -> list[list[str]]:
    """Return the words of the commands: catalog, queries, evaluation."""
    source, catalog = str(data / "perspectrum"), str(run / "catalog")
    measure = ["evaluate", str(run), "--pool_size", str(POOL), "--least_facets", str(LEAST)]
    measure += ["--methods", f"[{', '.join(map(repr, METHODS))}]", "--audit", "false"]
    measure += [
        "--latency_batches",
        "[]",
        "--curves",
        "[]",
        "--across_runs",
        "0",
        "--plots",
        "false",
    ]
    encoded = ["--encoder", encoder, *([] if encoder == "lsa" else ["--max_length", "64"])]
    queries = ["--sets", source, "--out", str(run / "queries"), "--split", "official"]
    return [
        ["catalog", source, "--out", catalog, *encoded],
        ["queries", catalog, *queries],
        measure,
    ]


def milliseconds(run: Run, queries: Sequence[Query]) -> dict[str, float]:
    """Return method → milliseconds of one query, from its text to its set: the median of some calls."""
    searcher, found = run.searcher(), {}
    context = MethodContext(run, searcher, SIZE, POOL, queries)
    for entry in find(METHODS):
        timed = measure_latency(entry.build(context), searcher, queries, batch=1, calls=CALLS)
        found[entry.name] = round(1000 * timed["total"], 1)
    return found


@torch.no_grad()
def reach(run: Run, queries: Sequence[Query]) -> float:
    """Return the mean share of the gold clusters that the candidates of the learned choice hold."""
    searcher, (entry,) = run.searcher(), find([BEST])
    method = entry.build(MethodContext(run, searcher, SIZE, POOL, queries))
    sets = method(queries, searcher.encode_queries([query.text for query in queries]))
    ids, shares = searcher.catalog.ids, []
    for query, pool in zip(queries, sets.pool[:, :CANDIDATES].tolist()):
        held = {ids[row] for row in pool}
        shares.append(sum(not held.isdisjoint(facet) for facet in query.facets) / len(query.facets))
    return sum(shares) / len(shares)


def summary(values: dict[str, dict[str, list[float]]], clusters: list[int]) -> dict[str, Any]:
    """Return means of the measures, and paired differences of the learned choice from other methods.

    Claims of one cluster ask for the same.
    """
    columns = {
        name: {m: torch.tensor(each[m], dtype=torch.float64) for m in MEASURES}
        for name, each in values.items()
    }
    numbers = torch.tensor(clusters)
    return {
        "queries": len(numbers),
        "methods": {
            name: {m: interval(column, numbers) for m, column in each.items()}
            for name, each in columns.items()
        },
        "differences": {
            f"{BEST} − {name}": {
                m: difference(columns[BEST][m] - each[m], numbers) for m in (FACETS, ALPHA_NDCG)
            }
            for name, each in columns.items()
            if name != BEST
        },
    }


def markdown(record: dict[str, Any]) -> str:
    """Return both tables."""
    lines = [f"{record['queries']} test claims with at least {LEAST} clusters", ""]
    lines += [f"| method | {' | '.join(MEASURES.values())} | ms per query |"]
    lines.append(f"|---|{'---:|' * (len(MEASURES) + 1)}")
    for name, values in record["methods"].items():
        cells = [f"{mean:.3f} ({low:.3f} … {high:.3f})" for mean, low, high in values.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {record['milliseconds'][name]:.1f} |")
    lines += ["", f"| paired difference | {MEASURES[FACETS]} | {MEASURES[ALPHA_NDCG]} |"]
    lines.append("|---|---:|---:|")
    for pair, values in record["differences"].items():
        cells = [
            f"{mean:+.3f} ({low:+.3f} … {high:+.3f})" for mean, low, high, _ in values.values()
        ]
        lines.append(f"| {pair} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def answers(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return method → measure → values of a run's last evaluation."""
    results = json.loads((folder / "results" / "results.json").read_text(encoding="utf-8"))
    return {
        name: {m: [round(x, 5) for x in values[f"items/{m}"]] for m in MEASURES}
        for name, values in results["values"].items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, default=Path("runs/perspectrum"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/perspectrum"))
    parser.add_argument("--encoder", default=str(MODELS / MINILM.target))
    options = parser.parse_args(arguments)
    words = commands(options.data, options.run, options.encoder)
    for step, line in zip(("catalog", "queries"), words):
        if not (options.run / step).is_dir():
            run_verb(line)
    run_verb(words[-1])
    run, values = Run.open(options.run), answers(options.run)
    asked = [query for query in run.read_queries("test") if len(query.facets) >= LEAST]
    record = {
        "commands": [" ".join(["r4t", *line]) for line in words],
        "hardware": hardware(),
        "encoder": options.encoder,
        **summary(values, cluster_queries(asked)),
        "facet recall of the candidates": round(reach(run, asked), 4),
        "milliseconds": milliseconds(run, asked),
        "values": values,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_text(options.results / "perspectrum.json", json.dumps(record) + "\n")
    write_text(options.results / "perspectrum.md", markdown(record))
    print(markdown(record))


if __name__ == "__main__":
    main()
