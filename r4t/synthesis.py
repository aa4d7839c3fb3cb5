"""Queries → target sets: teachers answer, a reward scores, a filter keeps, all is written (stage 2)."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.fanout.backend import Backend
from r4t.fanout.model import FanoutModel
from r4t.filters import Filter
from r4t.methods.bounds import ReferenceSets
from r4t.methods.candidates import build_teachers
from r4t.methods.context import MethodContext
from r4t.methods.language import SubqueryWriter
from r4t.methods.registry import find
from r4t.reward import Reward
from r4t.run import MODELS, Run
from r4t.search import Retrieval
from r4t.sets import SetBatch
from r4t.support.fingerprints import folder_fingerprint, to_plain
from r4t.support.interruption import Interrupted, Interruption
from r4t.support.seeds import query_seed
from r4t.targets import Manifest, Origin, TargetBatch, TargetWriter, begin, check_begin


class ItemRows:
    """Target rows are the embeddings of the retrieved items (OAR; paper, §5)."""

    def __call__(self, sets: SetBatch) -> Tensor:
        """Return rows (B, k, d)."""
        return sets.item_embeddings


class DirectionRows:
    """Target rows are the embeddings of the sub-queries (WSCR; paper, §5)."""

    def __call__(self, sets: SetBatch) -> Tensor:
        """Return rows (B, k, d)."""
        if sets.directions is None:
            raise InputError(
                expected="sets with directions", found="sets without", remedy="Use ItemRows."
            )
        return sets.directions


@dataclass(frozen=True)
class SampledModel:
    """The tuned model, and how teachers are sampled.

    Args:
        model: Folder of the fan-out model inside the run, the teacher ``folm``.
        samples: Fan-outs per query of a language model, at least 1 (the paper's 128).
        temperature: Of language models, above 0 (the paper's 0.9).
        backend: Runs the model while it writes; ``Transformers`` by default.
        draws: Sets per query of any other teacher, at least 1; a deterministic one gives one set.
        subqueries: JSONL file of sub-queries written elsewhere, the teacher ``external``.
    """

    model: str = MODELS["folm"]
    samples: int = 128
    temperature: float = 0.9
    backend: Backend | None = None
    draws: int = 1
    subqueries: str | None = None

    def __post_init__(self) -> None:
        check_least({"samples": (self.samples, 1), "draws": (self.draws, 1)})


@dataclass(frozen=True)
class Writing:
    """How target sets are written.

    Args:
        overwrite: Whether to replace finished target sets of the run, or unfinished ones begun with
            other settings; those of the same settings are always continued.
        shard_size: Sets at which a process writes a shard, at least 1; a kill can lose that many.
    """

    overwrite: bool = False
    shard_size: int = 8192

    def __post_init__(self) -> None:
        check_least({"shard_size": (self.shard_size, 1)})


class Synthesizer(LightningModule):
    """Lets teachers answer every training query and writes the sets worth imitating.

    A teacher is any method: the tuned language model, a baseline, the references. One reward scores
    the sets of all; see ``r4t.methods.Teachers`` for how they are made comparable.

    Args:
        run: Run folder.
        reward: Scores every candidate; all its components are stored with the sets.
        sampling: The tuned model, and how teachers are sampled.
        rows: What a row of a target set is: ``ItemRows`` (OAR, the default) or ``DirectionRows``.
        keep: Which candidates of a query stay, by reward and items; all by default. If there are
            several teachers, sets of the same items count once, whatever the filter's overlap: the
            best, and of equally good ones that of the first teacher.
        set_size: Rows L of a target set, at least the language model's k; other candidates of the
            query fill the rows that a set lacks, but never those of references, which repeat. Without
            a language model, k is L.
        retrieval: Pool size, for objectives that need a pool.
        writing: What may be replaced, and the size of shards.
        teachers: Keys or names of methods, those of ``r4t retrieve --with``. None of them remembers
            the references of a query that it answers, except ``references``.

    Raises:
        InputError: If there is no teacher, one is unknown or the run lacks what it needs, or
            ``set_size`` is below the number of sub-queries.
    """

    step = "targets"

    def __init__(
        self,
        run: str,
        reward: Reward,
        sampling: SampledModel = SampledModel(),
        rows: ItemRows | DirectionRows | None = None,
        keep: Filter | None = None,
        set_size: int = 12,
        retrieval: Retrieval = Retrieval(),
        writing: Writing = Writing(),
        teachers: Sequence[str] = ("folm",),
    ) -> None:
        super().__init__()
        self.run = Run.open(run)
        self.searcher = self.run.searcher(cached=retrieval.cached)
        self.reward, self.set_size = reward, set_size
        self.sampling, self.retrieval, self.writing = sampling, retrieval, writing
        self.rows = ItemRows() if rows is None else rows
        self._build_teachers(teachers)
        self.keep = copy.copy(Filter() if keep is None else keep)
        if len(self.teachers.methods) > 1 and self.keep.overlap is None:
            self.keep.overlap = 1.0
        self.interruption = Interruption()

    def _build_teachers(self, names: Sequence[str]) -> None:
        """Load the teachers; their language models become submodules, which move to the device."""
        sampling, pool_size = self.sampling, self.retrieval.pool_size
        context = MethodContext(
            self.run,
            self.searcher,
            self.set_size,
            min(150, len(self.searcher.catalog)) if pool_size is None else pool_size,
            self.run.read_queries("train"),
            reward=self.reward,
            temperature=sampling.temperature,
            subqueries=sampling.subqueries,
        )
        if any(entry.key == "folm" for entry in find(names)):
            model = FanoutModel.load(self.run.folder / sampling.model, sampling.backend)
            context.writers["folm"] = SubqueryWriter(model, sampling.temperature)
        self.teachers = build_teachers(names, context, sampling.samples, sampling.draws, pool_size)
        if least := self.teachers.set_size:
            what = "set_size, which must hold all sub-queries of a fan-out,"
            check_least({what: (self.set_size, least)})
        for key, writer in context.writers.items():
            setattr(self, key, writer.model)
        tuned = [sampling.model] if "folm" in context.writers else []
        self.models = tuned + [MODELS[key] for key in sorted(context.loaded)]

    def origin(self) -> Origin:
        """Return catalog, encoder, teachers and settings of the sets, with fingerprints."""
        encoder, files = self.searcher.encoder, self.run.catalog / "encoder"
        models = [(place, folder_fingerprint(self.run.folder / place)) for place in self.models]
        first = models[0] if models else ("none", "")
        written = self.sampling.subqueries
        return Origin(
            fingerprint=self.run.fingerprint,
            encoder="none" if encoder is None else encoder.describe(),
            model=first[0],
            dim=self.searcher.catalog.dim,
            set_size=self.set_size,
            encoder_fingerprint=folder_fingerprint(files) if files.is_dir() else "",
            model_fingerprint=first[1],
            config={
                "teachers": [method.key for method in self.teachers.methods],
                "other_models": dict(models[1:]),
                "subqueries": written and hashlib.sha256(Path(written).read_bytes()).hexdigest(),
                "draws": self.sampling.draws,
                "samples": self.sampling.samples,
                "temperature": self.sampling.temperature,
                "set_size": self.set_size,
                "pool_size": self.retrieval.pool_size,
                "rows": type(self.rows).__name__,
                "keep": to_plain(self.keep),
                "weights": self.reward.weights,
                "objectives": to_plain(self.reward.objectives),
            },
        )

    def on_predict_start(self) -> None:
        """Open the folder of target sets, on rank zero first; refuse to replace sets unasked."""
        trainer, origin, folder = self.trainer, self.origin(), self.run.step(self.step)
        # Every rank checks before one changes anything.
        goes_on = check_begin(folder, origin, self.writing.overwrite)
        trainer.strategy.barrier("target sets checked")
        self.interruption.listen()  # before begun.json makes the folder one to continue
        if trainer.global_rank == 0:
            begin(folder, origin, goes_on)
        trainer.strategy.barrier("target sets begun")
        rank, shard_size = trainer.global_rank, self.writing.shard_size
        self.writer = TargetWriter(folder, origin, shard_size=shard_size, rank=rank)
        if done := len(self.writer.done):
            rank_zero_info(f"Skipping {done} queries that are already in {folder}.")

    def predict_step(self, batch: list[Query], batch_idx: int) -> None:
        """Write the sets of B queries that the filter keeps; skip queries of committed shards."""
        queries = [query for query in batch if query.id not in self.writer.done]
        if not queries:
            return
        sets, texts = self.teachers(queries)
        total, components = self.reward(sets)
        groups = (len(queries), len(self.teachers.keys))
        selection = self.keep(total.view(groups), sets.items.view(*groups, -1))
        # A set without any member has no row to imitate, at any score.
        kept = selection.kept & sets.mask.any(-1).view(groups)
        dropped = {**selection.dropped, "no sub-query": int((selection.kept & ~kept).sum())}
        if not self.reward.partial:
            del dropped["not scored"]  # it is 0
        chosen = kept.flatten().nonzero().flatten()
        scores = {"reward": total, **components}
        texts = [texts[place] for place in chosen.tolist()]
        targets = self._targets(sets, chosen, queries, texts, scores) if len(chosen) else None
        counts = self._counts(total.view(groups), kept)
        self.writer.add(targets, [query.id for query in queries], kept.numel(), dropped, counts)

    def on_predict_batch_end(
        self, outputs: Any, batch: list[Query], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop after Ctrl-C with everything so far committed, so that the same command continues.

        Each rank stops by itself: ranks may have unequal numbers of batches, and Ctrl-C reaches all.
        """
        if self.interruption.requested:
            self.writer.flush()
            raise Interrupted(f"stopped after batch {batch_idx + 1}; what was written stays")

    def on_predict_end(self) -> None:
        """Commit the rest; then rank zero writes card and manifest, which finish the target sets."""
        self.interruption.leave()
        self.writer.flush()
        self.trainer.strategy.barrier("target sets committed")
        if self.trainer.global_rank == 0:
            manifest = self.writer.close(self.reward.facts())
            print(
                f"{manifest.sets} target sets of {manifest.queries} queries in {self.writer.folder} "
                f"(of {manifest.drawn} samples; dropped: {manifest.dropped})"
            )
            if len(manifest.teachers) > 1:
                print(which_won(manifest))

    def _targets(
        self,
        sets: SetBatch,
        chosen: Tensor,
        queries: list[Query],
        texts: list[list[str]],
        scores: dict[str, Tensor],
    ) -> TargetBatch:
        members = self._members(sets.mask, chosen, queries)
        items = sets.items.flatten()[members]
        keys, ids = self.teachers.keys, self.searcher.catalog.ids
        owners = [queries[sample // len(keys)] for sample in chosen.tolist()]
        return TargetBatch(
            condition=sets.query[chosen],
            rows=self.rows(sets).flatten(0, 1)[members],
            items=items,
            scores={name: score[chosen] for name, score in scores.items()},
            query_ids=[query.id for query in owners],
            queries=[query.text for query in owners],
            texts=texts,
            item_ids=[[ids[item] for item in row] for row in items.tolist()],
            teachers=[keys[sample % len(keys)] for sample in chosen.tolist()],
        )

    def _counts(self, scores: Tensor, kept: Tensor) -> dict[str, dict[str, int]]:
        """Count by teacher: candidates, those kept, and queries (B, G) whose best kept set is its."""
        keys = self.teachers.keys
        answered = kept.any(1)
        best = scores.masked_fill(~kept, -torch.inf).argmax(1)[answered].tolist()
        return {
            method.key: {
                "candidates": len(kept) * keys.count(method.key),
                "kept": int(kept[:, [key == method.key for key in keys]].sum()),
                "best": sum(keys[place] == method.key for place in best),
            }
            for method in self.teachers.methods
        }

    def _members(self, mask: Tensor, chosen: Tensor, queries: list[Query]) -> Tensor:
        """Return L members of each chosen set (n, L), as positions in the flattened mask (B·G, k).

        They are its own, then those of its query's other chosen sets, in an order that depends on
        the query's id and the sample's number, not on the batch. If they are too few, they repeat.
        References have no others beside them.
        """
        places, samples, rows = (
            torch.arange(mask.numel()).view_as(mask),
            len(self.teachers.keys),
            [],
        )
        for index in chosen.tolist():
            query, sample = divmod(index, samples)
            peers = chosen[(chosen // samples == query) & (chosen != index)]
            if self.teachers.keys[sample] == ReferenceSets.key:
                peers = peers[:0]
            others = places[peers][mask[peers]]
            random = torch.Generator().manual_seed(query_seed(f"{queries[query].id}/{sample}", -2))
            order = torch.randperm(len(others), generator=random)
            members = torch.cat([places[index][mask[index]], others[order]])
            rows.append(members[torch.arange(self.set_size) % len(members)])
        return torch.stack(rows)


def which_won(manifest: Manifest) -> str:
    """Return a sentence that says how often each teacher's set is a query's best."""
    if manifest.dropped["nearly equal"] == manifest.drawn - manifest.asked:
        return "For every query all teachers gave the same items: one of them is enough."
    wins = {key: counts["best"] for key, counts in manifest.teachers.items()}
    ranked = sorted(wins.items(), key=lambda win: -win[1])
    parts = ", ".join(f"{key} for {count}" for key, count in ranked)
    return f"The best set of a query is from {parts}."


class SynthesisTrainer(Trainer):
    """A Trainer with one more verb, so that ``r4t synthesize`` runs like ``fit``."""

    def synthesize(
        self, model: LightningModule, dataloaders: Any = None, datamodule: Any = None
    ) -> None:
        """Write the target sets of a run for the queries in the predict batches of ``datamodule``."""
        try:
            self.predict(model, dataloaders, datamodule, return_predictions=False)
        finally:
            if isinstance(model, Synthesizer):
                model.interruption.leave()
