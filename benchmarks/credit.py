"""Which credit for the members of a set teaches a retriever most? Noise of the gradient, and reward.

    OMP_NUM_THREADS=1 python -m benchmarks.credit RUN            # every missing result
    OMP_NUM_THREADS=1 python -m benchmarks.credit RUN --quick    # minutes, to look at the shape
    python -m benchmarks.credit --draw                           # only table and figure

RUN has a catalog, queries and a student (accelerate/model), as ``r4t quickstart`` leaves them. Stage 5
refines the student by one objective at a time, with set credit, leave-one-out and Shapley credit.

*Noise.* At the start's weights, one batch of queries is rolled out many times. All credits share these
rollouts. The trace of the covariance of the gradient, over its squared mean, is the number of rollouts
that must be averaged until the noise is as large as the signal. The cosine compares a single rollout's
gradient with the mean over other rollouts.

*Reward.* The same start is refined once per credit and seed. The trainings alternate step by step in one
process, so that other load on the machine affects all alike. "After equal seconds" is where the credit
that needs the least time ends.

Writes RESULTS/noise-OBJECTIVE.json, RESULTS/OBJECTIVE-seedN.json, credit.md and credit.png. A result whose
file exists is skipped.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmarks.credit_report import ORDER, REFERENCE, report
from benchmarks.refining import (
    HeldOut,
    Progress,
    Training,
    in_turns,
    missing,
    shown,
    training_parser,
    tried_sets,
    write_result,
)
from r4t.choice import QueryTime
from r4t.credit import Credit, LeaveOneOut, Shapley, WholeSet
from r4t.data.queries import Query
from r4t.diffusion.refiner import RetrieverRefiner
from r4t.diffusion.start import Start
from r4t.reward import Reward
from r4t.run import Run
from r4t.training.learning_rate import WarmupConstant
from r4t.training.soft_grpo import SoftGRPO, member_advantage

SPACES = ("directions", "weights")
START = Start(linear="rows")  # one evaluation
Key = tuple[str, bool]  # credit, and whether advantages are divided by their deviation


def credits_of(seed: int = 0) -> dict[str, Credit]:
    """The credits to compare; ``seed`` is that of Shapley's orders."""
    return {
        REFERENCE: WholeSet(),
        "leave one out": LeaveOneOut(),
        "Shapley, 1 order": Shapley(1, seed),
        "Shapley, 4 orders": Shapley(4, seed),
    }


def build(options: argparse.Namespace, objective: str, credit: Credit, seed: int) -> Any:
    """Return stage 5 for one objective, at a constant rate: curves then do not depend on their end."""
    return RetrieverRefiner(
        str(options.run),
        Reward({objective: 1.0}),
        START,
        grpo=SoftGRPO(group_size=options.group, updates=1),
        credit=credit,
        optimizer=lambda weights: torch.optim.AdamW(weights, lr=options.rate, weight_decay=0.01),
        schedule=WarmupConstant(20),
        query_time=QueryTime(anchor=options.anchor),
        seed=seed,
    )


class Moments:
    """Mean and covariance of vectors that come one by one.

    Args:
        count: How many will come; the first half is what the others are compared with.
    """

    def __init__(self, count: int) -> None:
        self.half, self.number, self.squares = count // 2, 0, 0.0
        self.total: Tensor | None = None
        self.first: Tensor | None = None  # sum of the first half
        self.cosines: list[float] = []

    def add(self, vector: Tensor) -> None:
        """Add a flat vector."""
        vector = vector.double()
        if self.total is None:
            self.total = torch.zeros_like(vector)
        if self.first is not None:
            self.cosines.append(float(torch.cosine_similarity(vector, self.first, dim=0)))
        self.total += vector
        self.squares += float(vector.square().sum())
        self.number += 1
        if self.number == self.half:
            self.first = self.total.clone()

    def facts(self) -> dict[str, float]:
        """Return the trace of the covariance, the squared length of the mean, and more.

        ``signal`` is the squared length of the mean without what noise adds to it, trace / n. ``noise``
        is trace / signal, NaN if there is no signal. ``cosine`` is the mean over the second half of the
        cosines with the mean of the first.
        """
        assert self.total is not None
        mean = float((self.total / self.number).square().sum())
        trace = (self.squares - self.number * mean) / (self.number - 1)
        signal = mean - trace / self.number
        noise = trace / signal if signal > 0 else float("nan")
        facts = {"trace": trace, "signal": signal, "noise": noise}
        return facts | {"cosine": fmean(self.cosines), "rollouts": self.number}


def noise(refiner: Any, batch: Sequence[Query], rollouts: int) -> dict[str, dict[Key, Moments]]:
    """Roll out one batch many times at fixed weights, and collect the gradients that each credit gives.

    Returns:
        Space → credit and scaling → moments of the gradient by the generated directions (B·k·d) and by
        the weights.
    """
    weights = [weight for weight in refiner.generator.parameters() if weight.requires_grad]
    vectors = refiner.searcher.encode_queries([query.text for query in batch])
    means = refiner.generator.rows(vectors, [0] * len(batch))
    fixed = means.detach().requires_grad_()
    keys = [(name, scale) for name in credits_of() for scale in (False, True)]
    moments = {space: {key: Moments(rollouts) for key in keys} for space in SPACES}
    progress = Progress("noise", rollouts)
    for rollout in range(rollouts):
        gradients = _gradients(refiner, batch, vectors, fixed, rollout)
        for key, by_directions in gradients.items():
            by_weights = torch.autograd.grad(means, weights, by_directions, retain_graph=True)
            moments["directions"][key].add(by_directions.flatten())
            moments["weights"][key].add(torch.cat([each.flatten() for each in by_weights]))
        if rollout % 16 == 15:
            progress.tell(rollout + 1)
    return moments


