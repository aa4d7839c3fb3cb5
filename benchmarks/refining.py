"""A run with a student → refinements in training, in turns, and how their retrievers answer."""

import argparse
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor

from benchmarks.alternating import Record, Side
from benchmarks.device import hardware
from r4t.choice import QueryTime
from r4t.data.queries import Query
from r4t.diffusion.exploration import Tries
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.refiner import RetrieverRefiner
from r4t.evaluation.measures import facet_recall, fit_precision, item_vendi
from r4t.evaluation.measuring import returned
from r4t.grpo.module import FanoutTuner
from r4t.methods import DiffusionMethod, MethodContext
from r4t.retriever import POOL
from r4t.reward import Reward
from r4t.run import Run
from r4t.sets import SetBatch
from r4t.training.query_data import QueryData

SIZE = 10
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "limit_val_batches": 0,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Training:
    """A refinement in a Lightning trainer, with averaged weights as in stage 5; it runs step by step.

    Args:
        module: Trained in place.
        batch_size: Queries per rollout.
        seed: Of the order of the queries.
        decay: Of the averaged weights; None for none.

    Attributes:
        seconds: Wall-clock seconds of its steps so far, without the preparation.
        last: Those of the last step.
        rewards: Mean training reward of each rollout so far.
    """

    def __init__(
        self,
        module: RetrieverRefiner | FanoutTuner,
        batch_size: int,
        seed: int = 0,
        decay: float | None = 0.99,
    ) -> None:
        self.module, self.seconds, self.last, self.rewards = module, 0.0, 0.0, list[float]()
        self._averaging = None
        if decay is not None:
            self._averaging = EMAWeightAveraging(decay=decay, update_every_n_steps=1)
        training = self

        class Rest(Callback):
            def on_train_start(self, *_: Any) -> None:
                training._side.rest()

            def on_train_batch_end(self, *_: Any) -> None:
                training._side.rest()

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        folder = str(module.run.folder)
        callbacks = [Rest()] if self._averaging is None else [self._averaging, Rest()]
        plan: dict[str, Any] = {"max_steps": -1, "max_epochs": -1, "default_root_dir": folder}
        self._trainer = Trainer(callbacks=callbacks, **plan, **QUIET)
        data = QueryData(folder, batch_size=batch_size, seed=seed)
        self._side = Side(lambda: self._trainer.fit(module, data), Record())
        self._side.step()  # up to the first batch

    def step(self) -> float:
        """Make one rollout and the updates on it; return its wall-clock seconds."""
        self.last, _ = self._side.step()
        self.seconds += self.last
        assert self.module.rollout is not None
        self.rewards.append(float(self.module.rollout.rewards.nanmean()))
        return self.last

    def finish(self) -> None:
        """End the training."""
        self._trainer.should_stop = True
        self._side.finish()

    @property
    def generator(self) -> DirectionGenerator:
        """The generator with averaged weights."""
        assert self._averaging is not None
        averaged: Any = self._averaging._average_model
        generator: DirectionGenerator = averaged.module.generator
        return generator


