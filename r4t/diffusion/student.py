"""A trained generator → a student of it that needs one to four evaluations (stage 4)."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from r4t.choice import QueryTime
from r4t.diffusion.gate import GateReport, measure
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
from r4t.support.files import write_text
from r4t.training.learning_rate import RateSchedule, WarmupCosine


@dataclass(frozen=True)
class Trajectory:
    """The trajectories of a teacher, and the steps in which a student learns them.

    Args:
        teacher: Folder of the teacher, inside the run if there is one.
        teacher_steps: Multistep steps of the teacher's trajectory, at least 2.
        guidance: w ≥ 0 of the trajectory, which the student learns with it; the teacher's by
            default.
        levels: Noise levels at which the student is evaluated, decreasing, in units of sigma_data:
            as many evaluations as levels.
        own_share: Share in [0, 1] of sets that continue from the student's own landing.
        seed: Of the noise that trajectories begin with; it is mixed with the step.

    Raises:
        InputError: If ``own_share`` is outside [0, 1], ``teacher_steps`` is below 2, or there is no
            level.
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

    def load_teacher(self, run: Run | None) -> DirectionGenerator:
        """Return the teacher with the sampler and guidance of the trajectory."""
        folder = Path(self.teacher) if run is None else run.folder / self.teacher
        teacher = DirectionGenerator.load(folder)
        teacher.sampler = Multistep(self.teacher_steps)
        if self.guidance is not None:
            teacher.guidance = self.guidance
        return teacher


