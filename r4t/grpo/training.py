"""A run, a reward and settings → what warm start and tuning share: model, retriever, validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW

from r4t.data.queries import Query
from r4t.fanout.backend import Backend
from r4t.fanout.checks import check_list, check_prompts
from r4t.fanout.formats import Expand, FanoutFormat
from r4t.fanout.language_model import LanguageModelSource
from r4t.fanout.model import FanoutModel, Fanouts
from r4t.fanout.weights import is_first_process, is_sharded, shard
from r4t.geometry import distinct_count
from r4t.grpo.examples import give_examples
from r4t.grpo.policy import check_moves, stuck
from r4t.grpo.preflight import try_reward
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed
from r4t.support.stopwatch import Stopwatch
from r4t.training.learning_rate import RateSchedule, ScheduledModule


@dataclass(frozen=True)
class Sampling:
    """How a model writes.

    Args:
        temperature: Above 0; tuning takes log-probabilities at the same one.
        max_new_tokens: Longest completion in tokens.
        backend: What runs the model while it writes; by default ``Transformers``.
    """

    temperature: float = 0.9
    max_new_tokens: int = 64
    backend: Backend | None = None


SAMPLING = Sampling()
RETRIEVAL = Retrieval(cached=2**16)  # about 100 MB at width 384


def adamw(rate: float) -> OptimizerCallable:
    """Return what builds AdamW with β = (0.9, 0.95) and weight decay 0.01."""
    return partial(AdamW, lr=rate, betas=(0.9, 0.95), weight_decay=0.01)


class FanoutModule(ScheduledModule):
    """A language model that learns to write fan-outs, the frozen retriever, validation by reward.

    Args:
        run: Run folder.
        reward: Scored in validation, and maximized in tuning.
        lm: Where the language model comes from; by default the warm-started model to tune, and
            ``TinyQwen3`` to warm-start.
        form: What it reads and writes; by default what the model was saved with, or ``Expand``.
        sampling: How it writes.
        retrieval: How its sub-queries are searched with. Most of them repeat, so caching pays.
        optimizer: By default AdamW (``adamw``) at 3e-4 to tune and 1e-3 to warm-start.
        schedule: By default ``WarmupConstant(10)`` to tune and ``WarmupLinear(20)`` to warm-start.
    """

    step: str
    default_lm: LanguageModelSource
    default_rate: float
    default_schedule: RateSchedule

    def __init__(
        self,
        run: str,
        reward: Reward,
        lm: LanguageModelSource | None = None,
        form: FanoutFormat | None = None,
        sampling: Sampling = SAMPLING,
        retrieval: Retrieval = RETRIEVAL,
        optimizer: OptimizerCallable | None = None,
        schedule: RateSchedule | None = None,
    ) -> None:
        super().__init__(
            adamw(self.default_rate) if optimizer is None else optimizer,
            self.default_schedule if schedule is None else schedule,
        )
        lm = self.default_lm if lm is None else lm
        self.run = Run.open(run)
        self.searcher = self.run.searcher(cached=retrieval.cached)
        self.watch = self.searcher.watch = Stopwatch()
        model, tokenizer = lm.build(self.searcher.catalog.texts, self.run.folder)
        form = form or lm.saved_form(self.run.folder) or Expand()
        give_examples(form, self.run, self.searcher.catalog)
        limit = sampling.max_new_tokens
        self.fanout = FanoutModel(model, tokenizer, form, limit, sampling.backend)
        check_list(tokenizer, form, limit)
        self.reward, self.sampling, self.retrieval = reward, sampling, retrieval
        self.val_metrics = objective_metrics(reward.objectives, prefix="val/")
        self.val_weighted = objective_metrics(reward.objectives, prefix="val/", stat="weighted")
        self.val_reward = ObjectiveMetric(reward.score, "reward")

    def configure_model(self) -> None:
        """Under ``ModelParallelStrategy`` leave each process its share of the language model."""
        if self.device_mesh is not None:
            shard(self.fanout.lm, self.device_mesh)

    @property
    def sharded(self) -> bool:
        """Whether ranks share the weights; then all of them have to call ``export``."""
        return is_sharded(self.fanout.lm)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return the language model's parameters that require a gradient."""
        return [weight for weight in self.fanout.parameters() if weight.requires_grad]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return optimizer and schedule; refuse a rate at which most weights would never move."""
        configured = super().configure_optimizers()
        trained, rate = self.trained_parameters(), self._configured[0]["lr"]
        counts = self.trainer.strategy.reduce(stuck(trained, rate), reduce_op="sum")
        check_moves(counts, trained, rate)
        return configured

    def on_train_start(self) -> None:
        """Refuse prompts and objectives that do not fit, before any completion is written."""
        super().on_train_start()
        examples = getattr(self.trainer.train_dataloader, "dataset", ())
        queries = [query for query in examples if isinstance(query, Query)]
        check_prompts(self.fanout, [query.text for query in queries])
        form, pool_size = self.fanout.form, self.retrieval.pool_size
        try_reward(self.reward, self.searcher, queries[:16], form, pool_size)

    def retrieve(self, queries: list[Query], fanouts: Fanouts) -> SetBatch:
        """Retrieve for G fan-outs of each query: B·G sets."""
        form, lists, pool = self.fanout.form, fanouts.subqueries, self.retrieval.pool_size
        return self.searcher.retrieve_groups(queries, lists, form.set_size, pool, form.anchor)

    def validation_step(self, batch: list[Query], batch_idx: int) -> None:
        """Sample one fan-out per query with a fixed seed; log reward, objectives, distinct items."""
        size, texts = len(batch), [query.text for query in batch]
        seeds = [query_seed(query.id, 0) for query in batch]
        sets = self.retrieve(batch, self.fanout.sample(texts, seeds, 1, self.sampling.temperature))
        reward, components = self.reward(sets)
        numbers = {"val/distinct_items/mean": distinct_count(sets.items).float().mean()}
        for name, weighted in self.reward.weighted(components).items():
            self.val_metrics[name].update(components[name])
            self.val_weighted[name].update(weighted)
            if self.reward.objectives[name].partial:
                numbers[f"val/{name}/unscored"] = components[name].isnan().float().mean()
        self.val_reward.update(reward)
        self.log_dict(self.val_metrics, batch_size=size)
        self.log_dict(self.val_weighted, batch_size=size)
        self.log("val/reward/mean", self.val_reward, prog_bar=True, batch_size=size)
        self.log_numbers(numbers, size)

    def export(self, folder: str | None = None) -> None:
        """Write the model, by default where later steps look for it, and facts about its scores."""
        folder = str(self.run.step(self.step) / "model") if folder is None else folder
        self.fanout.save(folder)
        if is_first_process():
            self.reward.save_facts(folder)

    def log_numbers(self, numbers: Mapping[str, Tensor | float], batch_size: int) -> None:
        """Log numbers by key, the means of rewards and objectives in the progress bar as well."""
        shown = {"nll", "reward", "distinct_items", *self.reward.objectives}
        for key, value in numbers.items():
            split, name, stat = key.split("/")
            bar, across = name in shown and stat == "mean", split == "val"
            self.log(key, value, prog_bar=bar, batch_size=batch_size, sync_dist=across)
