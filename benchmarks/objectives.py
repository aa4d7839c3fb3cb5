"""Time the shipped objectives on random sets, compared with ``vendi-score`` in a loop.

    pip install --no-deps --require-hashes -r benchmarks/requirements.txt
    python benchmarks/objectives.py

4,096 sets of k = 10 items of 128 dimensions, on 2 threads. Prints a Markdown table with the minimum of
several calls, in milliseconds, and writes benchmarks/results/objectives.json. If other programs keep
the cores busy, set OMP_WAIT_POLICY=PASSIVE: otherwise threads that spin while they wait for each other
take longer than the work.
"""

import argparse
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from r4t_objectives.constraint import AtMost, Budget, MustInclude
from torch import Tensor
from vendi_score.vendi import score_K

from r4t.catalog import write_catalog
from r4t.data.source import Items
from r4t.geometry import normalize, vendi
from r4t.objective import load_objective
from r4t.sets import Popularity, SetBatch

LOOP = "vendi-score `score_K` in a loop, fp32"
ITEMS, POOL, REFERENCES, BANK = 10_000, 150, 6, 256
KINDS = ["shirt", "shoe", "hat", "coat", "bag", "belt", "dress", "scarf"]
RULES = [AtMost("brand", 2), Budget("price", 400.0), MustInclude("category", "shoe")]
OBJECTIVES = {
    "groundedness": {},
    "diversity": {},
    "alignment": {},
    "coverage": {},
    "coverage (cosine 0.8)": {"cosine": 0.8},
    "specific_coverage": {},
    "specificity": {},
    "complementarity": {},
    "coherence": {},
    "coherence (of a field)": {"field": "style"},
    "distinctness": {},
    "novelty": {},
    "constraint (3 rules)": {"rules": RULES},
    "prompt_format": {},
}


def random_sets(batch: int, members: int, width: int, folder: Path) -> SetBatch:
    """B sets of random items of a random catalog, with every optional field."""
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return normalize(torch.randn(*shape, generator=generator))

    def rows(*shape: int) -> Tensor:
        return torch.randint(0, ITEMS, shape, generator=generator)

    names = [f"i{row}" for row in range(ITEMS)]
    metadata = {
        "category": [KINDS[row % 8] for row in range(ITEMS)],
        "brand": [f"brand {row % 90}" for row in range(ITEMS)],
        "style": [f"style {row % 13}" for row in range(ITEMS)],
        "price": [float(row % 100) for row in range(ITEMS)],
    }
    catalog = write_catalog(folder, Items(names, names, metadata), unit(ITEMS, width), None)
    items = rows(batch, members)
    return SetBatch(
        query=unit(batch, width),
        items=items,
        item_embeddings=catalog.embeddings[items],
        mask=torch.ones(batch, members, dtype=torch.bool),
        directions=unit(batch, members, width),
        texts=[[f"sub-query {place}" for place in range(members)]] * batch,
        pool=rows(batch, POOL),
        references=rows(batch, REFERENCES),
        query_texts=["query"] * batch,
        catalog=catalog,
        popularity=Popularity(torch.arange(ITEMS) % 7, 6),
        bank=unit(BANK, width),
    )


def least(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Minimum milliseconds of each call, alternating: other load can only make a call slower."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - begin))
    return {name: min(each[1:]) for name, each in times.items()}  # the first call is a warm-up


def loop(embeddings: Tensor) -> Tensor:
    """Vendi scores (B,) by the original implementation, set by set, kernel included."""
    return torch.tensor([score_K(rows @ rows.T) for rows in embeddings.numpy()])


def calls_on(sets: SetBatch) -> dict[str, Callable[[], object]]:
    """Name → call to time."""
    x = sets.item_embeddings
    double = x.double()
    calls: dict[str, Callable[[], object]] = {
        LOOP: lambda: loop(x),
        "vendi-score `score_K` in a loop, fp64": lambda: loop(double),
        "vendi, fp32": lambda: vendi(x, dtype=torch.float32),
        "vendi, fp64": lambda: vendi(x),
        "vendi of order ∞, fp64": lambda: vendi(x, q=math.inf),
    }
    for title, arguments in OBJECTIVES.items():
        objective = load_objective(title.split(" ")[0], **arguments)
        calls[title] = partial(objective, sets)
    return calls


def vendi_errors(sets: SetBatch) -> dict[str, float]:
    """Largest difference of our Vendi scores from those of the loop in float64."""
    double = normalize(sets.item_embeddings.double())
    exact = loop(double)
    return {
        "fp32": (vendi(double.float(), dtype=torch.float32) - exact).abs().max().item(),
        "fp64": (vendi(double) - exact).abs().max().item(),
    }


def processor() -> str:
    """Name of the CPU."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=4096)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9, help="timed calls; the minimum counts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/objectives.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        sets = random_sets(
            arguments.sets, arguments.members, arguments.width, Path(folder) / "catalog"
        )
        times, errors = least(calls_on(sets), arguments.repeats), vendi_errors(sets)
    print("| objective | ms | × as fast as the loop |\n|---|---:|---:|")
    for name, value in times.items():
        print(f"| {name} | {value:.1f} | {times[LOOP] / value:.1f} |")
    print(f"\nLargest difference of a Vendi score from the loop in fp64: {errors}")
    options = {name: value for name, value in vars(arguments).items() if name != "out"}
    record = {
        "command": " ".join(
            ["python benchmarks/objectives.py", *(f"--{key} {options[key]}" for key in options)]
        ),
        "environment": {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY",)},
        "hardware": {"cpu": processor(), "cores": os.cpu_count()},
        "torch": torch.__version__,
        "least_ms": {name: round(value, 3) for name, value in times.items()},
        "vendi_error": errors,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
