"""Samplers and few-step students → quality of their sets against evaluations of the network.

    python -m benchmarks.quality_steps RUN --guidance 0.1     # teacher RUN/distill/model
    python -m benchmarks.quality_steps RUN --guidance 0.1 --students accelerate accelerate-2 accelerate-1

An evaluation is one forward pass of the network on one query's rows; a guided step counts as two. For
every held-out query and seed, each setting generates one set: the first k of L rows, without a choice.
The converged ODE (Multistep with 128 steps) is the limit of every solver of the same ODE, and of
students. SDE-256 on the tangent schedule is the paper's sampler. Writes quality_steps.json, .csv and
.png to benchmarks/results/quality_steps.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.real_sets import hardware
from benchmarks.scoring import AUDITED, SIZE, scored
from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.sampler import Euler, Heun, Multistep, ReverseSde, Sampler
from r4t.diffusion.schedule import Karras, Schedule, Tangent
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed

MEASURES = ("composite", "groundedness", "vendi", "alignment", "distinct")
CONVERGED, REFERENCE = "ODE, converged", "SDE-256"
NARROW = Karras(0.03, 20.0, 5.0)  # noise levels that matter; set on validation queries of seed 0
HEUN, MULTISTEP, EULER, SDE = (2, 3, 5, 8), (2, 4, 6, 8, 10, 16), (4, 10, 16), (10, 32)


@dataclass(frozen=True)
class Setting:
    """One point of the table.

    Attributes:
        name: Name of its curve.
        generator: Network with sampler and schedule.
        seeds: Number of sets per query.
    """

    name: str
    generator: DirectionGenerator
    seeds: int

    @property
    def evaluations(self) -> int:
        """Evaluations per query."""
        return self.generator.evaluations()


def sampled(
    teacher: DirectionGenerator, sampler: Sampler, schedule: Schedule | None = None
) -> DirectionGenerator:
    """The teacher's network with another sampler and, optionally, another schedule."""
    return DirectionGenerator(
        teacher.network,
        Karras(sigma_min=0.01) if schedule is None else schedule,
        sampler,
        teacher.guidance,
        teacher.denoiser.sigma_data,
    ).eval()


def settings(
    teacher: DirectionGenerator, students: dict[str, DirectionGenerator], seeds: int
) -> Iterator[Setting]:
    """All settings to measure."""
    yield Setting(CONVERGED, sampled(teacher, Multistep(128)), seeds)
    yield Setting(REFERENCE, sampled(teacher, ReverseSde(256), Tangent()), seeds)
    yield from (Setting("Heun", sampled(teacher, Heun(n)), seeds) for n in HEUN)
    yield from (Setting("Multistep", sampled(teacher, Multistep(n)), seeds) for n in MULTISTEP)
    yield from (
        Setting("Multistep, 0.03 … 20", sampled(teacher, Multistep(n), NARROW), seeds)
        for n in MULTISTEP
    )
    yield from (Setting("Euler", sampled(teacher, Euler(n)), seeds) for n in EULER)
    yield from (Setting("SDE", sampled(teacher, ReverseSde(n), NARROW), seeds) for n in SDE)
    yield from (Setting(name, student, seeds) for name, student in students.items())


def measure(
    setting: Setting, searcher: Searcher, queries: list[Query], reward: Reward
) -> list[dict[str, float]]:
    """Means over the queries, one row per seed."""
    rows = []
    for seed in range(setting.seeds):

        def answer(part: list[Query], vectors: Tensor, seed: int = seed) -> SetBatch:
            directions = setting.generator(vectors, [query_seed(query.id, seed) for query in part])
            return searcher.retrieve(vectors, directions[:, :SIZE])

        scores = scored(answer, searcher, queries, reward)
        scores["distinct"] = SIZE * scores["distinctness"]
        rows.append({name: float(scores[name].mean()) for name in MEASURES})
    return rows


def summary(measured: list[tuple[Setting, list[dict[str, float]]]]) -> list[dict[str, Any]]:
    """Mean over seeds of each setting, and its ratios to the converged ODE and to SDE-256."""
    means = [
        {name: sum(row[name] for row in rows) / len(rows) for name in MEASURES}
        for _, rows in measured
    ]
    by_name = {setting.name: mean for (setting, _), mean in zip(measured, means)}
    ode, sde = by_name[CONVERGED], by_name[REFERENCE]
    table = []
    for (setting, rows), mean in zip(measured, means):
        composites = [row["composite"] for row in rows]
        table.append(
            {
                "name": setting.name,
                "evaluations": setting.evaluations,
                **mean,
                "composite spread": max(composites) - min(composites),
                "composite / ODE": mean["composite"] / ode["composite"],
                "vendi / ODE": mean["vendi"] / ode["vendi"],
                "composite / SDE-256": mean["composite"] / sde["composite"],
                "vendi / SDE-256": mean["vendi"] / sde["vendi"],
            }
        )
    return table


