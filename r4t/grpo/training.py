"""What both trainings of a fan-out model share: model, retriever, AdamW, validation by reward."""

import json
import math
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.fanout.backend import Backend
from r4t.fanout.checks import check_list, check_prompts
from r4t.fanout.formats import Expand, FanoutFormat
from r4t.fanout.language_model import LanguageModelSource
from r4t.fanout.model import FanoutModel, Fanouts
from r4t.fanout.sharding import is_first_process, is_sharded, shard
from r4t.geometry import distinct_count
from r4t.grpo.policy import check_moves, stuck
from r4t.grpo.preflight import try_reward
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.reward import Reward
from r4t.run import Run
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed
from r4t.support.stopwatch import Stopwatch

CACHED = 2**16  # texts; about 100 MB at width 384


class FanoutModule(LightningModule):
    """What both modes share: the language model, the frozen retriever, validation by reward.

    Args:
        run: Run folder.
        lm: Where the language model comes from.
        form: What it reads and writes.
        reward: Scored in validation (and trained on by ``FanoutTuner``).
        learning_rate: Peak, of AdamW with β = (0.9, 0.95), reached after a linear warm-up.
        max_new_tokens: Longest completion in tokens.
        temperature: Of sampling, above 0.
        pool_size: Distinct items retrieved a set, for objectives that need a pool.
        cached: How many texts' vectors and sub-queries' items to keep for the next time that they
            are written; 0 for none.
        backend: What runs the model while it writes; ``Transformers`` by default.
    """

    step: str

    def __init__(
        self,
        run: str,
        lm: LanguageModelSource,
        form: FanoutFormat | None,
        reward: Reward,
        learning_rate: float,
        max_new_tokens: int,
        temperature: float,
        pool_size: int | None,
        cached: int = CACHED,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise InputError(
                f"learning_rate must be a finite number above 0, found {learning_rate}; 3e-4 suits "
                "small models and LoRA."
            )
        self.run = Run.open(run)
        self.searcher = self.run.searcher(cached=cached)
        self.watch = self.searcher.watch = Stopwatch()
        source, tokenizer = lm.build(self.searcher.catalog.texts, self.run.folder)
        form = form or lm.saved_form(self.run.folder) or Expand()
        self.fanout = FanoutModel(source, tokenizer, form, max_new_tokens, backend)
        check_list(tokenizer, form, max_new_tokens)
        self.reward = reward
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.pool_size = pool_size
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

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW, and a schedule in optimizer steps.

        Raises:
            InputError: Most weights would round back to what they are at each step.
        """
        trained = [found for found in self.fanout.parameters() if found.requires_grad]
        counts = self.trainer.strategy.reduce(stuck(trained, self.learning_rate), reduce_op="sum")
        check_moves(counts, trained, self.learning_rate)
        optimizer = torch.optim.AdamW(
            trained, lr=self.learning_rate, betas=(0.9, 0.95), weight_decay=0.01
        )
        schedule = LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Return the share of the peak rate at an optimizer step: linear over 10, then 1."""
        return min(1.0, (step + 1) / 10)

    def on_train_start(self) -> None:
        """Refuse prompts and objectives that do not fit, before any completion is written.

        Raises:
            InputError: As ``check_prompts`` and ``try_reward``.
        """
        examples = getattr(self.trainer.train_dataloader, "dataset", ())
        queries = [query for query in examples if isinstance(query, Query)]
        check_prompts(self.fanout, [query.text for query in queries])
        try_reward(self.reward, self.searcher, queries[:16], self.fanout.form, self.pool_size)

    def retrieve(self, queries: list[Query], fanouts: Fanouts) -> SetBatch:
        """Retrieve for G fan-outs of each query: B·G sets."""
        form = self.fanout.form
        return self.searcher.retrieve_groups(
            queries, fanouts.subqueries, form.set_size, self.pool_size, form.anchor
        )

    def validation_step(self, batch: list[Query], batch_idx: int) -> None:
        """Sample one fan-out a query with a fixed seed; log reward, objectives, distinct items."""
        texts = [query.text for query in batch]
        seeds = [query_seed(query.id, 0) for query in batch]
        sets = self.retrieve(batch, self.fanout.sample(texts, seeds, 1, self.temperature))
        reward, components = self.reward(sets)
        weighted = self.reward.weighted(components)
        for name, scores in components.items():
            self.val_metrics[name].update(scores)
            self.val_weighted[name].update(weighted[name])
            if self.reward.objectives[name].partial:
                unscored = scores.isnan().float().mean()
                self._log(f"val/{name}/unscored", unscored, len(batch), bar=False)
        self.val_reward.update(reward)
        self.log_dict(self.val_metrics, batch_size=len(batch))
        self.log_dict(self.val_weighted, batch_size=len(batch))
        self.log("val/reward/mean", self.val_reward, prog_bar=True, batch_size=len(batch))
        self._log("val/distinct_items/mean", distinct_count(sets.items).float().mean(), len(batch))

    def export(self, folder: str | None = None) -> None:
        """Write the model; by default where later steps and the retriever look for it.

        What the objectives tell of their scores (a judge's model, tokens and cost) goes beside it.
        """
        folder = str(self.run.step(self.step) / "model") if folder is None else folder
        self.fanout.save(folder)
        facts = self.reward.facts()
        if facts and is_first_process():
            text = json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n"
            (Path(folder) / "objectives.json").write_text(text, encoding="utf-8")

    def _log(self, name: str, value: Tensor | float, batch_size: int, bar: bool = True) -> None:
        across = name.startswith("val/")
        self.log(name, value, prog_bar=bar, batch_size=batch_size, sync_dist=across)
