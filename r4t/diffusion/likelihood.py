"""Target sets → a retriever of one evaluation, whose k directions are likely to draw their items."""

from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from r4t.choice import Likely, QueryTime
from r4t.diffusion.data import TargetData
from r4t.diffusion.gate import allowed_losses, export_best
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.mixture import log_mixture
from r4t.diffusion.network import SetNetwork
from r4t.diffusion.start import one_evaluation
from r4t.diffusion.training import GeneratorTraining
from r4t.errors import InputError, check_least
from r4t.reward import Reward
from r4t.run import MODELS, Run
from r4t.search import Retrieval
from r4t.training.learning_rate import RateSchedule, WarmupCosine

MAX_LOSS = {"composite": 0.0, "vendi": 1.0}


class LikelihoodStudent(GeneratorTraining):
    """Step 4 without a teacher: a retriever of one evaluation learns the target sets themselves.

    Its k directions are a mixture that draws items (``log_mixture``), and training raises the
    likelihood of the rows of all target sets. Where a query has several sets, the directions lie where
    these agree, as ``Consensus`` looks for among the draws of a diffusion retriever, and one evaluation
    finds it. It learns more from few target sets than a denoiser, and gives one answer for all seeds.

    With ``query_time: {likely: {memory: 0.5}}`` the deployed retriever also recalls the target sets of the
    training queries nearest to a query (``SetMemory``), and so what the network smooths away.

    An export must pass a gate on the run's validation queries against the diffusion retriever of the
    run, if there is one; a model that fails goes to ``rejected``.

    Args:
        run: Run folder.
        network: Makes the directions; a small one, such as ``SlotSet`` with dropout, if sets are few.
        temperature: τ of the draws, above 0: a lower one asks for more than one item a direction
            less, and spreads directions.
        max_loss: What an export may lose of the diffusion retriever's composite and Vendi score, see
            ``GateReport``.
        optimizer: AdamW at 3e-4 by default.
        schedule: Of the learning rate; ``WarmupCosine(20)`` by default.
        reward: Its weighted sum is the composite; its objectives are the validation metrics.
        retrieval: For validation: the pool that some objectives need.
        query_time: Exported with the model; by default it takes ``Likely`` items. Give that the same
            temperature, or a higher one.
        seed: Mixed with the step for dropout.

    Raises:
        InputError: If ``temperature`` is not above 0 or ``max_loss`` does not fit.
    """

    step = "accelerate"
    run: Run

    def __init__(
        self,
        run: str,
        network: SetNetwork,
        temperature: float = 0.03,
        max_loss: float | dict[str, float] = MAX_LOSS,
        optimizer: OptimizerCallable = lambda weights: torch.optim.AdamW(weights, lr=3e-4),
        schedule: RateSchedule | None = None,
        reward: Reward | None = None,
        retrieval: Retrieval = Retrieval(),
        query_time: QueryTime = QueryTime(likely=Likely()),
        seed: int = 0,
    ) -> None:
        allowed_losses(max_loss)
        check_least({"temperature": (temperature, 1e-6)})
        schedule = WarmupCosine(20) if schedule is None else schedule
        settings = (Run.open(run), reward, retrieval, query_time)
        super().__init__(one_evaluation(network), seed, optimizer, schedule, *settings)
        self.temperature, self.max_loss = temperature, max_loss
        assert self.searcher is not None  # of the run
        self._items = self.searcher.catalog.embeddings

    def on_fit_start(self) -> None:
        """Keep the training sets as a memory, if the deployed retriever recalls them."""
        likely = self.query_time.likely
        if likely is not None and likely.memory:
            data: TargetData = self.trainer.datamodule  # type: ignore[attr-defined]
            self.query_time = replace(self.query_time, memory=data.memory())

    def training_loss(self, condition: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
        """Return the negative mean log-likelihood of each set's rows; dropout has its own seed."""
        with torch.random.fork_rng(devices=[]):
            seed = torch.randint(2**62, (), generator=random, device=random.device)
            torch.manual_seed(int(seed) + self.global_rank)
            return self.loss(condition, rows)

    def held_out_loss(self, first: int, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of held-out sets."""
        return self.loss(condition, rows)

    def loss(self, condition: Tensor, rows: Tensor) -> Tensor:
        """Return the negative mean log-likelihood (B,) of rows (B, L, d) for queries (B, d)."""
        self._items = self._items.to(self.device)
        directions = self.generator.rows(condition, [0] * len(condition))
        return -log_mixture(directions, rows, self._items, self.temperature).mean(1)

    def check_shape(self, rows: Tensor) -> None:
        """Refuse target rows (B, L, d) of another width; L may differ from k."""
        if rows.shape[2] != self.generator.dim:
            raise InputError(
                expected=f"target sets of the network's width {self.generator.dim}",
                found=f"{rows.shape[2]}",
                remedy="Omit the network's dim.",
            )

    def export(self, folder: str | Path | None = None) -> None:
        """Export the model, if it passes the gate against a diffusion retriever; else to ``rejected``."""
        place, rival = self.export_folder(folder), self.run.folder / MODELS["diffusion"]
        if not rival.is_dir():
            (place / "gate.json").unlink(missing_ok=True)  # of an earlier model
            self.write(self.generator, place)
            return
        reference = ("diffusion", DirectionGenerator.load(rival), QueryTime.load(rival))
        advice = "Train it longer, with more target sets or another temperature, or raise max_loss."
        export_best(self, place, reference, {"student": self.generator}, self.max_loss, advice)
