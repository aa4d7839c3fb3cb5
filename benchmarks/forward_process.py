"""Forward-process reinforcement learning on the denoiser, compared with stage 5 at equal time.

    OMP_NUM_THREADS=1 python -m benchmarks.forward_process RUN            # every missing result
    OMP_NUM_THREADS=1 python -m benchmarks.forward_process RUN --quick    # minutes, to look at the shape
    python -m benchmarks.forward_process --draw                           # only table and figure

Stage 5 takes the retriever as a policy over items and follows the gradient of its log-probability.
DiffusionNFT (Zheng et al. 2025; here ``benchmarks.forward_module``) needs no likelihood: it samples sets
with the model's own sampler and random noise, scores them, noises their rows again, and trains the denoiser
to predict well-rewarded rows better and badly rewarded ones worse.

Both start from the same denoiser (distill/model) and get the same reward, queries per step and wall-clock
time. First each is tried with as many settings as the other, and the one with the highest reward on
validation queries is kept. Then both train in turns, over several seeds: always the one that has used less
time makes the next step. Of each training, the table has the end and the moment of the highest reward on
validation queries, as forward-process learning may get worse again. Test queries choose nothing.

Writes RESULTS/try-WAY-NUMBER.json, RESULTS/seedN.json, forward_process.md and forward_process.png. A result
whose file exists is skipped.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.forward_module import DENOISER, ForwardProcess
from benchmarks.forward_report import highest, read_tries, report
from benchmarks.refining import (
    HeldOut,
    Progress,
    Training,
    missing,
    shown,
    training_parser,
    write_result,
)
from r4t.choice import QueryTime
from r4t.credit import Credit, LeaveOneOut
from r4t.diffusion.exploration import ItemSampling
from r4t.diffusion.refiner import RetrieverRefiner
from r4t.diffusion.start import Start
from r4t.reward import Reward
from r4t.run import Run
from r4t.training.learning_rate import WarmupConstant
from r4t.training.soft_grpo import SoftGRPO

REFINER, FORWARD = "refiner", "forward"


@dataclass(frozen=True)
class Settings:
    """What is tried on validation queries, and what goes with it.

    Attributes:
        way: ``refiner`` or ``forward``.
        rate: Learning rate.
        group: Sets G per query: what makes most of the time, by shorter trials.
        average: Decay of the averaged weights, which answer; slow steps need a quicker one.
        temperature: Of the refiner's ``ItemSampling``.
        anchor: The query's share in the refiner's directions, as in the toy's config.
        beta: As of ``ForwardProcess``, like the following.
        items: ``z_items``.
        inner: Optimizer steps per rollout.
        decay: Of the old policy.
    """

    way: str
    rate: float
    group: int = 16
    average: float = 0.99
    temperature: float = 0.03
    anchor: float = 0.2
    beta: float = 1.0
    items: bool = True
    inner: int = 2
    decay: float = 0.97


def forward(rate: float, **settings: Any) -> Settings:
    """Return settings of the forward process."""
    return Settings(FORWARD, rate, group=8, average=0.9, **settings)


TRIES = [
    *(
        Settings(REFINER, rate, temperature=temperature)
        for temperature in (0.03, 0.05)
        for rate in (2e-4, 5e-4, 1e-3)
    ),
    *(forward(rate, beta=beta) for beta in (0.3, 1.0) for rate in (5e-4, 1e-3)),
    forward(5e-4, inner=4),
    forward(1e-3, items=False),
]


def build(options: argparse.Namespace, settings: Settings, seed: int) -> RetrieverRefiner:
    """Return one way with its settings; averaged weights and constant rates make it stop anywhere."""
    reward = Reward({options.objective: 1.0})
    credit: Credit = LeaveOneOut()
    common: dict[str, Any] = {
        "credit": credit,
        "optimizer": lambda w: torch.optim.AdamW(w, lr=settings.rate, weight_decay=0.01),
        "schedule": WarmupConstant(20),
        "grpo": SoftGRPO(group_size=settings.group, updates=1),
        "seed": seed,
    }
    if settings.way == FORWARD:
        names = ("beta", "inner", "decay")
        kind = {name: getattr(settings, name) for name in names} | {"z_items": settings.items}
        return ForwardProcess(str(options.run), reward, **kind, **common)
    exploration = ItemSampling(settings.temperature)
    start, anchored = Start(DENOISER, levels=(80.0,)), QueryTime(anchor=settings.anchor)
    run = str(options.run)
    return RetrieverRefiner(run, reward, start, exploration, query_time=anchored, **common)


def train(
    options: argparse.Namespace,
    ways: Mapping[str, Settings],
    seconds: float,
    seed: int,
    held: HeldOut,
    splits: Sequence[str],
) -> dict[str, list[dict[str, Any]]]:
    """Train ways in turns until each has used its seconds; return measurements every so often.

    The way that has used less time makes the next step, so that other load affects both alike.
    """
    trainings = {
        name: Training(build(options, settings, seed), options.batch, seed, settings.average)
        for name, settings in ways.items()
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    every, progress = seconds / options.points, Progress(" against ".join(ways), options.points)

    def look(name: str) -> None:
        training = trainings[name]
        row: dict[str, Any] = {"seconds": round(training.seconds, 2), "step": len(training.rewards)}
        for split in splits:
            reward = (
                training.module.reward if split == "val" else None
            )  # no judge knows test queries
            answer = training.generator, split, reward, training.module.query_time
            row[split] = held.measure(*answer)
        rows[name].append(row)

    for name in trainings:
        look(name)
    while any(each.seconds < seconds for each in trainings.values()):
        name = min(trainings, key=lambda key: trainings[key].seconds)
        trainings[name].step()
        if trainings[name].seconds >= every * len(rows[name]):
            look(name)
            if name == list(trainings)[-1]:
                progress.tell(min(len(rows[name]) - 1, options.points), str(rows[name][-1]["val"]))
    for training in trainings.values():
        training.finish()
    return rows


def tune(options: argparse.Namespace, held: HeldOut, words: Sequence[str]) -> None:
    """Write every missing try, measured on validation queries alone."""
    for number, settings in enumerate(options.tries):
        path = options.results / f"try-{settings.way}-{number}.json"
        if not missing(path):
            continue
        rows = train(options, {settings.way: settings}, options.try_seconds, 0, held, ["val"])
        content = {"tried": asdict(settings), "rows": rows[settings.way]}
        write_result(path, shown("forward_process", options.run, words), sizes(options), content)


def best(results: Path) -> dict[str, Settings]:
    """Return the settings of each way that had the highest reward on validation queries at any time."""
    chosen = {}
    for way in (REFINER, FORWARD):
        tried = [each for each in read_tries(results) if each["tried"]["way"] == way]
        top = max(tried, key=lambda each: highest(each["rows"])["val"]["reward"])
        chosen[way] = Settings(**top["tried"])
    return chosen


def sizes(options: argparse.Namespace) -> dict[str, Any]:
    """The sizes that results state."""
    names = ("objective", "batch", "seconds", "try_seconds")
    return {name: getattr(options, name) for name in names} | {"threads": torch.get_num_threads()}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``--quick`` replaces sizes."""
    parser = training_parser(__doc__.split("\n")[0], "forward_process")
    parser.add_argument("--objective", default="shopper")
    parser.add_argument("--seconds", type=float, default=300.0, help="Of each way and seed.")
    parser.add_argument("--try_seconds", type=float, default=100.0, help="Of each try.")
    parser.add_argument("--points", type=int, default=12, help="Measurements of a training.")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Make every missing result, then table and figure."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser().parse_args(words)
    options.tries = TRIES
    if options.quick:
        options.seeds, options.seconds, options.try_seconds, options.points = [0], 30.0, 10.0, 3
        options.tries = [Settings(REFINER, 5e-4), forward(1e-3)]
    torch.set_num_threads(options.threads)
    if not options.draw:
        minutes = len(options.tries) * options.try_seconds / 60
        minutes += 2 * len(options.seeds) * options.seconds / 60
        print(f"About {1.2 * minutes:.0f} min of training and measuring", flush=True)
        held = HeldOut(Run.open(options.run), options.limit)
        tune(options, held, words)
        chosen = best(options.results)
        for seed in options.seeds:
            path = options.results / f"seed{seed}.json"
            if missing(path):
                rows = train(options, chosen, options.seconds, seed, held, ["val", "test"])
                content = {"seed": seed, "chosen": {k: asdict(v) for k, v in chosen.items()}}
                command = shown("forward_process", options.run, words)
                write_result(path, command, sizes(options), content | {"rows": rows})
    print(report(options.results))


if __name__ == "__main__":
    main()
