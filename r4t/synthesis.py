"""Queries → target sets: sample the tuned model, retrieve, score, filter, write (stage 2)."""

from dataclasses import dataclass
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
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval
from r4t.sets import SetBatch
from r4t.support.fingerprints import folder_fingerprint, to_plain
from r4t.support.interruption import Interrupted, Interruption
from r4t.support.seeds import query_seed
from r4t.targets import Origin, TargetBatch, TargetWriter, begin, check_begin


class ItemRows:
    """Target rows are the embeddings of the retrieved items (OAR; paper, §5)."""

    def __call__(self, sets: SetBatch) -> Tensor:
        """Return (B, k, d) rows."""
        return sets.item_embeddings


class DirectionRows:
    """Target rows are the embeddings of the sub-queries (WSCR; paper, §5)."""

    def __call__(self, sets: SetBatch) -> Tensor:
        """Return (B, k, d) rows."""
        if sets.directions is None:
            raise InputError(
                expected="sets with directions", found="sets without", remedy="Use ItemRows."
            )
        return sets.directions


@dataclass(frozen=True)
class Sampling:
    """How the tuned model is sampled.

    Args:
        model: Folder of the fan-out model inside the run.
        samples: Fan-outs a query, at least 1 (the paper's 128).
        temperature: Above 0 (the paper's 0.9).
        backend: Runs the model while it writes; ``Transformers`` by default.
    """

    model: str = "tune/model"
    samples: int = 128
    temperature: float = 0.9
    backend: Backend | None = None

    def __post_init__(self) -> None:
        check_least({"samples": (self.samples, 1)})


@dataclass(frozen=True)
class Writing:
    """How target sets are written.

    Args:
        overwrite: Whether finished target sets of the run, or unfinished ones that were begun with
            other settings, may be replaced; those of the same settings are always continued.
        shard_size: Sets from which a process writes a shard, at least 1; a kill can cost as many.
    """

    overwrite: bool = False
    shard_size: int = 8192

    def __post_init__(self) -> None:
        check_least({"shard_size": (self.shard_size, 1)})


