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
    """What hides rows and queries while a denoiser is trained.

    Args:
        schedule: Training noise levels are its sigma(t) at uniform t; ``Exponential()``, which is
            log-uniform, by default.
        condition_drop: Probability in [0, 1] that the learned null condition replaces a query.
        measure_sigma_data: Whether to set the generator's sigma_data to the root mean square of the
            target rows' coordinates; for unit rows that is its default, 1/√d.
        seed: Of the noise; mixed with the step.

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
        noise: Training noise.
        optimizer: Adam at 3e-4 by default.
        schedule: Of the learning rate; ``WarmupCosine(1000)`` by default.
        run: Folder of the run to validate on and to export to.
        reward: Its objectives are the validation metrics.
        retrieval: For validation: the pool that some objectives need.
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
        """Measure sigma_data on request; the data module must be able to."""
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

    def training_loss(self, condition: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
        """Return loss (9) of each set, rows in a random order, some conditions dropped."""
        (total, mine), device = self.shared(len(rows)), rows.device
        order = torch.rand(total, rows.shape[1], generator=random, device=device)[mine]
        rows = rows.take_along_dim(order.argsort(dim=1)[..., None], dim=1)
        draws = torch.rand(total, generator=random, device=device)[mine]
        # One time per stratum of [0, 1]: each is uniform, and a batch covers the whole range.
        t = torch.arange(total, device=device) + torch.rand(total, generator=random, device=device)
        noise = torch.randn(total, *rows.shape[1:], generator=random, device=device)[mine]
        dropped = draws < self.noise.condition_drop
        return self.loss(condition, rows, dropped, (t / total)[mine], noise)

    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return loss (9) of held-out sets, no condition dropped."""
        dropped = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        t, noise = self.held_out_noise(first, rows)
        return self.loss(condition, rows, dropped, t, noise)

    def loss(
        self, condition: Tensor, rows: Tensor, dropped: Tensor, t: Tensor, noise: Tensor
    ) -> Tensor:
        """Return loss (9) of each set (B,), at times ``t`` (B,) of the noise schedule.

        Other arguments are those of ``Denoiser.bind`` and ``denoising_loss``.
        """
        denoiser = self.generator.denoiser
        sigma = self.noise_schedule.scaled(denoiser.sigma_data).sigma(t)
        bound = denoiser.bind(condition, dropped)
        return denoising_loss(bound, rows, sigma, noise, denoiser.sigma_data)