def training_parser(description: str, name: str) -> argparse.ArgumentParser:
    """Return the options that programs share which train for some seeds and then draw."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "run", type=Path, nargs="?", help="Run folder, as r4t quickstart leaves it."
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=24, help="Queries B.")
    parser.add_argument("--limit", type=int, help="Queries of a split.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results") / name)
    parser.add_argument("--draw", action="store_true", help="Only table and figure.")
    parser.add_argument("--quick", action="store_true", help="One seed, and little of the rest.")
    return parser


class HeldOut:
    """The queries of a run's splits, and what a retriever answers to them.

    Args:
        run: Run folder; its wardrobe's truth, if there is one, adds the facet measures.
        limit: Queries per split, from the first; all by default.
    """

    def __init__(self, run: Run, limit: int | None = None) -> None:
        self.run, self.searcher = run, run.searcher()
        self.truth = MethodContext(run, self.searcher).truth
        self.pool = min(POOL, len(self.searcher.catalog))
        self._variants = self.searcher.catalog.variants()
        self.queries = {
            split: self.searcher.searchable(run.read_queries(split))[0][:limit]
            for split in ("val", "test")
        }

    @torch.no_grad()
    def measure(
        self,
        generator: DirectionGenerator,
        split: str,
        reward: Reward | None = None,
        query_time: QueryTime = QueryTime(),
    ) -> dict[str, float]:
        """Return means over a split.

        Args:
            generator: Answers as it would be deployed, with ``query_time``.
            split: ``val`` or ``test``.
            reward: Also scored, on the nearest item of each direction, as in training.
            query_time: By default the first rows, without a choice.

        Returns:
            ``vendi`` of the items returned, variants counted once; with a truth ``facet recall`` and
            ``fitting``, the share of these items that fit; and ``reward``.
        """
        queries = self.queries[split]
        vectors = self.searcher.encode_queries([query.text for query in queries])
        size = min(SIZE, query_time.most(generator.set_size))
        answer = DiffusionMethod(self.searcher, generator.eval(), size, self.pool, query_time)
        sets = answer(queries, vectors)
        items = returned(sets.one_per_variant(self._variants), self.searcher)
        measures: dict[str, Tensor] = {"vendi": item_vendi(items)}
        if self.truth is not None:
            fits = self.truth.fits([query.id for query in queries])
            measures["facet recall"] = facet_recall(items.items, fits, self.truth.slots)
            measures["fitting"] = fit_precision(items.items, fits)
        if reward is not None:
            references = self.searcher.references(queries)
            measures["reward"] = reward.score(sets.extended(references=references))
        return {name: round(float(x.double().nanmean()), 5) for name, x in measures.items()}


def tried_sets(
    refiner: RetrieverRefiner, queries: Sequence[Query], vectors: Tensor, tries: Tries
) -> SetBatch:
    """Return the B·G sets that were tried for B queries (B, d), as stage 5 retrieves them."""
    searcher, pool_size = refiner.searcher, refiner.retrieval.pool_size
    group = tries.directions.shape[1]
    repeated = [query for query in queries for _ in range(group)]
    texts = [query.text for query in repeated]
    owners, directions = vectors.repeat_interleave(group, 0), tries.directions.flatten(0, 1)
    if tries.items is not None and pool_size is None:
        sets = searcher.gathered(owners, tries.items.flatten(0, 1), directions, query_texts=texts)
    else:
        sets = searcher.retrieve(owners, directions, query_texts=texts, pool_size=pool_size)
    return sets.extended(references=searcher.references(repeated))


def in_turns(trainings: Mapping[str, Training], steps: int) -> Iterator[int]:
    """Let trainings make ``steps`` steps each, in an order that changes; yield the number made."""
    for step in range(steps):
        for name in list(trainings)[:: 1 if step % 2 == 0 else -1]:
            trainings[name].step()
        yield step + 1


def write_result(
    path: Path, command: str, settings: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Write the JSON file of one run of a benchmark, whole or not at all."""
    facts = {"command": command, "hardware": hardware(), "load": round(os.getloadavg()[1], 2)}
    content = {**facts, "settings": dict(settings), **values}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def missing(path: Path) -> bool:
    """Say and return whether a result has yet to be made."""
    if path.is_file():
        print(f"skipped: {path} exists", flush=True)
    return not path.is_file()


class Progress:
    """Prints how far a run is and about how long it will take.

    Args:
        name: Of the run.
        total: Steps.
    """

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.begin = name, total, time.perf_counter()

    def tell(self, done: int, more: str = "") -> None:
        """Print a line after ``done`` steps."""
        left = (time.perf_counter() - self.begin) / done * (self.total - done) / 60
        print(f"{self.name}: {done} of {self.total}, {left:.1f} min left {more}", flush=True)


def shown(name: str, run: Path, words: Sequence[str]) -> str:
    """Return the command as a result states it, with the usual folder of runs.

    Examples:
        >>> shown("credit", Path("/mnt/a/oar11"), ["/mnt/a/oar11", "--steps", "4"])
        'python -m benchmarks.credit runs/oar11 --steps 4'
    """
    kept = [f"runs/{run.name}" if word == str(run) else word for word in words]
    return " ".join(["python -m benchmarks." + name, *kept])
