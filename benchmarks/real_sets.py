"""Four real data sets, two encoders → tables of the methods that learn nothing.

For each pair: `r4t catalog`, `r4t queries`, `r4t evaluate --split all`, with every set as a query. The
runs stay in RUNS; a summary (means, intervals, hardware, commands) and the table go to RESULTS. A pair
whose summary exists, made by the same commands, is skipped unless --again is given.

MiniLM reads the texts unchanged and cuts them at 64 tokens. With these two settings *No fan-out*
reproduces the known figures of the shopping bundles to the third decimal (recall 0.464 and 0.450, hit
0.676 and 0.713).

Example:
    python -m benchmarks.real_sets --sets clothing --encoders minilm
"""

import argparse
import csv
import json
import os
import platform
import re
import time
from pathlib import Path

import torch

from benchmarks.models import MINILM
from r4t.__main__ import run as run_verb
from r4t.data.queries import read_queries

SETS = {
    "clothing": "bundles/clothing",
    "electronic": "bundles/electronic",
    "playlists": "playlists",
    "recipes": "recipes",
}
# About the paper's 3.5 % of the catalog; 150 for the bundles, as in their known figures.
POOLS = {"clothing": 150, "electronic": 150, "playlists": 673, "recipes": 54}
FOLDER = "MINILM"  # stands for the model's folder
ENCODERS = {"lsa": [], "minilm": ["--encoder", FOLDER, "--max_length", "64", "--verbatim"]}
# Playlists have no category: the songs of one artist are a subtopic.
CATALOG = {"playlists": ["--first", "artists"]}
SUBTOPICS = {"playlists": ["--subtopic_field", "first_artists"]}
EVALUATE = ["--split", "all", "--across_runs", "0", "--latency_batches", "[]", "--curves", "[]"]


def commands(name: str, encoder: str, data: Path, runs: Path) -> list[list[str]]:
    """Return the words of the commands of one pair; the word MINILM stands for the model's folder.

    Example:
        >>> lines = commands("recipes", "lsa", Path("data"), Path("runs"))
        >>> " ".join(lines[0])
        'catalog data/recipes --out runs/recipes-lsa/catalog'
    """
    run, source = runs / f"{name}-{encoder}", str(data / SETS[name])
    catalog, queries = str(run / "catalog"), str(run / "queries")
    return [
        ["catalog", source, "--out", catalog, *CATALOG.get(name, []), *ENCODERS[encoder]],
        ["queries", catalog, "--out", queries, "--sets", source],
        [
            "evaluate",
            str(run),
            *EVALUATE,
            "--pool_size",
            str(POOLS[name]),
            *SUBTOPICS.get(name, []),
        ],
    ]


def measure(
    name: str, encoder: str, data: Path, runs: Path, results: Path, again: bool = False
) -> None:
    """Run one pair and write its summary and table, unless they exist."""
    lines = commands(name, encoder, data, runs)
    shown = ["r4t " + " ".join(words) for words in lines]
    path = results / f"{name}-{encoder}.json"
    if (
        not again
        and path.is_file()
        and json.loads(path.read_text(encoding="utf-8"))["commands"] == shown
    ):
        print(f"skipped: {path} exists")
        return
    model = str(MINILM.source()) if encoder == "minilm" else FOLDER
    seconds = {}
    for words in lines:
        started = time.perf_counter()
        more = ["--overwrite"] if words[0] != "evaluate" else []
        run_verb([model if word == FOLDER else word for word in words] + more)
        seconds[words[0]] = round(time.perf_counter() - started, 1)
    run = runs / f"{name}-{encoder}"
    folder = run / "results-all"
    summary = {
        "commands": shown,
        "hardware": hardware(),
        "seconds": seconds,
        **facts(run, folder, encoder),
        "methods": table(folder / "results.csv"),
    }
    results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")
    tables = (folder / "results.md").read_text(encoding="utf-8").replace(model, MINILM.name)
    path.with_suffix(".md").write_text(tables, encoding="utf-8")


def facts(run: Path, folder: Path, encoder: str) -> dict[str, object]:
    """Encoder, sizes of catalog and pool, and numbers of evaluated and skipped queries."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    settings, evaluated = results["settings"], len(results["queries"])
    return {
        "encoder": MINILM.name if encoder == "minilm" else settings["encoder"],
        "items": settings["catalog_items"],
        "pool": settings["pool_size"],
        "share": round(settings["pool_size"] / settings["catalog_items"], 4),
        "queries": evaluated,
        "unknown_queries": len(read_queries(run / "queries", "all")) - evaluated,
    }


def table(path: Path) -> dict[str, dict[str, list[float]]]:
    """Read results.csv: method → measure → mean, and the ends of its 95 % interval."""
    by_method: dict[str, dict[str, list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = [round(float(row[end]), 4) for end in ("mean", "low", "high")]
            by_method.setdefault(row["method"], {})[row["measure"]] = values
    return by_method


def hardware() -> dict[str, object]:
    """Processor, cores, and torch's threads and version."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/real_sets"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/real_sets"))
    parser.add_argument("--again", action="store_true", help="also run existing pairs again")
    arguments = parser.parse_args()
    for encoder in arguments.encoders:
        for name in arguments.sets:
            measure(
                name, encoder, arguments.data, arguments.runs, arguments.results, arguments.again
            )


if __name__ == "__main__":
    main()
