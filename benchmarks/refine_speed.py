"""What member credit costs, how many sets a refinement scores a second, and how fast it answers.

    python -m benchmarks.refine_speed RUN                    # every missing result, two threads
    python -m benchmarks.refine_speed RUN --quick            # a minute, to look at the shape
    python -m benchmarks.refine_speed RUN --parts sets latency

RUN has a catalog of the wardrobe, queries and a student (accelerate/model), as ``r4t quickstart`` leaves
them. All sides of a comparison alternate step by step in one process, in an order that changes, so that
other load on the machine affects them alike; a ratio is the median over pairs, with its 95 % bootstrap
interval. The first pairs do not count.

* ``refine``: a step of stage 5 with leave-one-out credit over one with set credit, for each objective.
* ``tune``: the same for stage 1, with the toy's model, untrained. The learning rate is almost 0, so
  that both sides write the same lists.
* ``sets``: scored sets a second of stage 5, by a judge's reward and by the toy's without labels.
* ``latency``: milliseconds of a query alone, by the student as it is deployed, by the same network with one
  evaluation, and refined.

Queries get made-up references, which coverage and novelty need. Writes one JSON a comparison to RESULTS,
and refine_speed.md. A result whose file exists is skipped.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from r4t_objectives.constraint import AtMost, Budget, MustInclude

from benchmarks.page.cells import MISSING, between, number, table
from benchmarks.ratios import interval, quotients
from benchmarks.refining import HeldOut, Training, in_turns, missing, shown, write_result
from r4t.choice import QueryTime
from r4t.credit import Credit, LeaveOneOut, WholeSet
from r4t.data.queries import read_queries, write_queries
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.refiner import RetrieverRefiner
from r4t.diffusion.start import Start
from r4t.evaluation.latency import time_call
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.grpo.module import FanoutTuner
from r4t.grpo.training import Sampling, adamw
from r4t.methods import DiffusionMethod
from r4t.objective import load_objective
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval
from r4t.training.learning_rate import WarmupConstant
from r4t.training.soft_grpo import SoftGRPO

STUDENT = "accelerate/model"
RULES = [AtMost("brand", 2), Budget("price", 400.0), MustInclude("category", "boots")]
OBJECTIVES: dict[str, dict[str, Any]] = {
    "groundedness": {},
    "alignment": {},
    "diversity": {},
    "distinctness": {},
    "novelty": {},
    "complementarity": {},
    "coherence": {},
    "constraint": {"rules": RULES},
    "coverage": {},
    "coverage of cosine 0.8": {"cosine": 0.8},
    "specific_coverage": {},
    "specificity": {},
    "fit": {},
    "shopper": {},
    "prompt_format": {},
}
TUNED = ("diversity", "coverage", "specific_coverage", "specificity", "shopper", "prompt_format")
CREDITS: dict[str, Credit] = {"set": WholeSet(), "leave one out": LeaveOneOut()}
REWARDS: dict[str, dict[str, float]] = {  # of the toy's refinement, by a judge and without
    "shopper": {"shopper": 1.0},
    "label-free": {
        "specific_coverage": 1.0,
        "groundedness": 0.0,
        "diversity": 0.0,
        "alignment": 0.0,
    },
}
REFERENCES, POOL = 6, 150
QUERIES, GROUP = 24, 16


def with_references(run: Run, folder: Path) -> Run:
    """Begin a run on the same catalog and student, whose queries have made-up references."""
    random, items = torch.Generator().manual_seed(0), run.searcher().catalog.ids
    splits = {}
    for split in ("train", "val", "test"):
        queries = read_queries(run.queries, split)
        rows = torch.randint(len(items), (len(queries), REFERENCES), generator=random).tolist()
        splits[split] = [
            replace(query, references=tuple(items[row] for row in set(places)))
            for query, places in zip(queries, rows)
        ]
    write_queries(folder / "queries", splits)
    shutil.copytree(run.folder / STUDENT, folder / STUDENT)
    return Run.begin(folder, run.catalog, folder / "queries")


def reward_of(title: str) -> Reward:
    """Return the reward that is one of ``OBJECTIVES``."""
    name = title.split(" ")[0]
    return Reward({name: 1.0}, {name: load_objective(name, **OBJECTIVES[title])})


def retrieval_of(reward: Reward) -> Retrieval:
    """Return a retrieval with a pool if the reward reads one, as such runs have."""
    pool = POOL if "pool" in reward.deciding_needs else None
    return Retrieval(pool, cached=2**16)


def refiner(run: Run, reward: Reward, credit: Credit, group: int = GROUP) -> RetrieverRefiner:
    """Return stage 5 as the quickstart makes it."""
    return RetrieverRefiner(
        str(run.folder),
        reward,
        Start(STUDENT, linear="rows"),
        grpo=SoftGRPO(group_size=group, updates=1),
        credit=credit,
        retrieval=retrieval_of(reward),
        optimizer=lambda weights: torch.optim.AdamW(weights, lr=2e-3, weight_decay=0.01),
        schedule=WarmupConstant(20),
        query_time=QueryTime(anchor=0.35),
    )


def tuner(run: Run, reward: Reward, credit: Credit, group: int = 8) -> FanoutTuner:
    """Return stage 1 as in configs/toy/1_tune.yaml, with an untrained model that stays as it is."""
    return FanoutTuner(
        str(run.folder),
        reward,
        grpo=SoftGRPO(group_size=group, updates=2, micro_batch=96),
        credit=credit,
        lm=TinyQwen3(width=128, layers=3, vocabulary=4096),
        form=Expand(set_size=10, words=3),
        sampling=Sampling(max_new_tokens=48),
        retrieval=retrieval_of(reward),
        optimizer=adamw(2e-4),
        schedule=WarmupConstant(10**12),  # the rate stays near 0
    )


def compare(sides: Mapping[str, Training], pairs: int, warmup: int) -> dict[str, Any]:
    """Alternate steps with either credit; return medians, and ratios to set credit."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in in_turns(sides, pairs + warmup):
        for name, side in sides.items():
            seconds[name].append(side.last)
    for side in sides.values():
        side.finish()
    kept = {name: times[warmup:] for name, times in seconds.items()}
    ratios = quotients(kept["leave one out"], kept["set"])
    return {
        "seconds": {name: median(times) for name, times in kept.items()},
        "ratio": median(ratios),
        "ratio_interval": interval(ratios),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


def compare_refiners(run: Run, title: str, options: argparse.Namespace) -> dict[str, Any]:
    """Compare the credits in stage 5."""
    sides = {
        name: Training(refiner(run, reward_of(title), credit), QUERIES)
        for name, credit in CREDITS.items()
    }
    return compare(sides, options.pairs, options.warmup)


def compare_tuners(run: Run, title: str, options: argparse.Namespace) -> dict[str, Any]:
    """Compare the credits in stage 1, whose steps take seconds, over a quarter of the pairs."""
    sides = {
        name: Training(tuner(run, reward_of(title), credit), QUERIES, decay=None)
        for name, credit in CREDITS.items()
    }
    return compare(sides, max(options.pairs // 4, 2), 1)


def throughput(run: Run, name: str, group: int, steps: int, warmup: int) -> dict[str, Any]:
    """Time steps of stage 5 with one of ``REWARDS``; return scored sets a second."""
    training = Training(refiner(run, Reward(REWARDS[name]), LeaveOneOut(), group), QUERIES)
    seconds = [training.step() for _ in range(steps + warmup)][warmup:]
    training.finish()
    middle = median(seconds)
    rates = {"sets_per_second": QUERIES * group / middle, "fastest": QUERIES * group / min(seconds)}
    return {"reward": name, "group": group, "seconds": middle, **rates, "all_seconds": seconds}


def latency(run: Run, calls: int, warmup: int) -> dict[str, Any]:
    """Time single queries answered by the student, before and after refinement, in turns."""
    held = HeldOut(run)
    model = refiner(run, Reward({"diversity": 1.0}), LeaveOneOut())
    folder = run.folder / "refine" / "model"
    model.write(model.generator, folder)  # weights do not change the time
    student = DirectionGenerator.load(run.folder / STUDENT)
    one = Start(STUDENT, levels=(80.0,), set_size=student.set_size, noises=None).load(run).eval()
    of = {"folder": folder, "key": "", "name": "refined"}
    methods = {
        "student": DiffusionMethod.load(
            held.searcher, 10, held.pool, folder=run.folder / STUDENT, key="", name="student"
        ),
        "one evaluation": DiffusionMethod(held.searcher, one, 10, held.pool),
        "refined": DiffusionMethod.load(held.searcher, 10, held.pool, **of),
    }
    queries = held.queries["test"]
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for call in range(calls + warmup):
        query = [queries[call % len(queries)]]
        for name in list(methods)[:: 1 if call % 2 == 0 else -1]:
            with torch.no_grad():
                seconds[name].append(time_call(methods[name], held.searcher, query, call)["total"])
    kept = {name: times[warmup:] for name, times in seconds.items()}
    ratios = {name: quotients(kept["refined"], times) for name, times in kept.items()}
    return {
        "milliseconds": {name: 1000 * median(times) for name, times in kept.items()},
        "ratio": {name: median(each) for name, each in ratios.items()},
        "ratio_interval": {name: interval(each) for name, each in ratios.items()},
        "calls": calls,
    }


def work(run: Run, options: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what to measure by the name of its file."""
    todo: dict[str, Callable[[], dict[str, Any]]] = {}
    for title in options.objectives:
        slug = title.replace(" ", "-")
        if "texts" not in reward_of(title).deciding_needs:  # a retriever writes none
            todo[f"refine-{slug}"] = partial(compare_refiners, run, title, options)
        if title in TUNED:
            todo[f"tune-{slug}"] = partial(compare_tuners, run, title, options)
    for name, group in product(REWARDS, options.groups):
        sizes = name, group, options.pairs, options.warmup
        todo[f"sets-{name}-{group}"] = partial(throughput, run, *sizes)
    todo["latency"] = partial(latency, run, 5 * options.pairs, options.warmup)
    return {name: each for name, each in todo.items() if name.split("-")[0] in options.parts}


def report(results: Path) -> str:
    """Write and return the tables of the finished results."""
    paths = sorted(results.glob("*.json"))
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    parts = {"refine": "stage 5", "tune": "stage 1"}
    lines = []
    for title in OBJECTIVES:
        rows = [found.get(f"{part}-{title.replace(' ', '-')}") for part in parts]
        lines.append([title, *(cell for row in rows for cell in _ratio_cells(row))])
    heads = [f"{s}: {what}" for s in parts.values() for what in ("set, ms", "member, ms", "ratio")]
    tables = [table(["leave-one-out over set credit", *heads], lines)]
    sets = [row for name, row in found.items() if name.startswith("sets-")]
    sets.sort(key=lambda row: (row["reward"], row["group"]))
    lines = [[f"{row['reward']}, {row['group']}", *_rate_cells(row)] for row in sets]
    tables.append(table(["reward, sets of a query", "ms a step", "scored sets a second"], lines))
    if "latency" in found:
        row = found["latency"]
        lines = [
            [
                name,
                number(milliseconds, ".1f"),
                between(row["ratio"][name], *row["ratio_interval"][name], ".2f"),
            ]
            for name, milliseconds in row["milliseconds"].items()
        ]
        tables.append(table(["one query alone", "ms", "refined / this"], lines))
    text = "\n\n".join(tables) + "\n"
    (results / "refine_speed.md").write_text(text, encoding="utf-8")
    return text


def _ratio_cells(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return [MISSING] * 3
    times = [number(1000 * seconds, ".0f") for seconds in row["seconds"].values()]
    return [*times, between(row["ratio"], *row["ratio_interval"], ".2f")]


def _rate_cells(row: Mapping[str, Any]) -> list[str]:
    return [number(1000 * row["seconds"], ".1f"), number(row["sets_per_second"], ",.0f")]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``--quick`` replaces sizes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--parts", nargs="+", default=["refine", "tune", "sets", "latency"])
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--groups", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=4, help="Pairs that do not count.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/refine_speed"))
    parser.add_argument("--quick", action="store_true", help="Few pairs.")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Make every missing result, then the tables."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser().parse_args(words)
    if options.quick:
        options.pairs, options.warmup = 8, 2
    torch.set_num_threads(options.threads)
    command = shown("refine_speed", options.run, words)
    sizes = {"queries": QUERIES, "group": GROUP, "pairs": options.pairs, "threads": options.threads}
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run = with_references(Run.open(options.run), Path(folder) / "run")
        todo = work(run, options)
        # Seconds on two idle cores: 8 for a pair of stage 1, 0.2 for any other.
        costs = [2.0 if name.startswith("tune") else 0.2 for name in todo]
        print(f"About {sum(costs) * options.pairs / 60:.0f} min on idle cores", flush=True)
        for name, measure in todo.items():
            path = options.results / f"{name}.json"
            if missing(path):
                values = measure()
                write_result(path, command, sizes, values)
                shortened = {
                    key: values[key] for key in ("ratio", "sets_per_second") if key in values
                }
                print(name, shortened, flush=True)
    print(report(options.results))


if __name__ == "__main__":
    main()
