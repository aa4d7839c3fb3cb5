"""A trained generator → a student of it that needs one to four evaluations (stage 4)."""

import copy
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from r4t.choice import Choice
from r4t.diffusion.gate import Gate
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import Relay, SetTransformer
from r4t.diffusion.sampler import Euler, Multistep
from r4t.diffusion.schedule import Karras, Levels
from r4t.diffusion.training import GeneratorTraining
from r4t.diffusion.trajectory import distillation_loss, segment
from r4t.errors import InputError, check_least
from r4t.reward import Reward
from r4t.run import Run

GATE_FILE = "gate.json"


class FewStepStudent(GeneratorTraining):
    """Teaches a copy of a generator to do in a few Euler steps what its ODE does in many.

    See ``r4t.diffusion.trajectory`` for the loss. Few steps can cost diversity, so the export passes
    a gate: on the run's validation queries the student must keep ``gate`` of the composite and of the
    Vendi score of the teacher's ODE. A hybrid that leaves the first step to the teacher is measured
    too and exported where it keeps more. What was measured stands in ``gate.json`` beside the model.
    A model that fails is written to ``rejected`` instead, and the fit says so.

    Attributes:
        teacher: The generator that is learned from, at ``teacher_steps``; frozen.
        levels: Sigmas (S + 1,) of the student's steps, decreasing to 0.
        segments: The teacher's sigmas within each of them.
    """

    step = "accelerate"

    def __init__(
        self,
        run: str | None = None,
        teacher: str = "distill/model",
        levels: Sequence[float] = (80.0, 2.0, 1.0, 0.4),
        teacher_steps: int = 24,
        guidance: float | None = None,
        own_share: float = 0.5,
        gate: float = 0.97,
        learning_rate: float = 3e-4,
        warmup_steps: int = 100,
        decay_steps: int | None = None,
        seed: int = 0,
        reward: Reward | None = None,
        pool_size: int | None = None,
        choice: Choice | None = None,
        anchor: float = 0.0,
        compile: bool = False,
    ) -> None:
        """Choose the teacher, and the student's steps.

        Args:
            run: Run folder: where the teacher lies, where to retrieve in validation and to export.
            teacher: Folder of the teacher, inside the run if there is one.
            levels: Noise levels at which the student is evaluated, decreasing, in units of
                sigma_data: as many evaluations as levels.
            teacher_steps: Multistep steps of the teacher's trajectory, at least 2.
            guidance: w ≥ 0 of the trajectory, which the student learns with it; the teacher's by
                default.
            own_share: Share in [0, 1] of sets that walk on from the student's own landing.
            gate: Share of the teacher's composite and Vendi score that an export must keep; 0 lets
                everything pass.
            learning_rate: Peak, of Adam.
            warmup_steps: Optimizer steps of linear warm-up.
            decay_steps: Optimizer step at which the cosine reaches 0; the trainer's last step by
                default.
            seed: Of the noise, with which the step is mixed.
            reward: Its weighted sum is the composite; its objectives are the metrics of validation.
            pool_size: Distinct items retrieved a set, for objectives that need a pool.
            choice: Exported with the model, see ``DiffusionRetriever``.
            anchor: Share of the query in each direction at query time, from 0 to below 1; exported
                with the model. For rows of sub-queries where recall is what is asked.
            compile: Whether ``torch.compile`` makes the student's network faster.

        Raises:
            InputError: A share is outside [0, 1], ``teacher_steps`` is below 2, there is no level, or
                the teacher does not load.
        """
        check_least({"teacher_steps": (teacher_steps, 2)})
        for name, share in (("own_share", own_share), ("gate", gate)):
            if not 0 <= share <= 1:
                raise InputError(f"{name} is a share in [0, 1], found {share}: change it.")
        if len(levels) == 0:
            raise InputError("A student needs at least one noise level, found none: name some.")
        opened = None if run is None else Run.open(run)
        frozen = DirectionGenerator.load(teacher if opened is None else opened.folder / teacher)
        frozen.sampler = Multistep(teacher_steps)
        if guidance is not None:
            frozen.guidance = guidance
        super().__init__(
            student_of(frozen, levels), learning_rate, warmup_steps, decay_steps, seed, opened,
            reward, pool_size, choice, anchor, compile,
        )  # fmt: skip
        self._teacher = (frozen.requires_grad_(False),)  # a tuple hides it from state and averages
        self.levels = self.generator.schedule.steps(self.generator.sampler.steps)
        self.segments = [
            segment(frozen.schedule, now, after, teacher_steps)
            for now, after in pairwise(self.levels.tolist())
        ]
        self.own_share = own_share
        self.gate = gate

    @property
    def teacher(self) -> DirectionGenerator:
        """The frozen teacher, on the module's device."""
        return self._teacher[0].to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean loss of all steps on the queries of one batch; its rows are not used."""
        condition, _ = batch
        student, random = self.generator, self.random(0, self.global_step, batch_idx)
        every, mine = self.shared(len(condition))
        shape = (every, student.set_size, student.dim)
        noise = torch.randn(shape, generator=random, device=self.device)[mine]
        own = torch.rand(every, generator=random, device=self.device)[mine] < self.own_share
        loss = self.losses(condition, noise, own).mean()
        self.log("train/loss/mean", loss, batch_size=len(condition), prog_bar=True)
        return loss

    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the mean loss of all steps, with all sets on the student's own way."""
        _, noise = self.held_out_noise(first, rows)
        own = torch.ones(len(condition), dtype=torch.bool, device=self.device)
        return self.losses(condition, noise, own).mean(0)

    def losses(self, condition: Tensor, noise: Tensor, own: Tensor) -> Tensor:
        """Loss (S, B) of each step of the student.

        Args:
            condition: Query embeddings (B, d).
            noise: Standard normal (B, L, d).
            own: (B,) bool, whether a set walks on from the student's own landing.

        Raises:
            InputError: The queries or rows have not the width of the network.
        """
        student, teacher = self.generator, self.teacher
        if condition.shape[1] != student.dim or noise.shape[1:] != (student.set_size, student.dim):
            raise InputError(
                f"The teacher generates sets of (L, d) = {(student.set_size, student.dim)}, found "
                f"target sets of {tuple(noise.shape[1:])}: use those that it was trained on."
            )
        with torch.no_grad():
            guide = teacher.denoise_fn(condition)
        sigma_data = student.denoiser.sigma_data
        levels = self.levels.to(self.device)
        bound = student.denoiser.bind(condition)
        return distillation_loss(
            bound, guide, levels[0] * noise, levels, self.segments, sigma_data, own
        )

    def export(self, folder: str | Path | None = None) -> None:
        """Measure student and hybrid, and write the better one if it passes the gate.

        Args:
            folder: Where to; by default where the run's retriever looks for it. What fails the gate
                goes to ``rejected`` beside it.

        Raises:
            InputError: There is neither a folder nor a run.
        """
        place = self.place(folder)
        if self.searcher is None or self.reward is None or self.run is None:
            self.write(self.generator, place)
            return
        made = {"student": self.generator, "hybrid": self.hybrid()}
        gate = Gate(self.searcher, self.reward, self.gate, self.pool_size, self.anchor)
        found = gate.measure(self.teacher, made, self.run.read_queries("val"))
        if not found.passed:
            place = place.with_name("rejected")
            rank_zero_warn(
                f"{found}: the few-step model is kept in {place} and not deployed; train longer, "
                "give it more levels, or lower the gate."
            )
        else:
            print(found)
        self.write(made[found.best], place)
        text = json.dumps(found.facts(), indent=2) + "\n"
        (place / GATE_FILE).write_text(text, encoding="utf-8")

    def hybrid(self) -> DirectionGenerator:
        """Return the student with its first step left to the teacher, unguided; weights are shared.

        A student of one step has no such hybrid: it would be the teacher.
        """
        student, teacher = self.generator, self.teacher
        first, then = teacher.network, student.network
        assert isinstance(first, SetTransformer)  # checked where the teacher was loaded
        assert isinstance(then, SetTransformer)
        levels = self.levels.tolist()
        until = levels[0] / 2 if len(levels) == 2 else (levels[0] * levels[1]) ** 0.5
        relay = Relay(first, then, until)
        return DirectionGenerator(
            relay, student.schedule, student.sampler, 0.0, student.denoiser.sigma_data
        )


def student_of(teacher: DirectionGenerator, levels: Sequence[float]) -> DirectionGenerator:
    """Return a copy of ``teacher`` that samples by Euler steps from the given levels.

    Raises:
        InputError: The levels do not decrease, or the teacher is a hybrid itself.
    """
    if isinstance(teacher.network, Relay):
        raise InputError(
            "A student learns from one network, found a hybrid of two: name the model that stage 3 "
            "exported."
        )
    network = copy.deepcopy(teacher.network)
    network.null_tokens.requires_grad_(False)  # guidance is learned: nothing is dropped any more
    schedule = (
        Levels(tuple(levels)) if len(levels) > 1 else Karras(sigma_min=0.01, sigma_max=levels[0])
    )
    return DirectionGenerator(
        network,
        schedule,
        Euler(len(levels)),
        guidance=0.0,
        sigma_data=teacher.denoiser.sigma_data,
    ).train()