def _gradients(
    refiner: Any, batch: Sequence[Query], vectors: Tensor, means: Tensor, rollout: int
) -> dict[Key, Tensor]:
    """Gradients (B, k, d) of the loss of one rollout by the directions, for every credit."""
    group, reward = refiner.grpo.group_size, refiner.reward
    seeds = [rollout * len(batch) + row for row in range(len(batch))]
    with torch.no_grad():
        tries = refiner.exploration.tries(means.detach(), refiner.items, seeds, group)
        sets = tried_sets(refiner, batch, vectors, tries)
        components = reward.components(sets)
        credits = {
            name: credit(reward, sets, components).unflatten(0, (len(batch), group))
            for name, credit in credits_of(rollout).items()
        }
    gradients = {}
    for name, of_members in credits.items():
        for scale in (False, True):
            advantages = member_advantage(of_members, by_place=True, scale=scale)
            logs = refiner.exploration.log_probs(means, refiner.items, tries)
            loss = -(logs * advantages).mean()  # Soft-GRPO's gradient where the policy sampled
            (gradients[name, scale],) = torch.autograd.grad(loss, means)
    return gradients


def measure_noise(options: argparse.Namespace, objective: str, words: Sequence[str]) -> None:
    """Write the noise of one objective's gradients, unless it is written."""
    path = options.results / f"noise-{objective}.json"
    if not missing(path):
        return
    refiner = build(options, objective, LeaveOneOut(), 0)
    queries, _ = refiner.searcher.searchable(refiner.run.read_queries("train"))
    picked = torch.randperm(len(queries), generator=torch.Generator().manual_seed(0))
    batch = [queries[row] for row in picked[: options.batch].tolist()]
    moments = noise(refiner, batch, options.rollouts)
    rows = [
        {
            "space": space,
            "credit": name,
            "scaled": scale,
            **each.facts(),
            **_agreement(each, by_key),
        }
        for space, by_key in moments.items()
        for (name, scale), each in by_key.items()
    ]
    content = {"objective": objective, "rows": rows}
    write_result(path, shown("credit", options.run, words), settings(options), content)


def _agreement(moments: Moments, by_key: Mapping[Key, Moments]) -> dict[str, float]:
    """Cosine of a mean gradient with that of set credit without scaling, which is unbiased."""
    mine, unbiased = moments.total, by_key[REFERENCE, False].total
    assert mine is not None
    assert unbiased is not None
    return {"cosine with set": float(torch.cosine_similarity(mine, unbiased, dim=0))}


def measure_reward(
    options: argparse.Namespace, objective: str, seed: int, held: HeldOut, words: Sequence[str]
) -> None:
    """Refine with every credit, in turns, and write the curves, unless they are written."""
    path = options.results / f"{objective}-seed{seed}.json"
    if not missing(path):
        return
    trainings = {
        name: Training(build(options, objective, credit, seed), options.batch, seed)
        for name, credit in credits_of().items()
        if name in options.credits
    }
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in trainings}
    progress = Progress(path.stem, options.steps)

    def look(step: int) -> None:
        for name, training in trainings.items():
            module = training.module
            values = held.measure(training.generator, "val", module.reward, module.query_time)
            rows[name].append({"step": step, "seconds": round(training.seconds, 3), **values})

    look(0)
    for step in in_turns(trainings, options.steps):
        if step % options.every == 0:
            look(step)
            latest = ", ".join(f"{each[-1]['reward']:.3f}" for each in rows.values())
            progress.tell(step, f"reward {latest}")
    rewards = {name: [round(x, 5) for x in each.rewards] for name, each in trainings.items()}
    for training in trainings.values():
        training.finish()
    content = {"objective": objective, "seed": seed, "held_out": rows, "train": rewards}
    write_result(path, shown("credit", options.run, words), settings(options), content)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The sizes that results state."""
    names = ("batch", "group", "rate", "anchor", "steps", "rollouts")
    return {name: getattr(options, name) for name in names} | {"threads": torch.get_num_threads()}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``--quick`` replaces sizes."""
    parser = training_parser(__doc__.split("\n")[0], "credit")
    parser.add_argument("--objectives", nargs="+", default=list(ORDER))
    credits = list(credits_of())
    parser.add_argument(
        "--credits", nargs="+", choices=credits, default=credits, help="To train with."
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=40, help="Steps between two measurements.")
    parser.add_argument("--rollouts", type=int, default=128, help="For the noise; 0 for none.")
    parser.add_argument("--group", type=int, default=16, help="Sets G per query.")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument(
        "--anchor", type=float, default=0.35, help="The query's share when queries are answered."
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Make every missing result, then table and figure."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser().parse_args(words)
    if options.quick:
        options.seeds, options.steps, options.every, options.rollouts = [0], 40, 10, 16
    torch.set_num_threads(options.threads)
    if not options.draw:
        # Seconds on one idle core: 0.7 for a rollout of the noise, 1.5 for a step of all four credits.
        runs, seconds = len(options.objectives), 0.7 * options.rollouts
        seconds = runs * (seconds + 1.5 * options.steps * len(options.seeds))
        print(f"About {seconds / 60:.0f} min on an idle core", flush=True)
        held = HeldOut(Run.open(options.run), options.limit)
        for objective in options.objectives:
            if options.rollouts:
                measure_noise(options, objective, words)
        for seed in options.seeds:
            for objective in options.objectives:
                measure_reward(options, objective, seed, held, words)
    print(report(options.results))


if __name__ == "__main__":
    main()
