"""Batches of target sets → a trained ``DirectionGenerator`` (stage 3, eq. 9)."""

import torch
from torch import Tensor

from r4t.choice import Choice
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.precondition import denoising_loss
from r4t.diffusion.schedule import Exponential, Schedule
from r4t.diffusion.training import GeneratorTraining
from r4t.errors import InputError
from r4t.reward import Reward
from r4t.run import Run


class DiffusionRetriever(GeneratorTraining):
    """Trains the denoiser of a ``DirectionGenerator`` with loss (9)."""

    step = "distill"

    def __init__(
        self,
        generator: DirectionGenerator,
        training_noise: Schedule | None = None,
        condition_drop: float = 0.1,
        measure_sigma_data: bool = False,
        learning_rate: float = 3e-4,
        warmup_steps: int = 1000,
        decay_steps: int | None = None,
        seed: int = 0,
        run: str | None = None,
        reward: Reward | None = None,
        pool_size: int | None = None,
        choice: Choice | None = None,
        anchor: float = 0.0,
        compile: bool = False,
    ) -> None:
        """Choose how to train.

        Args:
            generator: Network, schedule and sampler.
            training_noise: Sigma of training is its sigma(t) at a uniform t; ``Exponential()``,
                log-uniform, by default.
            condition_drop: Probability in [0, 1] that a set's query is replaced by the learned
                null condition.
            measure_sigma_data: Whether to take sigma_data from the target rows (the root mean square
                of their coordinates) instead of the generator's; for unit rows both are 1/√d.
            learning_rate: Peak, of Adam.
            warmup_steps: Optimizer steps of linear warm-up.
            decay_steps: Optimizer step at which the cosine reaches 0; the trainer's last step by
                default.
            seed: Of the training noise, with which the step is mixed.
            run: Run folder: where to retrieve in validation, and where to export.
            reward: Its objectives are the metrics of validation.
            pool_size: Distinct items retrieved a set, for objectives that need a pool.
            choice: Exported with the model: at query time several sets are generated and the best
                rows, or the best set, kept. By installed objectives only.
            anchor: Share of the query in each direction at query time, from 0 to below 1; exported
                with the model. For rows of sub-queries where recall is what is asked.
            compile: Whether ``torch.compile`` makes the network faster, after a wait at the start.

        Raises:
            InputError: ``condition_drop`` is outside [0, 1], or ``choice`` reads objects that a
                saved model could not name.
        """
        super().__init__(
            generator, learning_rate, warmup_steps, decay_steps, seed,
            None if run is None else Run.open(run), reward, pool_size, choice, anchor, compile,
        )  # fmt: skip
        if not 0 <= condition_drop <= 1:
            raise InputError(
                f"condition_drop is a probability in [0, 1], found {condition_drop}: change it."
            )
        self.training_noise = Exponential() if training_noise is None else training_noise
        self.condition_drop = condition_drop
        self.measure_sigma_data = measure_sigma_data

    def on_fit_start(self) -> None:
        """Measure sigma_data and compile the network, if asked to.

        Raises:
            InputError: The data module does not know the sigma_data of its rows.
        """
        super().on_fit_start()
        if not self.measure_sigma_data:
            return
        measure = getattr(self.trainer.datamodule, "sigma_data", None)  # type: ignore[attr-defined]
        if measure is None:
            raise InputError(
                "measure_sigma_data needs a data module with a sigma_data method, such as "
                f"TargetData, found {type(self.trainer.datamodule).__name__}; "  # type: ignore[attr-defined]
                "give the generator a sigma_data instead."
            )
        self.generator.set_sigma_data(measure())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return loss (9) on one batch, rows in a random order, some conditions dropped."""
        condition, rows = batch
        random, device = self.random(0, self.global_step, batch_idx), rows.device
        every, own = self.shared(len(rows))
        order = torch.rand(every, rows.shape[1], generator=random, device=device)[own]
        rows = rows.take_along_dim(order.argsort(dim=1)[..., None], dim=1)
        dropped = torch.rand(every, generator=random, device=device)[own] < self.condition_drop
        # One time per stratum of [0, 1]: each is uniform, and a batch covers the whole range.
        t = torch.arange(every, device=device) + torch.rand(every, generator=random, device=device)
        noise = torch.randn(every, *rows.shape[1:], generator=random, device=device)[own]
        loss = self.loss(condition, rows, dropped, (t / every)[own], noise).mean()
        self.log("train/loss/mean", loss, batch_size=len(rows), prog_bar=True)
        return loss

    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return loss (9) of held-out sets, no condition dropped."""
        kept = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        t, noise = self.held_out_noise(first, rows)
        return self.loss(condition, rows, kept, t, noise)

    def loss(
        self, condition: Tensor, rows: Tensor, dropped: Tensor, t: Tensor, noise: Tensor
    ) -> Tensor:
        """Loss (9) of each set.

        Args:
            condition: Query embeddings (B, d).
            rows: Target rows (B, L, d).
            dropped: (B,) bool, True where the null condition takes the query's place.
            t: Times (B,) in [0, 1] of the training noise.
            noise: Standard normal (B, L, d).

        Returns:
            (B,).

        Raises:
            InputError: The rows are not the (L, d) of the network.
        """
        expected = (self.generator.set_size, self.generator.dim)
        if tuple(rows.shape[1:]) != expected:
            raise InputError(
                f"The network generates sets of (L, d) = {expected}, found target sets of "
                f"{tuple(rows.shape[1:])}: set its set_size to theirs and leave its dim to the catalog, "
                f"as in --model.init_args.generator.init_args.network.init_args.set_size {rows.shape[1]}."
            )
        denoiser = self.generator.denoiser
        sigma = self.training_noise.scaled(denoiser.sigma_data).sigma(t)
        bound = denoiser.bind(condition, dropped)
        return denoising_loss(bound, rows, sigma, noise, denoiser.sigma_data)
