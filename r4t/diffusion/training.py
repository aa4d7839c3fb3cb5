"""What both trainings of a generator share: noise, validation by retrieval, the exported folder."""

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

from r4t.choice import KNOWN, QueryTime
from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.sampler import seeded_noise
from r4t.errors import InputError
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval, Searcher, anchored
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed
from r4t.training.learning_rate import RateSchedule, ScheduledModule

SEEN = KNOWN | {"pool", "references", "query_texts"}  # fields of a generated set; it has no texts
GOLDEN = (5**0.5 - 1) / 2


def check_share(name: str, share: float) -> None:
    """Refuse a share or probability outside [0, 1]."""
    if not 0 <= share <= 1:
        raise InputError(expected=f"{name} in [0, 1]", found=f"{share}", remedy="Correct it.")


class CompileNetwork(Callback):
    """Compiles the network that a fit trains (``torch.compile``): faster steps after a wait."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile the network of the module's generator."""
        pl_module.generator.network.compile()  # type: ignore[union-attr]


class GeneratorTraining(ScheduledModule, ABC):
    """Trains the network of a ``DirectionGenerator``; a subclass has the loss and the arguments.

    No hyper-parameters go into the checkpoint: a run's YAML builds the module, a checkpoint resumes
    it, and ``export`` writes the model that is deployed. Averaged weights come from Lightning's
    callback ``EMAWeightAveraging(update_every_n_steps=1)``; validation and export use them too.

    With a run, validation generates directions for the run's validation queries in the generator's
    own few steps, retrieves, and logs the mean of every objective of ``reward`` that can score a
    generated set (``val/<name>/mean``), and of their weighted sum (``val/reward/mean``). A query's
    numbers depend on its id, not on how many processes share the queries.
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
        query_time.facts()  # refuses now what the export could not save
        self.generator, self.seed = generator, seed
        self.run, self.reward = run, reward
        self.searcher = None if run is None else run.searcher(cached=retrieval.cached)
        self.retrieval, self.query_time = retrieval, query_time
        objectives = {} if reward is None else reward.objectives
        scorable = {name: each for name, each in objectives.items() if each.needs <= SEEN}
        self.val_metrics = objective_metrics(scorable, prefix="val/")
        self.val_reward = None  # the weighted sum, if a generated set has the fields of every term
        if reward is not None and reward.deciding_needs <= SEEN:
            self.val_reward = ObjectiveMetric(reward.score, "reward")
        self.val_loss = MeanMetric().set_dtype(torch.float64)

    def validation_step(
        self, batch: tuple[Any, ...], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the loss of held-out sets, with the same noise in every epoch, or measure queries."""
        if len(batch) == 2:
            self.validate_queries(batch[1])
            return
        loss = self.held_out_loss(*batch)
        self.val_loss.update(loss)
        self.log(
            "val/loss/mean", self.val_loss, batch_size=len(loss), prog_bar=True,
            add_dataloader_idx=False,
        )  # fmt: skip

    @abstractmethod
    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the loss (B,) of held-out sets ``first`` to ``first`` + B − 1."""

    def validate_queries(self, queries: list[Query]) -> None:
        """Generate, retrieve and measure for B queries of the validation split."""
        if self.searcher is None or len(self.val_metrics) == 0:
            return
        pool_size, anchor = self.retrieval.pool_size, self.query_time.anchor
        sets = generated_sets(self.generator, self.searcher, queries, pool_size, anchor)
        scores: dict[str, Tensor] = {}
        logged: dict[str, Metric] = {}
        for name, metric in self.val_metrics.items(keep_base=True):
            scores[name] = metric.objective(sets)  # type: ignore[operator]
            metric.update(scores[name])
            logged[f"val/{name}/mean"] = metric
        if self.val_reward is not None and self.reward is not None:
            self.val_reward.update(self.reward.total(scores))
            logged["val/reward/mean"] = self.val_reward
        self.log_dict(logged, batch_size=len(queries), add_dataloader_idx=False)

    def export(self, folder: str | Path | None = None) -> None:
        """Write the generator, as ``DirectionGenerator.load`` reads it without Lightning.

        Args:
            folder: By default where the run's retriever looks for the model.

        Raises:
            InputError: If there is neither a folder nor a run.
        """
        self.write(self.generator, self.place(folder))

    def place(self, folder: str | Path | None) -> Path:
        """Return ``folder``, or by default that of this step's model in the run."""
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
        self.query_time.save(folder)

    def random(self, *numbers: int) -> torch.Generator:
        """Return a generator whose state follows from the module's seed and ``numbers`` alone."""
        mixed = np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(mixed[0] >> 1))

    def held_out_noise(self, first: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return times and noise of held-out sets: the same in every epoch, batch and process.

        Args:
            first: Number of the first set among all that are held out.
            rows: (B, L, d) of sets ``first`` to ``first`` + B − 1.

        Returns:
            Times (B,), spread evenly over [0, 1) (multiples of the golden ratio), and standard
            normal (B, L, d).
        """
        numbers = range(first, first + len(rows))
        t = torch.tensor([number * GOLDEN % 1 for number in numbers], device=rows.device)
        seeds = [query_seed(f"held out {number}", self.seed) for number in numbers]
        return t, seeded_noise(seeds, (rows.shape[1], rows.shape[2]), rows.device)()

    def shared(self, size: int) -> tuple[int, slice]:
        """Return how many examples all ranks have, if this one has ``size``, and which are its own.

        Noise is drawn for the batch of all ranks, and each takes its own (every ranks-th), so that
        training does not depend on their number.
        """
        ranks = 1 if self._trainer is None else self.trainer.world_size
        return size * ranks, slice(self.global_rank, None, ranks)

    def check_shape(self, rows: Tensor) -> None:
        """Refuse rows (B, L, d) of target sets that are not the (L, d) of the network."""
        expected = (self.generator.set_size, self.generator.dim)
        if tuple(rows.shape[1:]) != expected:
            raise InputError(
                expected=f"target sets of the network's (L, d) = {expected}",
                found=f"{tuple(rows.shape[1:])}",
                remedy="Set the network's set_size to theirs and leave its dim to the catalog "
                f"(--model.init_args.generator.init_args.network.init_args.set_size {rows.shape[1]}); "
                "a student needs the sets that its teacher was trained on.",
            )


def generated_sets(
    generator: DirectionGenerator,
    searcher: Searcher,
    queries: Sequence[Query],
    pool_size: int | None = None,
    anchor: float = 0.0,
) -> SetBatch:
    """Generate all L directions of B queries, each from a seed of its own, and retrieve for them.

    The encoder must know a word of each query. ``pool_size`` distinct items are retrieved a set (no
    pool by default); ``anchor`` is the share of the query in each direction, see ``anchored``.
    """
    texts = [query.text for query in queries]
    vectors = searcher.encode_queries(texts)
    device = next(generator.parameters()).device
    seeds = [query_seed(query.id, 0) for query in queries]
    directions = generator(vectors.to(device), seeds).float().to(vectors.device)
    directions = anchored(vectors, directions, anchor)
    sets = searcher.retrieve(vectors, directions, query_texts=texts, pool_size=pool_size)
    return sets.extended(references=searcher.references(queries))
