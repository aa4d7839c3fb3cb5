"""A trained generator → a student of it that needs one to four evaluations (stage 4)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from r4t.choice import QueryTime
from r4t.diffusion.gate import allowed_losses, export_best
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import Relay
from r4t.diffusion.sampler import Euler, Multistep
from r4t.diffusion.schedule import Karras, Levels
from r4t.diffusion.training import GeneratorTraining, check_share
from r4t.diffusion.trajectory import distillation_loss, segment
from r4t.errors import InputError, check_least
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval
from r4t.training.learning_rate import RateSchedule, WarmupCosine


@dataclass(frozen=True)
class Trajectory:
    """A teacher's trajectories, and the steps in which a student learns them.

    Args:
        teacher: Folder of the teacher, inside the run if there is one.
        teacher_steps: Multistep steps of the teacher's trajectory, at least 2.
        guidance: w ≥ 0 of the trajectory, which the student learns with it; the teacher's by
            default.
        levels: Noise levels at which the student is evaluated, decreasing, in units of sigma_data.
        own_share: Share in [0, 1] of sets that continue from the student's own landing.
        seed: Of the noise that trajectories begin with; mixed with the step.

    Raises:
        InputError: If a number is out of its range, or there is no level.
    """

    teacher: str = "distill/model"
    teacher_steps: int = 24
    guidance: float | None = None
    levels: tuple[float, ...] = (80.0, 2.0, 1.0, 0.4)
    own_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_least({"teacher_steps": (self.teacher_steps, 2)})
        check_share("own_share", self.own_share)
        if len(self.levels) == 0:
            raise InputError(
                expected="at least one noise level for a student", found="none", remedy="Name some."
            )

    def folder(self, run: Run | None) -> Path:
        """Return the teacher's folder."""
        return Path(self.teacher) if run is None else run.folder / self.teacher

    def load_teacher(self, run: Run | None) -> DirectionGenerator:
        """Return the teacher with the sampler and guidance of the trajectory."""
        teacher = DirectionGenerator.load(self.folder(run))
        teacher.sampler = Multistep(self.teacher_steps)
        if self.guidance is not None:
            teacher.guidance = self.guidance
        return teacher