class FewStepStudent(GeneratorTraining):
    """Teaches a copy of a generator to do in a few Euler steps what its ODE does in many.

    See ``r4t.diffusion.trajectory`` for the loss. Few steps can cost diversity, so the export passes
    a gate: on the run's validation queries the student must keep ``gate`` of the composite and of the
    Vendi score of the teacher's ODE. A hybrid that leaves the first step to the teacher is measured
    too, and exported if it keeps more. ``gate.json`` beside the model holds what was measured. A
    model that fails is written to ``rejected`` instead, with a warning.

    Args:
        run: Run folder: where the teacher is, where to retrieve in validation and to export.
        trajectory: The teacher, and the student's steps.
        gate: Share of the teacher's composite and Vendi score that an export must keep; 0 lets
            everything pass.
        optimizer: Adam at 3e-4 by default.
        schedule: Of the learning rate; ``WarmupCosine(100)`` by default.
        reward: Its weighted sum is the composite; its objectives are the metrics of validation.
        retrieval: Of validation: the pool that some objectives need.
        query_time: Exported with the model.

    Raises:
        InputError: If ``gate`` is outside [0, 1], or the teacher does not load.
    """

    step = "accelerate"

    def __init__(
        self,
        run: str | None = None,
        trajectory: Trajectory = Trajectory(),
        gate: float = 0.97,
        optimizer: OptimizerCallable = lambda weights: torch.optim.Adam(weights, lr=3e-4),
        schedule: RateSchedule | None = None,
        reward: Reward | None = None,
        retrieval: Retrieval = Retrieval(),
        query_time: QueryTime = QueryTime(),
    ) -> None:
        check_share("gate", gate)
        schedule = WarmupCosine(100) if schedule is None else schedule
        opened = None if run is None else Run.open(run)
        teacher = trajectory.load_teacher(opened)
        student = student_of(teacher, trajectory.levels)
        super().__init__(
            student, trajectory.seed, optimizer, schedule, opened, reward, retrieval, query_time
        )
        self.gate, self.own_share = gate, trajectory.own_share
        self._teacher = (teacher.requires_grad_(False),)  # a tuple hides it from state and averages
        self.levels = student.schedule.steps(student.sampler.steps)  # (S + 1,), down to 0
        self.segments = [  # the teacher's sigmas within each step
            segment(teacher.schedule, now, after, trajectory.teacher_steps)
            for now, after in pairwise(self.levels.tolist())
        ]

    @property
    def teacher(self) -> DirectionGenerator:
        """The frozen teacher, on the module's device."""
        return self._teacher[0].to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean loss of all steps on the queries of one batch; its rows are not used."""
        condition, rows = batch
        self.check_shape(rows)
        every, mine = self.shared(len(condition))
        random = self.random(0, self.global_step, batch_idx)
        shape = (every, self.generator.set_size, self.generator.dim)
        noise = torch.randn(shape, generator=random, device=self.device)[mine]
        own_landing = torch.rand(every, generator=random, device=self.device)[mine] < self.own_share
        loss = self.losses(condition, noise, own_landing).mean()
        self.log("train/loss/mean", loss, batch_size=len(condition), prog_bar=True)
        return loss

    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the mean loss of all steps, with all sets on the student's own way."""
        self.check_shape(rows)
        _, noise = self.held_out_noise(first, rows)
        own_landing = torch.ones(len(condition), dtype=torch.bool, device=self.device)
        return self.losses(condition, noise, own_landing).mean(0)

    def losses(self, condition: Tensor, noise: Tensor, own_landing: Tensor) -> Tensor:
        """Return the loss (S, B) of each step of the student, see ``distillation_loss``.

        Args:
            condition: Query embeddings (B, d).
            noise: Standard normal (B, L, d).
            own_landing: (B,) bool, whether a set continues from the student's own landing.
        """
        with torch.no_grad():
            guide = self.teacher.denoise_fn(condition)
        denoiser, levels = self.generator.denoiser, self.levels.to(self.device)
        start, unit = levels[0] * noise, denoiser.sigma_data
        bound = denoiser.bind(condition)
        return distillation_loss(bound, guide, start, levels, self.segments, unit, own_landing)

    def export(self, folder: str | Path | None = None) -> None:
        """Measure student and hybrid, and write the better one if it passes the gate.

        Args:
            folder: By default where the run's retriever looks for the model. A model that fails the
                gate is written to ``rejected`` beside it.

        Raises:
            InputError: If there is neither a folder nor a run.
        """
        place = self.place(folder)
        if self.searcher is None or self.reward is None or self.run is None:
            self.write(self.generator, place)
            return
        models = {"teacher": self.teacher, "student": self.generator, "hybrid": self.hybrid()}
        queries, _ = self.searcher.searchable(self.run.read_queries("val"))
        pool_size, anchor = self.retrieval.pool_size, self.query_time.anchor
        scores = measure(models, self.searcher, self.reward, queries, pool_size, anchor)
        report = GateReport(scores.pop("teacher"), scores, self.gate, len(queries))
        if report.passed:
            print(report)
        else:
            place = place.with_name("rejected")
            rank_zero_warn(
                f"{report}: the few-step model is kept in {place} and not deployed. Train longer, "
                "give it more levels, or lower the gate."
            )
        self.write(models[report.best], place)
        write_text(place / "gate.json", json.dumps(report.facts(), indent=2) + "\n")

    def hybrid(self) -> DirectionGenerator:
        """Return the student with its first step left to the teacher, unguided; weights are shared.

        A student of one step has no such hybrid: it would be the teacher.
        """
        student, levels = self.generator, self.levels.tolist()
        until = levels[0] / 2 if len(levels) == 2 else (levels[0] * levels[1]) ** 0.5
        relay = Relay(self.teacher.network, student.network, until)
        sigma_data = student.denoiser.sigma_data
        return DirectionGenerator(relay, student.schedule, student.sampler, 0.0, sigma_data)


def student_of(teacher: DirectionGenerator, levels: Sequence[float]) -> DirectionGenerator:
    """Return a copy of ``teacher`` that samples by Euler steps from the given levels.

    Raises:
        InputError: If the levels do not decrease, or the teacher is a hybrid itself.
    """
    if isinstance(teacher.network, Relay):
        raise InputError(
            expected="a teacher of one network",
            found="a hybrid of two",
            remedy="Name the model that stage 3 exported.",
        )
    network = copy.deepcopy(teacher.network)
    network.null_tokens.requires_grad_(False)  # guidance is learned: nothing is dropped any more
    schedule = Levels(tuple(levels)) if len(levels) > 1 else Karras(0.01, levels[0])
    sigma_data, sampler = teacher.denoiser.sigma_data, Euler(len(levels))
    return DirectionGenerator(network, schedule, sampler, 0.0, sigma_data).train()
