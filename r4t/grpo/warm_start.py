"""Queries and a teacher → a language model that writes fan-outs (step 0)."""

from torch import Tensor

from r4t.data.queries import Query
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.language_model import LanguageModelSource, TinyQwen3
from r4t.fanout.teachers import FanoutTeacher, NearbyWords
from r4t.grpo.training import FanoutModule
from r4t.reward import Reward


class WarmStart(FanoutModule):
    """Step 0: teach a model to write fan-outs by imitation, from catalog text alone.

    Args:
        run: Run folder.
        reward: Scored in validation only.
        lm: Where the language model comes from; ``TinyQwen3`` by default.
        form: What it reads and writes; ``Expand`` by default.
        teacher: Writes the fan-outs to imitate; ``NearbyWords`` by default.
        learning_rate: Peak, of AdamW.
        max_new_tokens: Longest completion in tokens.
        temperature: Of sampling in validation.
        pool_size: Distinct items retrieved a set, for objectives that need a pool.
    """

    step = "warm_start"

    def __init__(
        self,
        run: str,
        reward: Reward,
        lm: LanguageModelSource | None = None,
        form: FanoutFormat | None = None,
        teacher: FanoutTeacher | None = None,
        learning_rate: float = 1e-3,
        max_new_tokens: int = 64,
        temperature: float = 0.9,
        pool_size: int | None = None,
    ) -> None:
        super().__init__(
            run,
            TinyQwen3() if lm is None else lm,
            form,
            reward,
            learning_rate,
            max_new_tokens,
            temperature,
            pool_size,
        )
        self.teacher: FanoutTeacher = NearbyWords() if teacher is None else teacher

    def rate(self, step: int) -> float:
        """Return the share of the peak rate: linear up over 20 steps, linear down to the end."""
        last = self.trainer.estimated_stepping_batches
        return min(1.0, (step + 1) / 20) * max(0.0, 1 - step / last)

    def training_step(self, batch: list[Query], batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of a token of freshly written fan-outs."""
        texts = [query.text for query in batch]
        vectors = self.searcher.encode_queries(texts)
        size = self.fanout.form.set_size
        additions = self.teacher.additions(
            self.searcher, batch, vectors, size, seed=self.global_step
        )
        taught = self.fanout.teach(texts, additions)
        log_probs = self.fanout.log_probs(taught, temperature=1.0)
        loss = -(log_probs * taught.completion_mask).sum() / taught.completion_mask.sum()
        self._log("train/nll/mean", loss.detach(), len(batch))
        return loss
