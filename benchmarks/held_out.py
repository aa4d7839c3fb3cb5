"""A tuner in training → measures of its fan-outs for held-out queries, every few rollouts."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.measures import of_facets, pool_hit, pool_recall
from r4t.grpo.monitor.gaming import gaming
from r4t.methods import MethodContext
from r4t.support.seeds import query_seed

FILE = "held_out.json"


class HeldOut(Callback):
    """Writes rows to ``tune/held_out.json``: before the first rollout and after every ``every``-th.

    A row has means over the queries: the reward, each of its objectives, the signs of gaming of
    ``r4t.grpo.monitor.gaming``, and the share of readable completions. If queries have references it
    also has recall and hit in the pool; if the truth is known, the facet measures. Each row samples
    one fan-out per query, always with the same seeds.

    Args:
        every: Rollouts between rows.
        queries: Number of validation queries, from the first on.
        pool_size: Distinct items in a pool.

    Raises:
        InputError: If a number is below 1.
    """

    def __init__(self, every: int = 10, queries: int = 100, pool_size: int = 150) -> None:
        if min(every, queries, pool_size) < 1:
            raise InputError(
                expected="every, queries and pool_size of HeldOut to be at least 1",
                found=f"{every}, {queries} and {pool_size}",
                remedy="Raise them.",
            )
        self.every, self.count, self.pool_size = every, queries, pool_size
        self.rollouts = 0
        self.rows: list[dict[str, float]] = []
        self.queries: list[Query] = []
        self.truth: FacetTruth | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the queries and measure before the first rollout."""
        module: Any = pl_module
        queries, _ = module.searcher.searchable(module.run.read_queries("val"))
        self.queries = queries[: self.count]
        self.truth = MethodContext(module.run, module.searcher).truth
        if not self.rows:
            self._measure(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Measure after every ``every``-th rollout."""
        self.rollouts += 1
        if self.rollouts % self.every == 0:
            self._measure(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rollouts": self.rollouts, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.rollouts, self.rows = state_dict["rollouts"], state_dict["rows"]

    @torch.no_grad()
    def _measure(self, trainer: Trainer, module: Any) -> None:
        texts = [query.text for query in self.queries]
        seeds = [query_seed(query.id, 0) for query in self.queries]
        fanouts = module.fanout.sample(texts, seeds, 1, module.sampling.temperature)
        form = module.fanout.form
        sets = module.searcher.retrieve_groups(
            self.queries, fanouts.subqueries, form.set_size, self.pool_size, form.anchor
        )
        reward, components = module.reward(sets)
        measures = {"reward": reward, **components}
        measures["parsed"] = torch.tensor([float(bool(texts)) for texts in fanouts.subqueries])
        if sets.references is not None:
            measures |= {"recall": pool_recall(sets), "hit": pool_hit(sets)}
        if self.truth is not None:
            fits = self.truth.fits([query.id for query in self.queries])
            measures |= of_facets(sets, fits, self.truth.slots)
        row = {name: round(float(values.nanmean()), 5) for name, values in measures.items()}
        for name, value in gaming(texts, fanouts.subqueries).items():
            row[name.split("/")[1]] = round(value, 5)
        self.rows.append({"rollout": self.rollouts, **row})
        if trainer.is_global_zero:
            folder = module.run.step(module.step)
            folder.mkdir(parents=True, exist_ok=True)
            Path(folder / FILE).write_text(json.dumps(self.rows) + "\n", encoding="utf-8")
