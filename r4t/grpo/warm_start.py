"""Queries and a teacher → a language model that writes fan-outs (step 0)."""

from typing import Any

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.fanout.language_model import LanguageModelSource, TinyQwen3
from r4t.fanout.teachers import FanoutTeacher, NearbyWords
from r4t.grpo.training import FanoutModule
from r4t.reward import Reward
from r4t.training.learning_rate import RateSchedule, WarmupLinear


class WarmStart(FanoutModule):
    """Step 0: teach a model to write fan-outs by imitation, from catalog text alone.

    Args:
        run: Run folder.
        reward: Scored in validation only.
        teacher: Writes the fan-outs to imitate; by default ``NearbyWords``.
        **settings: As in ``FanoutModule``.

    Raises:
        InputError: If the teacher writes whole items, and the form reads words to add.
    """

    step = "warm_start"
    default_lm: LanguageModelSource = TinyQwen3()
    default_rate = 1e-3
    default_schedule: RateSchedule = WarmupLinear(20)

    def __init__(
        self, run: str, reward: Reward, teacher: FanoutTeacher | None = None, **settings: Any
    ) -> None:
        super().__init__(run, reward, **settings)
        self.teacher: FanoutTeacher = NearbyWords() if teacher is None else teacher
        if self.teacher.whole and self.fanout.form.entry != "full":
            raise InputError(
                expected=f"the form Full for {type(self.teacher).__name__}, which writes whole items",
                found=f"{type(self.fanout.form).__name__}",
                remedy="Take Full, or a teacher of words.",
            )

    def training_step(self, batch: list[Query], batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of a token of freshly written fan-outs."""
        texts = [query.text for query in batch]
        vectors, size = self.searcher.encode_queries(texts), self.fanout.form.set_size
        additions = self.teacher.additions(self.searcher, batch, vectors, size, self.global_step)
        examples = self.fanout.teach(texts, additions, self.teacher.whole)
        log_probs = self.fanout.log_probs(examples, temperature=1.0)
        loss = -(log_probs * examples.completion_mask).sum() / examples.completion_mask.sum()
        self.log_numbers({"train/nll/mean": loss.detach()}, len(batch))
        return loss
