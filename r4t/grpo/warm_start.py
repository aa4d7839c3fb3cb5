"""Queries and a teacher → a language model that writes fan-outs (step 0)."""

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from r4t.data.queries import Query
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.language_model import LanguageModelSource, TinyQwen3
from r4t.fanout.teachers import FanoutTeacher, NearbyWords
from r4t.grpo.training import RETRIEVAL, SAMPLING, FanoutModule, Sampling, adamw
from r4t.reward import Reward
from r4t.search import Retrieval
from r4t.training.learning_rate import RateSchedule, WarmupLinear


class WarmStart(FanoutModule):
    """Step 0: teach a model to write fan-outs by imitation, from catalog text alone.

    Args:
        run: Run folder.
        reward: Scored in validation only.
        lm: Where the language model comes from; by default ``TinyQwen3``.
        form: What it reads and writes; by default what the model was saved with, or ``Expand``.
        teacher: Writes the fan-outs to imitate; by default ``NearbyWords``.
        sampling: How the model writes in validation.
        retrieval: How its sub-queries are searched with.
        optimizer: By default ``adamw(1e-3)``.
        schedule: By default ``WarmupLinear(20)``.
    """

    step = "warm_start"

    def __init__(
        self,
        run: str,
        reward: Reward,
        lm: LanguageModelSource | None = None,
        form: FanoutFormat | None = None,
        teacher: FanoutTeacher | None = None,
        sampling: Sampling = SAMPLING,
        retrieval: Retrieval = RETRIEVAL,
        optimizer: OptimizerCallable | None = None,
        schedule: RateSchedule | None = None,
    ) -> None:
        super().__init__(
            run,
            reward,
            TinyQwen3() if lm is None else lm,
            form,
            sampling,
            retrieval,
            adamw(1e-3) if optimizer is None else optimizer,
            WarmupLinear(20) if schedule is None else schedule,
        )
        self.teacher: FanoutTeacher = NearbyWords() if teacher is None else teacher

    def training_step(self, batch: list[Query], batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of a token of freshly written fan-outs."""
        texts = [query.text for query in batch]
        vectors = self.searcher.encode_queries(texts)
        size = self.fanout.form.set_size
        additions = self.teacher.additions(
            self.searcher, batch, vectors, size, seed=self.global_step
        )
        examples = self.fanout.teach(texts, additions)
        log_probs = self.fanout.log_probs(examples, temperature=1.0)
        loss = -(log_probs * examples.completion_mask).sum() / examples.completion_mask.sum()
        self._log("train/nll/mean", loss.detach(), len(batch))
        return loss