class FewStepStudent(GeneratorTraining):
    """Trains a copy of a generator to do in a few Euler steps what its ODE does in many.

    See ``r4t.diffusion.trajectory`` for the loss. Few steps can cost diversity, so an export must
    pass a gate on the run's validation queries: see ``GateReport``. It measures the student, and a
    hybrid that leaves the first step to the teacher, both as they will answer (with ``query_time``),
    against the teacher as it is deployed, and exports the better one with the scores in
    ``gate.json``. A model that fails goes to ``rejected`` instead, with a warning.

    Args:
        run: Folder of the run with the teacher, to validate on and to export to.
        trajectory: The teacher, and the student's steps.
        max_loss: What an export may lose of the teacher's composite and Vendi score, at least 0:
            0.1 is a tenth of their standard deviation over queries; 20 lets everything pass. One
            number for both, or ``{composite: 0.1, vendi: 0.5}``.
        optimizer: Adam at 3e-4 by default.
        schedule: Of the learning rate; ``WarmupCosine(100)`` by default.
        reward: Its weighted sum is the composite; its objectives are the validation metrics.
        retrieval: For validation: the pool that some objectives need.
        query_time: Exported with the model.

    Raises:
        InputError: If ``max_loss`` does not fit, or the teacher does not load.
    """

    step = "accelerate"

    def __init__(
        self,
        run: str | None = None,
        trajectory: Trajectory = Trajectory(),
        max_loss: float | dict[str, float] = 0.1,
        optimizer: OptimizerCallable = lambda weights: torch.optim.Adam(weights, lr=3e-4),
        schedule: RateSchedule | None = None,
        reward: Reward | None = None,
        retrieval: Retrieval = Retrieval(),
        query_time: QueryTime = QueryTime(),
    ) -> None:
        allowed_losses(max_loss)
        schedule = WarmupCosine(100) if schedule is None else schedule
        opened = None if run is None else Run.open(run)
        teacher = trajectory.load_teacher(opened)
        student = student_of(teacher, trajectory.levels)
        super().__init__(
            student, trajectory.seed, optimizer, schedule, opened, reward, retrieval, query_time
        )
        self.max_loss, self.own_share = max_loss, trajectory.own_share
        self._teacher_folder = trajectory.folder(opened)
        self._teacher = (teacher.requires_grad_(False),)  # a tuple hides it from state and averages
        self.levels = student.schedule.steps(student.sampler.steps)  # (S + 1,), down to 0
        steps = trajectory.teacher_steps
        pairs = pairwise(self.levels.tolist())
        self.segments = [segment(teacher.schedule, *pair, steps) for pair in pairs]

    @property
    def teacher(self) -> DirectionGenerator:
        """The frozen teacher, on the module's device."""
        return self._teacher[0].to(self.device)

    def training_loss(self, condition: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
        """Return the loss of each step for each query; only the shape of ``rows`` is used."""
        total, mine = self.shared(len(condition))
        noise = torch.randn(total, *rows.shape[1:], generator=random, device=self.device)[mine]
        own_landing = torch.rand(total, generator=random, device=self.device)[mine] < self.own_share
        return self.losses(condition, noise, own_landing)

    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the mean loss of all steps, each continued from the student's own landing."""
        _, noise = self.held_out_noise(first, rows)
        own_landing = torch.ones(len(condition), dtype=torch.bool, device=self.device)
        return self.losses(condition, noise, own_landing).mean(0)

    def losses(self, condition: Tensor, noise: Tensor, own_landing: Tensor) -> Tensor:
        """Return ``distillation_loss`` (S, B) for queries (B, d) and standard normal noise (B, L, d)."""
        with torch.no_grad():
            teacher = self.teacher.denoise_fn(condition)
        denoiser, levels = self.generator.denoiser, self.levels.to(self.device)
        student, start, unit = denoiser.bind(condition), levels[0] * noise, denoiser.sigma_data
        return distillation_loss(student, teacher, start, levels, self.segments, unit, own_landing)

    def export(self, folder: str | Path | None = None) -> None:
        """Export the better of student and hybrid, if it passes the gate; else to ``rejected``."""
        place = self.export_folder(folder)
        models = {"student": self.generator, "hybrid": self.hybrid()}
        advice = "Train longer, give it more levels, or raise max_loss."
        folder = self._teacher_folder
        teacher = ("teacher", DirectionGenerator.load(folder), QueryTime.load(folder))
        export_best(self, place, teacher, models, self.max_loss, advice)

    def hybrid(self) -> DirectionGenerator:
        """Return the student with its first step left to the unguided teacher; weights are shared."""
        student, levels = self.generator, self.levels.tolist()
        until = levels[0] / 2 if len(levels) == 2 else (levels[0] * levels[1]) ** 0.5
        relay = Relay(self.teacher.network, student.network, until)
        sigma_data = student.denoiser.sigma_data
        return DirectionGenerator(relay, student.schedule, student.sampler, 0.0, sigma_data)


def student_of(teacher: DirectionGenerator, levels: Sequence[float]) -> DirectionGenerator:
    """Return a copy of ``teacher`` that samples by Euler steps from the given levels.

    Of a hybrid it copies the network that has all the levels.

    Raises:
        InputError: If the levels do not decrease, or those of a hybrid belong to both networks.
    """
    network = teacher.network
    if isinstance(network, Relay):
        above = {level * teacher.denoiser.sigma_data > network.until for level in levels}
        if len(above) > 1:
            raise InputError(
                expected="a teacher of one network for these levels",
                found=f"a hybrid of two for {list(levels)}",
                remedy="Name a model that stage 3 exported, or use one level.",
            )
        network = network.first if above.pop() else network.then
    network = copy.deepcopy(network)
    network.keep_condition()  # guidance is learned
    schedule = Levels(tuple(levels)) if len(levels) > 1 else Karras(0.01, levels[0])
    sigma_data, sampler = teacher.denoiser.sigma_data, Euler(len(levels))
    return DirectionGenerator(network, schedule, sampler, 0.0, sigma_data).train()
