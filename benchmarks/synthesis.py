"""Synthesis for 1,000 and 10,000 queries: sets per second, and whether memory grows with the queries.

    python -m benchmarks.synthesis RUN      # uses the catalog and tuned model of a run

The queries are the run's training queries and recombinations of their words. Each size runs
``r4t synthesize`` in a fresh process and reads its peak resident memory from the system. Writes
benchmarks/results/synthesis.json.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.real_sets import hardware
from r4t.__main__ import run as run_verb
from r4t.data.queries import Query, write_queries
from r4t.run import Run
from r4t.support.configs import configs_folder
from r4t.targets import TargetSets

SIZES = (1_000, 10_000)


def more_queries(queries: Sequence[Query], count: int) -> list[Query]:
    """The first ``count`` queries; if there are too few, new ones from the words of two queries."""
    rng, words = random.Random(0), [query.text.split() for query in queries]
    texts = dict.fromkeys(query.text for query in queries)
    while len(texts) < count:
        one, other = rng.sample(words, 2)
        texts.setdefault(" ".join(dict.fromkeys([*one, *other])))
    return [
        replace(queries[0], id=f"s{number}", text=text, references=())
        for number, text in enumerate(list(texts)[:count])
    ]


def write_run(run: Run, queries: list[Query], folder: Path) -> None:
    """Write a run with the same catalog and model, and these training queries."""
    write_queries(folder / "queries", {"train": queries, "val": queries[:1], "test": queries[:1]})
    Run.begin(folder, run.catalog, folder / "queries")
    (folder / "tune").mkdir()
    (folder / "tune" / "model").symlink_to((run.folder / "tune" / "model").absolute())


def command(folder: Path, samples: int, shard_size: int) -> list[str]:
    """Words of the measured command."""
    config = configs_folder() / "toy" / "2_synthesize.yaml"
    settings = {
        "--run": str(folder),
        "--model.init_args.sampling.samples": str(samples),
        "--model.init_args.writing.shard_size": str(shard_size),
        "--data.init_args.batch_size": "64",
        "--trainer.enable_progress_bar": "false",
    }
    words = [word for pair in settings.items() for word in pair]
    words += ["--model.init_args.teachers", "[folm]"]
    return ["synthesize", "--config", os.path.relpath(config), *words]


def child(words: list[str]) -> None:
    """Run the command; print its seconds and the peak memory of this process."""
    start = time.perf_counter()
    run_verb(words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    costs = {"seconds": round(time.perf_counter() - start, 1), "peak MiB": round(peak / 1024, 1)}
    print(json.dumps(costs))


def measure(run: Run, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Synthesize for ``count`` queries in a separate process."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        write_run(run, more_queries(run.read_queries("train"), count), folder)
        words = command(folder, options.samples, options.shard_size)
        process = [sys.executable, "-m", "benchmarks.synthesis", "--child", *words]
        done = subprocess.run(process, capture_output=True, text=True, check=True)
        costs = json.loads(done.stdout.splitlines()[-1])
        manifest = TargetSets.load(folder / "targets").manifest
    sets, drawn = manifest.sets, manifest.drawn
    return {
        "queries": manifest.asked,
        "samples": drawn,
        "sets": sets,
        "shards": len(manifest.shards),
        **costs,
        "samples/s": round(drawn / costs["seconds"], 1),
        "sets/s": round(sets / costs["seconds"], 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["--child"]:
        child(words[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--samples", type=int, default=4, help="Per query; a quarter of them is kept."
    )
    parser.add_argument("--shard_size", type=int, default=500)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/synthesis.json"
    )
    options = parser.parse_args(words)
    run, sizes = Run.open(options.run), []
    for count in options.sizes:
        sizes.append(measure(run, count, options))
        print(sizes[-1], flush=True)
    text = json.dumps({"hardware": hardware(), "sizes": sizes}, indent=1) + "\n"
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
