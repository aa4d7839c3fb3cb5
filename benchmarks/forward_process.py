"""Forward-process reinforcement learning on the denoiser, compared with stage 5 at equal time.

    OMP_NUM_THREADS=1 python -m benchmarks.forward_process RUN            # every missing result
    OMP_NUM_THREADS=1 python -m benchmarks.forward_process RUN --quick    # minutes, to look at the shape
    python -m benchmarks.forward_process --draw                           # only table and figure

Stage 5 takes the retriever as a policy over items and follows the gradient of its log-probability.
``ForwardProcess`` follows DiffusionNFT (Zheng et al. 2025) instead, which needs no likelihood: it samples
sets with the model's own sampler and random noise, scores them, noises their rows again, and trains the
denoiser to predict well-rewarded rows better and badly rewarded ones worse.

Both start from the same denoiser (distill/model) and get the same reward, queries per step and wall-clock
time. First each is tried with as many settings as the other, and the one with the highest reward on
validation queries is kept. Then both train in turns, over several seeds: always the one that has used less
time makes the next step. Test queries are measured along the way, but choose nothing.

Writes RESULTS/try-WAY-NUMBER.json, RESULTS/seedN.json, forward_process.md and forward_process.png. A result
whose file exists is skipped.
"""

import argparse
import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.forward_report import read_tries, report
from benchmarks.refining import HeldOut, Progress, Training, missing, shown, write_result
from r4t.credit import Credit, LeaveOneOut
from r4t.data.queries import Query
from r4t.diffusion.exploration import ItemSampling, Tries
from r4t.diffusion.precondition import loss_weight
from r4t.diffusion.refiner import RetrieverRefiner, Start
from r4t.diffusion.sampler import Multistep
from r4t.diffusion.schedule import LogNormal
from r4t.diffusion.set_rollout import SetRollout
from r4t.reward import Reward
from r4t.run import Run
from r4t.support.seeds import query_seed
from r4t.training.learning_rate import WarmupConstant
from r4t.training.soft_grpo import SoftGRPO, member_advantage

DENOISER = "distill/model"
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
    beta: float = 1.0
    items: bool = True
    inner: int = 2
    decay: float = 0.9


def forward(rate: float, **settings: Any) -> Settings:
    """Return settings of the forward process."""
    return Settings(FORWARD, rate, group=8, average=0.9, **settings)


TRIES = [
    *(
        Settings(REFINER, rate, temperature=temperature)
        for temperature in (0.03, 0.05)
        for rate in (2e-4, 5e-4, 1e-3)
    ),
    forward(5e-4),
    forward(1e-3),
    forward(1e-3, inner=4),
    forward(1e-3, beta=0.5, decay=0.97),
    forward(2e-3, decay=0.97),
    forward(1e-3, items=False),
]


