"""What both trainings of a generator share: validation by retrieval, Adam, the exported folder."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from r4t.choice import CHOICE_FILE, KNOWN, Choice
from r4t.data.queries import Query
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.sampler import seeded_noise
from r4t.errors import InputError
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Searcher, anchored, check_anchor
from r4t.sets import SetBatch, pad_rows
from r4t.support.seeds import query_seed

SEEN = KNOWN | {"pool", "references", "query_texts"}  # of a generated set; it has no texts
COMPOSITE = "reward"
GOLDEN = (5**0.5 - 1) / 2


class GeneratorTraining(LightningModule, ABC):
    """Trains the network of a ``DirectionGenerator``; a subclass has the loss.

    That is ``training_step`` and ``held_out_loss``.

    No hyper-parameters go into the checkpoint: a run's YAML builds the module, a checkpoint resumes
    it, and ``export`` writes what is deployed. Averaged weights come from Lightning's
    ``EMAWeightAveraging(update_every_n_steps=1)`` callback, which validation and export use too.

    With a run, validation generates directions for the run's validation queries with the generator's
    own few steps, retrieves, and logs every objective of ``reward`` that a generated set has all
    fields for as ``val/<name>/mean``, and their weighted sum as ``val/reward/mean``. A query's
    numbers depend on its id, not on how many processes share the queries.

    Attributes:
        generator: What is trained; samples with the current weights.
        run: The run, if there is one.
        searcher: The run's frozen retriever.
    """

    def __init__(
        self,
        generator: DirectionGenerator,
        learning_rate: float,
        warmup_steps: int,
        decay_steps: int | None,
        seed: int,
        run: Run | None,
        reward: Reward | None,
        pool_size: int | None,
        choice: Choice | None,
        anchor: float,
        compile: bool,
    ) -> None:
        """Set what a subclass was told; its constructor says what each means."""
        super().__init__()
        self.generator = generator
        self.learning_rate = learning_rate
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.seed = seed
        self.run = run
        self.searcher = None if run is None else run.searcher()
        self.pool_size = pool_size
        check_anchor(anchor)
        self.anchor = anchor
        self.choice_facts = {"weights": {}} if choice is None else choice.facts()
        self.reward = reward
        self.val_metrics = objective_metrics(seen_objectives(reward), prefix="val/")
        # The weighted sum, where a generated set has the fields of every term.
        self.composite = None
        if reward is not None and reward.deciding_needs <= SEEN:
            self.composite = reward.total
            self.val_composite = ObjectiveMetric(reward.score, COMPOSITE)
        self.val_loss = MeanMetric().set_dtype(torch.float64)
        self.compiled = compile

    def on_fit_start(self) -> None:
        """Compile the network, if asked to."""
        if self.compiled:
            self.generator.network.compile()

    def validation_step(
        self, batch: tuple[Any, ...], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the loss of held-out sets, with the same noise in every epoch, or measure queries.

        A batch is what ``TargetData.val_dataloader`` deals.
        """
        if len(batch) == 2:
            self.validate_queries(batch[1])
        else:
            self.validate_loss(self.held_out_loss(*batch))

    @abstractmethod
    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the loss (B,) of held-out sets.

        Args:
            first: Number of the first set among all that are held out.
            condition: Query embeddings (B, d).
            rows: Target rows (B, L, d).
        """

    def validate_queries(self, queries: list[Query]) -> None:
        """Generate, retrieve and measure for B queries of the validation split."""
        if self.searcher is None or len(self.val_metrics) == 0:
            return
        sets = generated_sets(self.generator, self.searcher, queries, self.pool_size, self.anchor)
        scores: dict[str, Tensor] = {}
        logged: dict[str, Metric] = {}
        for name, metric in self.val_metrics.items(keep_base=True):
            scores[name] = metric.objective(sets)  # type: ignore[operator]
            metric.update(scores[name])
            logged[f"val/{name}/mean"] = metric
        if self.composite is not None:
            self.val_composite.update(self.composite(scores))
            logged[f"val/{COMPOSITE}/mean"] = self.val_composite
        self.log_dict(logged, batch_size=len(queries), add_dataloader_idx=False)

    def validate_loss(self, loss: Tensor) -> None:
        """Add the losses (B,) of held-out sets to the validation's mean."""
        self.val_loss.update(loss)
        self.log(
            "val/loss/mean", self.val_loss, batch_size=len(loss), prog_bar=True,
            add_dataloader_idx=False,
        )  # fmt: skip

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with linear warm-up and cosine decay, per step.

        Raises:
            InputError: The decay has no end: neither the trainer nor ``decay_steps`` gives one.
        """
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.learning_rate)
        last: float = (
            self.trainer.estimated_stepping_batches
            if self.decay_steps is None
            else self.decay_steps
        )
        if not math.isfinite(last):
            raise InputError(
                "The cosine decay needs a last step, found a trainer without end: set max_steps, "
                "max_epochs or decay_steps."
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.warmup_steps, int(last))
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def export(self, folder: str | Path | None = None) -> None:
        """Write the generator, as ``DirectionGenerator.load`` reads it without Lightning.

        Args:
            folder: Where to; by default where the run's retriever looks for it.

        Raises:
            InputError: There is neither a folder nor a run.
        """
        self.write(self.generator, self.place(folder))

    def place(self, folder: str | Path | None) -> Path:
        """Return ``folder``, or that of this step's model in the run.

        Raises:
            InputError: There is neither.
        """
        if folder is not None:
            return Path(folder)
        if self.run is None:
            raise InputError("An export needs a folder or a run, found neither: name one.")
        step: str = self.step  # type: ignore[assignment]
        return self.run.step(step) / "model"

    def write(self, generator: DirectionGenerator, folder: Path) -> None:
        """Write a generator, and how to choose among what it generates."""
        generator.save(folder)
        text = json.dumps({**self.choice_facts, "anchor": self.anchor}, indent=2) + "\n"
        (folder / CHOICE_FILE).write_text(text, encoding="utf-8")

    def random(self, *numbers: int) -> torch.Generator:
        """Return random numbers that follow from the module's seed and ``numbers`` alone."""
        mixed = np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(mixed[0] >> 1))

    def held_out_noise(self, first: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Times and noise of held-out sets: the same in every epoch, batch and process.

        Args:
            first: Number of the first set among all that are held out.
            rows: (B, L, d) of sets ``first`` to ``first`` + B − 1.

        Returns:
            Times (B,), any stretch of which is spread evenly over [0, 1) (multiples of the golden
            ratio), and standard normal (B, L, d).
        """
        numbers = range(first, first + len(rows))
        t = torch.tensor([number * GOLDEN % 1 for number in numbers], device=rows.device)
        seeds = [query_seed(f"held out {number}", self.seed) for number in numbers]
        return t, seeded_noise(seeds, (rows.shape[1], rows.shape[2]), rows.device)()

    def shared(self, size: int) -> tuple[int, slice]:
        """Where this rank's examples stand in the batch of all ranks.

        Noise is drawn for the batch of all ranks and each takes its own, so that training does not
        depend on their number.

        Args:
            size: B of this rank.

        Returns:
            The examples of all ranks, and which of them are this rank's: every ranks-th.
        """
        ranks = 1 if self._trainer is None else self.trainer.world_size
        return size * ranks, slice(self.global_rank, None, ranks)


def seen_objectives(reward: Reward | None) -> dict[str, Any]:
    """Objectives of ``reward`` that a generated set of a known query has all fields for."""
    objectives = {} if reward is None else reward.objectives
    return {name: o for name, o in objectives.items() if o.needs <= SEEN}


def generated_sets(
    generator: DirectionGenerator,
    searcher: Searcher,
    queries: Sequence[Query],
    pool_size: int | None = None,
    anchor: float = 0.0,
) -> SetBatch:
    """Generate all L directions of B queries, each from a seed of its own, and retrieve for them.

    Args:
        generator: Generates.
        searcher: Retrieves.
        queries: B of them, of all of which the encoder knows a word.
        pool_size: Distinct items retrieved a set; no pool by default.
        anchor: Share of the query in each direction, see ``anchored``.
    """
    texts = [query.text for query in queries]
    vectors = searcher.encode_queries(texts)
    device = next(generator.parameters()).device
    seeds = [query_seed(query.id, 0) for query in queries]
    directions = generator(vectors.to(device), seeds).float().to(vectors.device)
    directions = anchored(vectors, directions, anchor)
    references = None
    if any(query.references for query in queries):
        references = pad_rows([searcher.catalog.rows(query.references) for query in queries])
    return searcher.retrieve(
        vectors, directions, query_texts=texts, references=references, pool_size=pool_size
    )


def warmup_cosine(step: int, warmup: int, last: int) -> float:
    """Factor on the peak rate: linear to 1 over ``warmup``, then half a cosine to 0 at ``last``.

    Examples:
        >>> [round(warmup_cosine(step, warmup=4, last=8), 3) for step in (0, 3, 4, 6, 8)]
        [0.25, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, last - warmup))
    return (1 + math.cos(math.pi * progress)) / 2