def markdown(table: list[dict[str, Any]]) -> str:
    """The table for docs/results.md."""
    lines = [
        "| sampler | evaluations | composite | groundedness | Vendi | alignment | distinct items | "
        "composite, Vendi / ODE | / SDE-256 |",
        "|---|" + "---:|" * 8,
    ]
    for row in table:
        lines.append(
            f"| {row['name']} | {row['evaluations']} | {row['composite']:.4f} | "
            f"{row['groundedness']:.4f} | {row['vendi']:.3f} | {row['alignment']:.4f} | "
            f"{row['distinct']:.2f} | {row['composite / ODE']:.1%}, {row['vendi / ODE']:.1%} | "
            f"{row['composite / SDE-256']:.1%}, {row['vendi / SDE-256']:.1%} |"
        )
    return "\n".join(lines) + "\n"


def plot(table: list[dict[str, Any]], path: Path) -> None:
    """Plot each measure against evaluations on a log axis, with the converged ODE as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {
        "composite": "composite (eq. 1)",
        "groundedness": "groundedness",
        "vendi": "Vendi of ten items",
        "alignment": "alignment",
    }
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), sharex=True, layout="constrained")
    names = list(dict.fromkeys(row["name"] for row in table if row["name"] != CONVERGED))
    for axis, (measure_name, title) in zip(axes.flat, panels.items()):
        ceiling = next(row[measure_name] for row in table if row["name"] == CONVERGED)
        axis.axhline(ceiling, color="0.6", linestyle="--", label=CONVERGED)
        for number, name in enumerate(names):
            points = sorted(
                (row["evaluations"], row[measure_name]) for row in table if row["name"] == name
            )
            axis.plot(*zip(*points), marker="os^vDPX*h"[number % 9], label=name)
        axis.set_title(title)
        axis.set_xscale("log", base=2)
    for axis in axes[1]:
        axis.set_xlabel("evaluations per query")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--teacher", default="distill/model", help="Folder inside the run.")
    parser.add_argument(
        "--students", nargs="*", default=["accelerate"], help="Steps of the run with a student."
    )
    parser.add_argument("--guidance", type=float, default=None, help="The teacher's (its own).")
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=None)
    parser.add_argument(
        "--again", choices=["all", "students"], default="all", help="Settings to measure again."
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/quality_steps"))
    options = parser.parse_args(arguments)
    run = Run.open(options.run)
    searcher = run.searcher()
    queries, _ = searcher.searchable(run.read_queries(options.split))
    queries = queries[: options.queries]
    teacher = DirectionGenerator.load(options.run / options.teacher)
    if options.guidance is not None:
        teacher.guidance = options.guidance
    students = {
        f"student, {loaded.sampler.steps}": loaded
        for name in options.students
        for loaded in [DirectionGenerator.load(options.run / name / "model")]
    }
    reward = Reward(AUDITED)
    path, earlier = options.results / "quality_steps.json", {}
    if options.again == "students":
        earlier = json.loads(path.read_text(encoding="utf-8"))["seeds"]
    measured = []
    for setting in settings(teacher, students, options.seeds):
        key = f"{setting.name}, {setting.evaluations}"
        reuse = key in earlier and not setting.name.startswith("student")
        rows = earlier[key] if reuse else measure(setting, searcher, queries, reward)
        measured.append((setting, rows))
        mean = sum(row["composite"] for row in rows) / len(rows)
        print(f"{setting.name}, {setting.evaluations} evaluations: {mean:.4f}", flush=True)
    table = summary(measured)
    options.results.mkdir(parents=True, exist_ok=True)
    content = {
        "split": options.split,
        "queries": len(queries),
        "guidance": teacher.guidance,
        "network": teacher.network.config,
        "hardware": hardware(),
        "table": table,
        "seeds": {f"{s.name}, {s.evaluations}": rows for s, rows in measured},
    }
    text = json.dumps(content, indent=1) + "\n"
    path.write_text(text, encoding="utf-8")
    (options.results / "quality_steps.md").write_text(markdown(table), encoding="utf-8")
    with (options.results / "quality_steps.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    plot(table, options.results / "quality_steps.png")
    print(markdown(table))


if __name__ == "__main__":
    main()
