"""Batches of target sets → a trained ``DirectionGenerator`` (stage 3, eq. 9)."""

from dataclasses import dataclass

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from r4t.choice import QueryTime
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.precondition import denoising_loss
from r4t.diffusion.schedule import Exponential, Schedule
from r4t.diffusion.training import GeneratorTraining, check_share
from r4t.errors import InputError
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval
from r4t.training.learning_rate import RateSchedule, WarmupCosine


@dataclass(frozen=True)
class TrainingNoise:
    """What hides the rows of a set, and its query, while a denoiser is trained.

    Args:
        schedule: Sigma of training is its sigma(t) at a uniform t; ``Exponential()``, log-uniform,
            by default.
        condition_drop: Probability in [0, 1] that a set's query is replaced by the learned null
            condition.
        measure_sigma_data: Whether sigma_data is measured, as the root mean square of the target
            rows' coordinates, instead of the generator's; for unit rows both are 1/√d.
        seed: Of the noise; it is mixed with the step.

    Raises:
        InputError: If ``condition_drop`` is outside [0, 1].
    """

    schedule: Schedule | None = None
    condition_drop: float = 0.1
    measure_sigma_data: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_share("condition_drop", self.condition_drop)


class DiffusionRetriever(GeneratorTraining):
    """Trains the denoiser of a ``DirectionGenerator`` by loss (9).

    Args:
        generator: Network, schedule and sampler.
        noise: Of training.
        optimizer: Adam at 3e-4 by default.
        schedule: Of the learning rate; ``WarmupCosine(1000)`` by default.
        run: Run folder: where to retrieve in validation, and where to export.
        reward: Its objectives are the metrics of validation.
        retrieval: Of validation: the pool that some objectives need.
        query_time: Exported with the model.
    """

    step = "distill"

    def __init__(
        self,
        generator: DirectionGenerator,
        noise: TrainingNoise = TrainingNoise(),
        optimizer: OptimizerCallable = lambda weights: torch.optim.Adam(weights, lr=3e-4),
        schedule: RateSchedule | None = None,
        run: str | None = None,
        reward: Reward | None = None,
        retrieval: Retrieval = Retrieval(),
        query_time: QueryTime = QueryTime(),
    ) -> None:
        schedule = WarmupCosine(1000) if schedule is None else schedule
        opened = None if run is None else Run.open(run)
        super().__init__(
            generator, noise.seed, optimizer, schedule, opened, reward, retrieval, query_time
        )
        self.noise = noise
        self.noise_schedule = Exponential() if noise.schedule is None else noise.schedule

    def on_fit_start(self) -> None:
        """Measure sigma_data if the noise says so.

        Raises:
            InputError: If the data module cannot measure the sigma_data of its rows.
        """
        if not self.noise.measure_sigma_data:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not hasattr(data, "sigma_data"):
            raise InputError(
                expected="a data module with a sigma_data method, such as TargetData, for "
                "measure_sigma_data",
                found=type(data).__name__,
                remedy="Give the generator a sigma_data instead.",
            )
        self.generator.set_sigma_data(data.sigma_data())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return loss (9) on one batch, rows in a random order, some conditions dropped."""
        condition, rows = batch
        random, device = self.random(0, self.global_step, batch_idx), rows.device
        every, mine = self.shared(len(rows))
        order = torch.rand(every, rows.shape[1], generator=random, device=device)[mine]
        rows = rows.take_along_dim(order.argsort(dim=1)[..., None], dim=1)
        draws = torch.rand(every, generator=random, device=device)[mine]
        # One time per stratum of [0, 1]: each is uniform, and a batch covers the whole range.
        t = torch.arange(every, device=device) + torch.rand(every, generator=random, device=device)
        noise = torch.randn(every, *rows.shape[1:], generator=random, device=device)[mine]
        dropped = draws < self.noise.condition_drop
        loss = self.loss(condition, rows, dropped, (t / every)[mine], noise).mean()
        self.log("train/loss/mean", loss, batch_size=len(rows), prog_bar=True)
        return loss

    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return loss (9) of held-out sets, no condition dropped."""
        dropped = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        t, noise = self.held_out_noise(first, rows)
        return self.loss(condition, rows, dropped, t, noise)

    def loss(
        self, condition: Tensor, rows: Tensor, dropped: Tensor, t: Tensor, noise: Tensor
    ) -> Tensor:
        """Return loss (9) of each set (B,).

        Args:
            condition: Query embeddings (B, d).
            rows: Target rows (B, L, d).
            dropped: (B,) bool, True where the null condition takes the query's place.
            t: Times (B,) in [0, 1] of the training noise.
            noise: Standard normal (B, L, d).

        Raises:
            InputError: If the rows are not the (L, d) of the network.
        """
        self.check_shape(rows)
        denoiser = self.generator.denoiser
        sigma = self.noise_schedule.scaled(denoiser.sigma_data).sigma(t)
        bound = denoiser.bind(condition, dropped)
        return denoising_loss(bound, rows, sigma, noise, denoiser.sigma_data)