class ForwardProcess(RetrieverRefiner):
    """DiffusionNFT for sets, with clean-data prediction D and member credit.

    An old policy, the slowly moving average of the trained one, samples G sets with its own sampler and
    random noise. The credit of a member, centered and divided by its deviation over all members of the
    query's sets (rows of a random noise have no fixed places), and clipped to ±1, is its advantage A, and
    r = (1 + A)/2. Its row z is noised to x = z + σε at a level of training, where

        D₊ = (1 − β)·D_old(x) + β·D(x),   D₋ = (1 + β)·D_old(x) − β·D(x),
        loss = λ(σ)·(r·‖D₊ − z‖² + (1 − r)·‖D₋ − z‖²).

    Args:
        run: Run folder.
        reward: What to maximize.
        beta: β above 0.
        z_items: Whether z is the item that the row found, instead of the row.
        steps: Evaluations of the sampler, in training and when it answers.
        inner: Optimizer steps on each rollout, each with new noise on all its sets.
        decay: Of the old policy at each optimizer step, in [0, 1): 0 makes it the trained one.
        **settings: As in ``RetrieverRefiner``.
    """

    def __init__(
        self,
        run: str,
        reward: Reward,
        beta: float = 1.0,
        z_items: bool = True,
        steps: int = 4,
        inner: int = 2,
        decay: float = 0.9,
        **settings: Any,
    ) -> None:
        super().__init__(run, reward, Start(DENOISER, None, 10, None), **settings)
        self.beta, self.z_items, self.inner, self.decay = beta, z_items, inner, decay
        self.generator.sampler, self.generator.guidance = Multistep(steps), 0.0
        self._old = (copy.deepcopy(self.generator).requires_grad_(False).eval(),)
        self.levels = LogNormal(mean=0.0, std=1.2).scaled(self.generator.denoiser.sigma_data)

    @torch.no_grad()
    def _roll_out(self, batch: list[Query]) -> SetRollout:
        """Sample G sets for each query, retrieve, score, and share the reward among the members."""
        step, group, size = self.global_step, self.grpo.group_size, len(batch)
        vectors = self.searcher.encode_queries([query.text for query in batch])
        seeds = [
            query_seed(f"{self.seed}/{query.id}/{number}", step + 1)
            for query in batch
            for number in range(group)
        ]
        rows = self._old[0].rows(vectors.repeat_interleave(group, 0), seeds)  # (B·G, k, d)
        grouped = rows.unflatten(0, (size, group))
        sets = self._retrieve(batch, vectors, Tries(grouped, grouped))
        components = self.reward.components(sets)
        credits = self.credit(self.reward, sets, components, step)
        advantages = member_advantage(credits.unflatten(0, (size, group)), by_place=False)
        clean = sets.item_embeddings if self.z_items else rows
        tries = Tries(clean.unflatten(0, (size, group)), grouped)
        return SetRollout(
            batch, vectors, seeds, rows, tries, sets.items, self.reward.total(components, step),
            components, advantages.flatten(0, 1), sets.mask.float(),
        )  # fmt: skip

    def _update(self, rollout: SetRollout) -> dict[str, Tensor]:
        """Step the denoiser ``inner`` times on a rollout; return what to log."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        clean = rollout.tries.actions.flatten(0, 1)
        query = rollout.vectors.repeat_interleave(self.grpo.group_size, 0)
        for _ in range(self.inner):
            random = self.random(0, self.global_step)
            count = len(clean)
            t = (torch.arange(count) + torch.rand(count, generator=random)) / count
            t = t[torch.randperm(count, generator=random)]  # all levels at every query
            noise = torch.randn(clean.shape, generator=random)
            losses = self.losses(query, clean, rollout.advantages, self.levels.sigma(t), noise)
            loss = (losses * rollout.mask).sum() / rollout.mask.sum().clamp(min=1)
            optimizer.zero_grad()  # type: ignore[union-attr]
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=1.0)  # type: ignore[arg-type]
            optimizer.step()  # type: ignore[union-attr]
            schedule.step()  # type: ignore[union-attr]
            for old, new in zip(self._old[0].parameters(), self.generator.parameters()):
                old.data.lerp_(new.data, 1 - self.decay)
        return {"train/loss/mean": loss.detach()}

    def losses(
        self, query: Tensor, clean: Tensor, advantages: Tensor, sigma: Tensor, noise: Tensor
    ) -> Tensor:
        """Return the loss (n, k) of each row, divided by its d coordinates.

        Args:
            query: (n, d).
            clean: (n, k, d) rows z.
            advantages: (n, k); clipped to ±1.
            sigma: (n,) noise levels.
            noise: (n, k, d) standard normal ε.
        """
        noisy = clean + sigma[:, None, None] * noise
        with torch.no_grad():
            old = self._old[0].denoiser.bind(query)(noisy, sigma)
        new = self.generator.denoiser.bind(query)(noisy, sigma)
        moved = self.beta * (new - old)
        good = (1 + advantages.clamp(-1, 1)) / 2  # r
        better, worse = ((old + part - clean).square().mean(-1) for part in (moved, -moved))
        weight = loss_weight(sigma, self.generator.denoiser.sigma_data).unsqueeze(1)
        return weight * (good * better + (1 - good) * worse)


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
    start = Start(DENOISER, levels=(80.0,))
    return RetrieverRefiner(str(options.run), reward, start, exploration, **common)


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
            row[split] = held.measure(training.generator, split, reward)
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
    """Return the settings of each way whose last reward on validation queries is highest."""
    chosen = {}
    for way in (REFINER, FORWARD):
        tried = [each for each in read_tries(results) if each["tried"]["way"] == way]
        top = max(tried, key=lambda each: each["rows"][-1]["val"]["reward"])
        chosen[way] = Settings(**top["tried"])
    return chosen


def sizes(options: argparse.Namespace) -> dict[str, Any]:
    """The sizes that results state."""
    names = ("objective", "batch", "seconds", "try_seconds")
    return {name: getattr(options, name) for name in names} | {"threads": torch.get_num_threads()}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``--quick`` replaces sizes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?", help="Run folder with a denoiser.")
    parser.add_argument("--objective", default="shopper")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=300.0, help="Of each way and seed.")
    parser.add_argument("--try_seconds", type=float, default=100.0, help="Of each try.")
    parser.add_argument("--points", type=int, default=12, help="Measurements of a training.")
    parser.add_argument("--batch", type=int, default=24, help="Queries B.")
    parser.add_argument("--limit", type=int, help="Queries of a split.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/forward_process"))
    parser.add_argument("--draw", action="store_true", help="Only table and figure.")
    parser.add_argument("--quick", action="store_true", help="One seed, two tries, few seconds.")
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
