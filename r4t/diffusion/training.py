"""A generator to train → its noise, its validation by retrieval and its exported folder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from r4t.choice import KNOWN, Generate, QueryTime
from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.sampler import seeded_noise
from r4t.errors import InputError
from r4t.geometry import anchored
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval, Searcher
from r4t.sets import ANSWERS, SetBatch
from r4t.support.seeds import query_seed
from r4t.training.learning_rate import RateSchedule, ScheduledModule

SEEN = KNOWN | ANSWERS | {"pool", "query_texts"}  # fields of a generated set
GOLDEN = (5**0.5 - 1) / 2


def check_share(name: str, share: float) -> None:
    """Refuse a share or probability outside [0, 1]."""
    if not 0 <= share <= 1:
        raise InputError(expected=f"{name} in [0, 1]", found=f"{share}", remedy="Correct it.")


class CompileNetwork(Callback):
    """Compiles the network that a fit trains (``torch.compile``): a slow start, then faster steps."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile the network of the module's generator."""
        pl_module.generator.network.compile()  # type: ignore[union-attr]


class GeneratorModule(ScheduledModule):
    """Improves the network of a ``DirectionGenerator``; subclasses document their arguments.

    A checkpoint holds no hyper-parameters: a run's YAML builds the module, and ``export`` writes the
    model to deploy. Validation and export use averaged weights if the trainer has Lightning's
    callback ``EMAWeightAveraging(update_every_n_steps=1)``.

    With a run, validation generates directions for the run's validation queries, retrieves, and logs
    the mean of each objective of ``reward`` that can score a generated set (``val/<name>/mean``) and
    of the weighted sum (``val/reward/mean``). A query's scores depend on its id, not on the number
    of processes.
    """

    step: str  # the folder in the run

    def __init__(
        self,
        generator: DirectionGenerator,
        seed: int,
        optimizer: OptimizerCallable,
        schedule: RateSchedule,
        run: Run | None,
        reward: Reward | None,
        retrieval: Retrieval,
        query_time: QueryTime,
    ) -> None:
        super().__init__(optimizer, schedule)
        query_time.facts()  # raises now, not at export, if it cannot be saved
        self.generator, self.seed = generator, seed
        self.run, self.reward = run, reward
        self.searcher = None if run is None else run.searcher(cached=retrieval.cached)
        self.retrieval, self.query_time = retrieval, query_time
        objectives = {} if reward is None else reward.objectives
        scorable = {name: each for name, each in objectives.items() if each.needs <= SEEN}
        self.val_metrics = objective_metrics(scorable, prefix="val/")
        self.val_reward = None  # unless a generated set has the fields of every weighted objective
        if reward is not None and reward.deciding_needs <= SEEN:
            self.val_reward = ObjectiveMetric(reward.score, "reward")

    def validate_queries(self, queries: list[Query]) -> None:
        """Generate, retrieve and measure for B validation queries."""
        if self.searcher is None or len(self.val_metrics) == 0:
            return
        pool_size = self.retrieval.pool_size
        sets = generated_sets(self.generator, self.searcher, queries, pool_size, self.query_time)
        scores, logged = dict[str, Tensor](), dict[str, Metric]()
        for name, metric in self.val_metrics.items(keep_base=True):
            scores[name] = metric.objective(sets)  # type: ignore[operator]
            metric.update(scores[name])
            logged[f"val/{name}/mean"] = metric
        if self.val_reward is not None and self.reward is not None:
            self.val_reward.update(self.reward.total(scores))
            logged["val/reward/mean"] = self.val_reward
        self.log_dict(logged, batch_size=len(queries), add_dataloader_idx=False)

    def export(self, folder: str | Path | None = None) -> None:
        """Write the generator and how it answers at query time, for loading without Lightning."""
        self.write(self.generator, self.export_folder(folder))

    def export_folder(self, folder: str | Path | None) -> Path:
        """Return ``folder``, or by default where the run's retriever looks for this step's model.

        Raises:
            InputError: If there is neither a folder nor a run.
        """
        if folder is not None:
            return Path(folder)
        if self.run is None:
            raise InputError(
                expected="a folder or a run to export to", found="neither", remedy="Name one."
            )
        return self.run.step(self.step) / "model"

    def write(self, generator: DirectionGenerator, folder: Path) -> None:
        """Write a generator, and how it answers at query time."""
        generator.save(folder)
        self.query_time.save(folder, None if self.searcher is None else self.searcher.bank)

    def random(self, *numbers: int) -> torch.Generator:
        """Return a generator whose state depends on the module's seed and ``numbers`` alone."""
        mixed = np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(mixed[0] >> 1))


