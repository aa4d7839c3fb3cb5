"""Batches of target sets → a trained ``DirectionGenerator`` (stage 3, eq. 9)."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from r4t.choice import CHOICE_FILE, KNOWN, check_choice
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.precondition import denoising_loss
from r4t.diffusion.schedule import Exponential, Schedule
from r4t.errors import InputError
from r4t.metrics import objective_metrics
from r4t.reward import Reward
from r4t.run import Run

# What validation sees of a held-out query: its embedding, no references and no texts.
SEEN = KNOWN | {"pool"}


class DiffusionRetriever(LightningModule):
    """Trains the denoiser of a ``DirectionGenerator`` with loss (9).

    No hyper-parameters go into the checkpoint: a run's YAML builds the module, a checkpoint resumes
    it, and ``export`` writes what is deployed. Averaged weights come from Lightning's
    ``EMAWeightAveraging(decay=0.9999, update_every_n_steps=1)`` callback.

    With a run, validation generates directions for the held-out queries, retrieves, and logs every
    objective of ``reward`` that needs no references as ``val/<name>/mean``.

    Attributes:
        generator: What is trained; samples with the current weights.
    """

    step = "distill"

    def __init__(
        self,
        generator: DirectionGenerator,
        training_noise: Schedule | None = None,
        condition_drop: float = 0.1,
        learning_rate: float = 3e-4,
        warmup_steps: int = 1000,
        decay_steps: int | None = None,
        seed: int = 0,
        run: str | None = None,
        reward: Reward | None = None,
        pool_size: int | None = None,
        choose_by: Reward | None = None,
        draws: int = 1,
    ) -> None:
        """Choose how to train.

        Args:
            generator: Network, schedule and sampler.
            training_noise: Sigma of training is its sigma(t) at a uniform t; ``Exponential()``,
                log-uniform, by default.
            condition_drop: Probability in [0, 1] that a set's query is replaced by the learned
                null condition.
            learning_rate: Peak, of Adam.
            warmup_steps: Optimizer steps of linear warm-up.
            decay_steps: Optimizer step at which the cosine reaches 0; the trainer's last step by
                default.
            seed: Of the training noise, with which rank and step are mixed.
            run: Run folder: where to retrieve in validation, and where to export.
            reward: Its objectives are the metrics of validation.
            pool_size: Distinct items retrieved a set, for objectives that need a pool.
            choose_by: Exported with the model: at query time the best directions by it are used,
                of all rows of ``draws`` generated sets. Installed objectives only.
            draws: Sets generated a query at query time.

        Raises:
            InputError: ``condition_drop`` is outside [0, 1], or ``choose_by`` reads what is not
                known before retrieval, or objects that a saved model could not name.
        """
        super().__init__()
        if not 0 <= condition_drop <= 1:
            raise InputError(
                f"condition_drop is a probability in [0, 1], found {condition_drop}: change it."
            )
        self.generator = generator
        noise = Exponential() if training_noise is None else training_noise
        self.training_noise = noise.scaled(generator.denoiser.sigma_data)
        self.condition_drop = condition_drop
        self.learning_rate = learning_rate
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.seed = seed
        self.run = None if run is None else Run.open(run)
        self.searcher = None if self.run is None else self.run.searcher()
        self.pool_size = pool_size
        if choose_by is not None:
            check_choice(choose_by.deciding_needs, choose_by.weighted_objectives, choose_by.costly)
            if choose_by.given:
                raise InputError(
                    f"A saved model names the objectives it chooses by, so they must be installed "
                    f"and built without arguments — found objects for {sorted(choose_by.given)}; "
                    "leave them out of choose_by."
                )
        self.choice = {
            "weights": {} if choose_by is None else choose_by.weights,
            "draws": draws,
        }
        objectives = {} if reward is None else reward.objectives
        seen = {name: o for name, o in objectives.items() if o.needs <= SEEN}
        self.val_metrics = objective_metrics(seen, prefix="val/")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return loss (9) on one batch, rows in a random order, some conditions dropped.

        All ranks share one global random state, so rank, step and batch are mixed into the seed.
        """
        condition, rows = batch
        random = self._random(0, self.global_rank, self.global_step, batch_idx)
        order = torch.rand(rows.shape[:2], generator=random, device=rows.device).argsort(dim=1)
        rows = rows.take_along_dim(order[..., None], dim=1)
        chance = torch.rand(len(rows), generator=random, device=rows.device)
        loss = self.loss(condition, rows, chance < self.condition_drop, random).mean()
        self.log("train/loss/mean", loss, batch_size=len(rows), prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss (9) with the noise of this batch, the same in every epoch, and the metrics."""
        condition, rows = batch
        random = self._random(1, self.global_rank, batch_idx)
        kept = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        loss = self.loss(condition, rows, kept, random).mean()
        self._log_mean("loss", loss, len(rows), prog_bar=True)
        if self.searcher is not None and len(self.val_metrics) > 0:
            queries = condition.unique(dim=0)
            directions = self.generator(queries, range(len(queries)))
            sets = self.searcher.fan_out(queries, directions, pool_size=self.pool_size)
            for metric in self.val_metrics.values():
                metric.update(sets)
            self.log_dict(self.val_metrics, batch_size=len(queries))

    def loss(
        self, condition: Tensor, rows: Tensor, dropped: Tensor, random: torch.Generator
    ) -> Tensor:
        """Loss (9) of each set, at noise levels spread evenly over the training distribution.

        Args:
            condition: Query embeddings (B, d).
            rows: Target rows (B, L, d).
            dropped: (B,) bool, True where the null condition takes the query's place.
            random: Of sigma and noise.

        Returns:
            (B,).

        Raises:
            InputError: The rows are not the (L, d) of the network.
        """
        expected = (self.generator.set_size, self.generator.dim)
        if tuple(rows.shape[1:]) != expected:
            raise InputError(
                f"The network generates sets of (L, d) = {expected}, found target sets of "
                f"{tuple(rows.shape[1:])}: set the network's set_size and dim to them."
            )
        size, device = len(rows), rows.device
        # One time per stratum of [0, 1]: each is uniform, and a batch covers the whole range.
        t = torch.arange(size, device=device) + torch.rand(size, generator=random, device=device)
        sigma = self.training_noise.sigma(t / size)
        noise = torch.randn(rows.shape, generator=random, device=device)
        denoiser = self.generator.denoiser
        bound = denoiser.bind(condition, dropped)
        return denoising_loss(bound, rows, sigma, noise, denoiser.sigma_data)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with linear warm-up and cosine decay, per step.

        Raises:
            InputError: The decay has no end: neither the trainer nor ``decay_steps`` gives one.
        """
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate)
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
        if folder is None and self.run is not None:
            folder = self.run.step(self.step) / "model"
        if folder is None:
            raise InputError("An export needs a folder or a run, found neither: name one.")
        self.generator.save(folder)
        text = json.dumps(self.choice, indent=2) + "\n"
        (Path(folder) / CHOICE_FILE).write_text(text, encoding="utf-8")

    def _random(self, *numbers: int) -> torch.Generator:
        mixed = np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(mixed[0] >> 1))

    def _log_mean(self, name: str, value: Tensor, size: int, prog_bar: bool = False) -> None:
        key = f"val/{name}/mean"
        self.log(key, value, batch_size=size, on_epoch=True, sync_dist=True, prog_bar=prog_bar)


def warmup_cosine(step: int, warmup: int, last: int) -> float:
    """Factor on the peak rate: linear to 1 over ``warmup``, then half a cosine to 0 at ``last``.

    Example:
        >>> [round(warmup_cosine(step, warmup=4, last=8), 3) for step in (0, 3, 4, 6, 8)]
        [0.25, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, last - warmup))
    return (1 + math.cos(math.pi * progress)) / 2