class Synthesizer(LightningModule):
    """Samples fan-outs of every query with the frozen model and writes the sets worth imitating.

    Args:
        run: Run folder.
        reward: Scores every sample; all its components are stored beside the sets.
        sampling: Model, number of samples and temperature.
        rows: What a row of a target set is: ``ItemRows`` (OAR, the default) or ``DirectionRows``.
        keep: Which samples of a query stay, by reward and items; all by default.
        set_size: Rows L of a target set, at least the model's k; rows beyond those of one sample
            are filled from other samples of the same query.
        retrieval: Pool size, for objectives that need a pool.
        writing: What may be replaced, and the size of shards.

    Raises:
        InputError: If ``set_size`` is below the number of sub-queries.
    """

    step = "targets"

    def __init__(
        self,
        run: str,
        reward: Reward,
        sampling: Sampling = Sampling(),
        rows: ItemRows | DirectionRows | None = None,
        keep: Filter | None = None,
        set_size: int = 12,
        retrieval: Retrieval = Retrieval(),
        writing: Writing = Writing(),
    ) -> None:
        super().__init__()
        self.run = Run.open(run)
        self.searcher = self.run.searcher(cached=retrieval.cached)
        self.fanout = FanoutModel.load(self.run.folder / sampling.model, sampling.backend)
        if set_size < self.fanout.form.set_size:
            raise InputError(
                expected=f"a set_size of at least {self.fanout.form.set_size}, the sub-queries of a "
                "fan-out",
                found=f"{set_size}",
                remedy="Raise it.",
            )
        self.reward = reward
        self.sampling, self.retrieval, self.writing = sampling, retrieval, writing
        self.rows = ItemRows() if rows is None else rows
        self.keep = Filter() if keep is None else keep
        self.set_size = set_size
        self.interruption = Interruption()

    def origin(self) -> Origin:
        """Return what the sets come from: catalog, encoder, model and settings, with fingerprints."""
        encoder, files = self.searcher.encoder, self.run.catalog / "encoder"
        return Origin(
            fingerprint=self.run.fingerprint,
            encoder="none" if encoder is None else encoder.describe(),
            model=self.sampling.model,
            dim=self.searcher.catalog.dim,
            set_size=self.set_size,
            encoder_fingerprint=folder_fingerprint(files) if files.is_dir() else "",
            model_fingerprint=folder_fingerprint(self.run.folder / self.sampling.model),
            config={
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
        """Open the folder of target sets, on rank zero first.

        Raises:
            InputError: If it holds sets that must not be replaced.
        """
        trainer, origin = self.trainer, self.origin()
        folder = self.run.step(self.step)
        # On every rank, before one changes anything.
        goes_on = check_begin(folder, origin, self.writing.overwrite)
        trainer.strategy.barrier("target sets checked")
        self.interruption.listen()  # before a file says that there is something to continue
        if trainer.global_rank == 0:
            begin(folder, origin, goes_on)
        trainer.strategy.barrier("target sets begun")
        self.writer = TargetWriter(
            folder, origin, shard_size=self.writing.shard_size, rank=trainer.global_rank
        )
        if self.writer.done:
            rank_zero_info(
                f"Skipping {len(self.writer.done)} queries that are already in {folder}."
            )

    def predict_step(self, batch: list[Query], batch_idx: int) -> None:
        """Write the kept samples of B queries; those of committed shards are skipped."""
        queries = [query for query in batch if query.id not in self.writer.done]
        if not queries:
            return
        sampling, form = self.sampling, self.fanout.form
        texts = [query.text for query in queries]
        seeds = [query_seed(query.id, -1) for query in queries]
        fanouts = self.fanout.sample(texts, seeds, sampling.samples, sampling.temperature)
        sets = self.searcher.retrieve_groups(
            queries, fanouts.subqueries, form.set_size, self.retrieval.pool_size, form.anchor
        )
        total, components = self.reward(sets)
        groups = (len(queries), sampling.samples)
        selection = self.keep(total.view(groups), sets.items.view(*groups, -1))
        # A sample without any member has no row to imitate, whatever its score.
        kept = selection.kept & sets.mask.any(-1).view(groups)
        dropped = {**selection.dropped, "no sub-query": int((selection.kept & ~kept).sum())}
        if not self.reward.partial:
            del dropped["not scored"]  # always 0
        chosen = kept.flatten().nonzero().flatten()
        scores = {"reward": total, **components}
        targets = self._targets(sets, chosen, queries, scores) if len(chosen) else None
        self.writer.add(targets, [query.id for query in queries], kept.numel(), dropped)

    def on_predict_batch_end(
        self, outputs: Any, batch: list[Query], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop after Ctrl-C, with everything written so far committed.

        Each rank stops by itself: ranks may have unequal numbers of batches, and Ctrl-C reaches all.

        Raises:
            Interrupted: If the user wants to stop; the same command continues.
        """
        if self.interruption.requested:
            self.writer.flush()
            raise Interrupted(f"stopped after batch {batch_idx + 1}; what was written stays")

    def on_predict_end(self) -> None:
        """Commit the rest; then rank zero writes card and manifest, which finish the target sets.

        Raises:
            InputError: If no sample was kept.
        """
        self.interruption.leave()
        self.writer.flush()
        self.trainer.strategy.barrier("target sets committed")
        if self.trainer.global_rank == 0:
            manifest = self.writer.close(self.reward.facts())
            print(
                f"{manifest.sets} target sets of {manifest.queries} queries in {self.writer.folder} "
                f"(of {manifest.drawn} samples; dropped: {manifest.dropped})"
            )

    def _targets(
        self, sets: SetBatch, chosen: Tensor, queries: list[Query], scores: dict[str, Tensor]
    ) -> TargetBatch:
        members = self._members(sets.mask, chosen, queries)
        items = sets.items.flatten()[members]
        owners = [queries[sample // self.sampling.samples] for sample in chosen.tolist()]
        ids = self.searcher.catalog.ids
        return TargetBatch(
            condition=sets.query[chosen],
            rows=self.rows(sets).flatten(0, 1)[members],
            items=items,
            scores={name: score[chosen] for name, score in scores.items()},
            query_ids=[query.id for query in owners],
            queries=[query.text for query in owners],
            texts=[sets.texts[sample] if sets.texts else [] for sample in chosen.tolist()],
            item_ids=[[ids[item] for item in row] for row in items.tolist()],
        )

    def _members(self, mask: Tensor, chosen: Tensor, queries: list[Query]) -> Tensor:
        """Return L members for each chosen set: its own, then those of its query's other chosen sets.

        The order of the others follows from the query's id and the sample's number, not from the
        batch. If there are too few members in all, they repeat.

        Args:
            mask: (B·G, k) bool.
            chosen: (n,) positions of sets with a member.
            queries: B of them.

        Returns:
            (n, L) positions in the flattened mask.
        """
        places, samples, rows = torch.arange(mask.numel()).view_as(mask), self.sampling.samples, []
        for index in chosen.tolist():
            query, sample = divmod(index, samples)
            peers = chosen[(chosen // samples == query) & (chosen != index)]
            others = places[peers][mask[peers]]
            random = torch.Generator().manual_seed(query_seed(f"{queries[query].id}/{sample}", -2))
            order = torch.randperm(len(others), generator=random)
            members = torch.cat([places[index][mask[index]], others[order]])
            rows.append(members[torch.arange(self.set_size) % len(members)])
        return torch.stack(rows)


class SynthesisTrainer(Trainer):
    """A Trainer with one more verb, so that ``r4t synthesize`` runs like ``fit``."""

    def synthesize(
        self, model: LightningModule, dataloaders: Any = None, datamodule: Any = None
    ) -> None:
        """Write the target sets of a run; the predict batches of ``datamodule`` are the queries."""
        try:
            self.predict(model, dataloaders, datamodule, return_predictions=False)
        finally:
            if isinstance(model, Synthesizer):
                model.interruption.leave()
