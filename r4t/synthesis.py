"""Queries → target sets: sample the tuned model, retrieve, score, filter, write (stage 2)."""

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
                "Rows of sub-queries need sets with directions, found sets without; use ItemRows."
            )
        return sets.directions


class Synthesizer(LightningModule):
    """Samples fan-outs of every query with the frozen model and writes the sets worth imitating.

    Args:
        run: Run folder.
        reward: Scores every sample; all its components are stored beside the sets.
        rows: What a row of a target set is: ``ItemRows`` (OAR, the default) or ``DirectionRows``.
        keep: Which samples of a query stay, by reward and items; all by default.
        model: Folder of the fan-out model inside the run.
        samples: Samples a query (the paper's 128).
        temperature: Of sampling (the paper's 0.9).
        set_size: Rows L of a target set, at least the model's k; rows beyond those of one sample
            are filled from other samples of the same query.
        pool_size: Distinct items retrieved a set, for objectives that need a pool.
        overwrite: Whether finished target sets of the run, or unfinished ones that were begun with
            other settings, may be replaced; unfinished ones of the same settings go on in any case.
        shard_size: Sets from which a process writes a shard; what a kill can cost.
        backend: What runs the model while it writes; ``Transformers`` by default.

    Raises:
        InputError: ``set_size`` is below the number of sub-queries.
    """

    step = "targets"

    def __init__(
        self,
        run: str,
        reward: Reward,
        rows: ItemRows | DirectionRows | None = None,
        keep: Filter | None = None,
        model: str = "tune/model",
        samples: int = 128,
        temperature: float = 0.9,
        set_size: int = 12,
        pool_size: int | None = None,
        overwrite: bool = False,
        shard_size: int = 8192,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        check_least({"samples": (samples, 1), "shard_size": (shard_size, 1)})
        self.run = Run.open(run)
        self.searcher = self.run.searcher()
        self.fanout = FanoutModel.load(self.run.folder / model, backend)
        if set_size < self.fanout.form.set_size:
            raise InputError(
                f"A target set must hold all {self.fanout.form.set_size} sub-queries of a fan-out, "
                f"found set_size {set_size}; raise it."
            )
        self.reward = reward
        self.rows = ItemRows() if rows is None else rows
        self.keep = Filter() if keep is None else keep
        self.model_folder = model
        self.samples = samples
        self.temperature = temperature
        self.set_size = set_size
        self.pool_size = pool_size
        self.overwrite = overwrite
        self.shard_size = shard_size
        self.interruption = Interruption()

    def origin(self) -> Origin:
        """Return what the sets come from: catalog, encoder, model and settings, with fingerprints."""
        encoder, files = self.searcher.encoder, self.run.catalog / "encoder"
        return Origin(
            fingerprint=self.run.fingerprint,
            encoder="none" if encoder is None else encoder.describe(),
            model=self.model_folder,
            dim=self.searcher.catalog.dim,
            set_size=self.set_size,
            encoder_fingerprint=folder_fingerprint(files) if files.is_dir() else "",
            model_fingerprint=folder_fingerprint(self.run.folder / self.model_folder),
            config={
                "samples": self.samples,
                "temperature": self.temperature,
                "set_size": self.set_size,
                "pool_size": self.pool_size,
                "rows": type(self.rows).__name__,
                "keep": to_plain(self.keep),
                "weights": self.reward.weights,
                "objectives": to_plain(self.reward.objectives),
            },
        )

    def on_predict_start(self) -> None:
        """Open the folder of target sets, on rank zero first.

        Raises:
            InputError: It holds what must not be replaced.
        """
        trainer, origin = self.trainer, self.origin()
        folder = self.run.step(self.step)
        # On every rank, before one changes anything.
        goes_on = check_begin(folder, origin, self.overwrite)
        trainer.strategy.barrier("target sets checked")
        self.interruption.listen()  # before a file says that there is something to go on with
        if trainer.global_rank == 0:
            begin(folder, origin, goes_on)
        trainer.strategy.barrier("target sets begun")
        self.writer = TargetWriter(
            folder, origin, shard_size=self.shard_size, rank=trainer.global_rank
        )
        if self.writer.done:
            rank_zero_info(
                f"{len(self.writer.done)} queries have landed in {folder} before: they are passed over."
            )

    def predict_step(self, batch: list[Query], batch_idx: int) -> None:
        """Write the kept samples of B queries, but for those that landed before."""
        batch = [query for query in batch if query.id not in self.writer.done]
        if not batch:
            return
        sets = self._sample(batch)
        total, components = self.reward(sets)
        items = sets.items.view(len(batch), self.samples, -1)
        selection = self.keep(total.view(len(batch), self.samples), items)
        # A sample without any member has no row to imitate, whatever its score.
        kept = selection.kept & sets.mask.any(-1).view(len(batch), self.samples)
        dropped = {
            "below the floor": selection.below_floor,
            "nearly equal": selection.near_equal,
            "beyond the best share": selection.beyond_share,
            "no sub-query": int((selection.kept & ~kept).sum()),
        }
        if self.reward.partial:
            dropped["not scored"] = selection.unscored
        asked = [query.id for query in batch]
        self.writer.count(drawn=kept.numel(), dropped=dropped, queries=asked)
        chosen = kept.flatten().nonzero().flatten()
        if len(chosen) == 0:
            return
        rows, items = self._fill(sets, chosen, batch)
        texts = sets.texts if sets.texts is not None else [[] for _ in range(len(sets))]
        owners = [batch[index] for index in (chosen // self.samples).tolist()]
        self.writer.add(
            TargetBatch(
                condition=sets.query[chosen],
                rows=rows,
                items=items,
                scores={"reward": total[chosen], **{n: s[chosen] for n, s in components.items()}},
                query_ids=[query.id for query in owners],
                queries=[query.text for query in owners],
                texts=[texts[index] for index in chosen.tolist()],
                item_ids=[self._item_ids(row) for row in items.tolist()],
            )
        )

    def _item_ids(self, items: list[int]) -> list[str]:
        ids = self.searcher.catalog.ids
        return [ids[item] if item >= 0 else "" for item in items]

    def on_predict_batch_end(
        self, outputs: Any, batch: list[Query], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Land what there is and stop, where the user wants to.

        Each rank by itself: ranks may have unequal numbers of batches, and Ctrl-C reaches them all.

        Raises:
            Interrupted: The user wants to; the same command goes on.
        """
        if self.interruption.asked:
            self.writer.flush()
            raise Interrupted(f"stopped after batch {batch_idx + 1}; what was written stays")

    def on_predict_end(self) -> None:
        """Land the rest; when all ranks have, rank zero writes card and manifest.

        Only now do the target sets count as finished.

        Raises:
            InputError: Not one sample was kept.
        """
        self.interruption.leave()
        self.writer.flush()
        self.trainer.strategy.barrier("target sets landed")
        if self.trainer.global_rank == 0:
            manifest = self.writer.close(self.reward.facts())
            print(
                f"{manifest.sets} target sets of {manifest.queries} queries in {self.writer.folder} "
                f"(of {manifest.drawn} samples; dropped: {manifest.dropped})"
            )

    def _sample(self, batch: list[Query]) -> SetBatch:
        texts = [query.text for query in batch]
        seeds = [query_seed(query.id, -1) for query in batch]
        fanouts = self.fanout.sample(texts, seeds, self.samples, self.temperature)
        form = self.fanout.form
        return self.searcher.retrieve_groups(
            batch, fanouts.subqueries, form.set_size, self.pool_size, form.anchor
        )

    def _fill(self, sets: SetBatch, chosen: Tensor, batch: list[Query]) -> tuple[Tensor, Tensor]:
        """Give each chosen set L rows, the missing ones from other chosen sets of its query.

        Which ones follows from the query's id and the sample's number, not from the batch.
        """
        rows, items = self.rows(sets), sets.items
        filled_rows = rows.new_zeros(len(chosen), self.set_size, rows.shape[-1])
        filled_items = items.new_full((len(chosen), self.set_size), -1)
        owner = chosen // self.samples
        for place, index in enumerate(chosen.tolist()):
            own = sets.mask[index].nonzero().flatten()
            picked_rows, picked_items = rows[index, own], items[index, own]
            peers = chosen[(owner == owner[place]) & (chosen != index)]
            if len(own) < self.set_size and len(peers) > 0:
                members = sets.mask[peers]
                query, sample = divmod(index, self.samples)
                seed = query_seed(f"{batch[query].id}/{sample}", -2)
                random = torch.Generator().manual_seed(seed)
                order = torch.randperm(int(members.sum()), generator=random)
                picked_rows = torch.cat([picked_rows, rows[peers][members][order]])
                picked_items = torch.cat([picked_items, items[peers][members][order]])
            # With too few members in all, they are repeated.
            repeat = torch.arange(self.set_size) % len(picked_rows)
            filled_rows[place], filled_items[place] = picked_rows[repeat], picked_items[repeat]
        return filled_rows, filled_items


class SynthesisTrainer(Trainer):
    """A Trainer with one more verb, so that ``r4t synthesize`` runs like ``fit``."""

    def synthesize(
        self,
        model: LightningModule,
        dataloaders: object | None = None,
        datamodule: object | None = None,
    ) -> None:
        """Write the target sets of a run.

        Args:
            model: A ``Synthesizer``.
            dataloaders: Batches of queries, if there is no data module.
            datamodule: Its predict batches are the queries.
        """
        try:
            self.predict(model, dataloaders, datamodule, return_predictions=False)  # type: ignore[arg-type]
        finally:
            if isinstance(model, Synthesizer):
                model.interruption.leave()