class GeneratorTraining(GeneratorModule, ABC):
    """Trains a generator on target sets."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.val_loss = MeanMetric().set_dtype(torch.float64)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean loss of one batch, with noise that depends on seed, step and batch alone."""
        condition, rows = batch
        self.check_shape(rows)
        random = self.random(0, self.global_step, batch_idx)
        loss = self.training_loss(condition, rows, random).mean()
        self.log("train/loss/mean", loss, batch_size=len(rows), prog_bar=True)
        return loss

    @abstractmethod
    def training_loss(self, condition: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
        """Return losses of queries (B, d) and their target rows (B, L, d)."""

    def validation_step(
        self, batch: tuple[Any, ...], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the loss of held-out sets, with the same noise in every epoch, or measure queries."""
        if len(batch) == 2:
            self.validate_queries(batch[1])
            return
        self.check_shape(batch[2])
        loss = self.held_out_loss(*batch)
        self.val_loss.update(loss)
        logging: dict[str, Any] = {"batch_size": len(loss), "add_dataloader_idx": False}
        self.log("val/loss/mean", self.val_loss, prog_bar=True, **logging)

    @abstractmethod
    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the loss (B,) of held-out sets ``first`` to ``first`` + B − 1."""

    def held_out_noise(self, first: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return times (B,) and standard normal (B, L, d) for held-out rows (B, L, d).

        They depend on the number of a set alone, from ``first`` on. Times are spread evenly over
        [0, 1): multiples of the golden ratio.
        """
        numbers = range(first, first + len(rows))
        t = torch.tensor([number * GOLDEN % 1 for number in numbers], device=rows.device)
        seeds = [query_seed(f"held out {number}", self.seed) for number in numbers]
        return t, seeded_noise(seeds, (rows.shape[1], rows.shape[2]), rows.device)()

    def shared(self, size: int) -> tuple[int, slice]:
        """Return how many examples all ranks have if each has ``size``, and which are this rank's.

        Each rank draws the noise of all ranks and uses its share (every ranks-th), so that training
        does not depend on their number.
        """
        ranks = 1 if self._trainer is None else self.trainer.world_size
        return size * ranks, slice(self.global_rank, None, ranks)

    def check_shape(self, rows: Tensor) -> None:
        """Refuse target rows (B, L, d) unless their (L, d) is the network's."""
        expected = (self.generator.set_size, self.generator.dim)
        if tuple(rows.shape[1:]) != expected:
            raise InputError(
                expected=f"target sets of the network's (L, d) = {expected}",
                found=f"{tuple(rows.shape[1:])}",
                remedy="Set the network's set_size to theirs and omit its dim "
                f"(--model.init_args.generator.init_args.network.init_args.set_size {rows.shape[1]}); "
                "a student needs the sets that its teacher was trained on.",
            )


def on_its_device(generator: DirectionGenerator) -> Generate:
    """Return a function that generates on the generator's device, for queries (B, d) on any."""

    def generate(queries: Tensor, seeds: Sequence[int]) -> Tensor:
        device = next(generator.parameters()).device
        return generator(queries.to(device), seeds).float().to(queries.device)

    return generate


def generated_sets(
    generator: DirectionGenerator,
    searcher: Searcher,
    queries: Sequence[Query],
    pool_size: int | None = None,
    query_time: QueryTime = QueryTime(),
) -> SetBatch:
    """Generate all L directions of B queries and retrieve; seeds depend on query ids alone.

    The encoder must know a word of each query. A set gets a pool of ``pool_size`` distinct items, if
    any, with the anchor and the order of ``query_time``, but without its choice.
    """
    texts = [query.text for query in queries]
    vectors = searcher.encode_queries(texts)
    seeds = [query_seed(query.id, 0) for query in queries]
    generated = on_its_device(generator)(vectors, seeds)
    directions = anchored(vectors, generated, query_time.anchor)
    sets = query_time.retrieve(searcher, vectors, directions, directions.shape[1], texts, pool_size)
    return sets.extended(**searcher.reference_fields(queries))
