"""A folder of target sets → batches (condition (B, d), rows (B, L, d)), split by query."""

import hashlib
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from r4t.errors import InputError
from r4t.run import Run
from r4t.targets import TargetDataset, TargetSets, as_fetched


class TargetData(LightningDataModule):
    """Training and validation batches of the target sets in a folder.

    All sets of a query fall on the same side. Which side follows from the query's id and the seed,
    not from the other queries' order.
    """

    def __init__(
        self,
        folder: str | None = None,
        batch_size: int = 256,
        val_share: float = 0.1,
        seed: int = 0,
        num_workers: int = 0,
        expected_fingerprint: str | None = None,
        run: str | None = None,
    ) -> None:
        """Name the folder; it is opened when training begins.

        Args:
            folder: Target sets as synthesis wrote them; by default those of ``run``.
            batch_size: Sets per batch and process.
            val_share: Share of the queries to validate on, in [0, 1); at least one query above 0.
            seed: Of the split.
            num_workers: Loader processes; 0 reads in the main process, which memory-mapped shards
                make quick.
            expected_fingerprint: Of the catalog that the sets have to fit; by default that of
                ``run``, and without one nothing is checked.
            run: Run folder.

        Raises:
            InputError: ``val_share`` is outside [0, 1), or neither folder nor run is given.
        """
        super().__init__()
        if not 0 <= val_share < 1:
            raise InputError(
                f"val_share must lie in [0, 1), found {val_share}: give the share of the queries "
                "to validate on."
            )
        if folder is None and run is None:
            raise InputError("Target sets need a folder or a run, found neither: name one.")
        if run is not None:
            opened = Run.open(run)
            folder = str(opened.step("targets")) if folder is None else folder
            expected_fingerprint = expected_fingerprint or opened.fingerprint
        self.folder, self.expected_fingerprint = Path(folder or ""), expected_fingerprint
        self.batch_size, self.num_workers = batch_size, num_workers
        self.val_share, self.seed = val_share, seed

    def setup(self, stage: str | None = None) -> None:
        """Open the folder and split it.

        Raises:
            InputError: The folder does not load, or holds no set to train on.
        """
        sets = TargetSets.load(self.folder, self.expected_fingerprint)
        ids = sets.query_ids()
        held_out = validation_queries(set(ids), self.val_share, self.seed)
        is_held_out = torch.tensor([i in held_out for i in ids], dtype=torch.bool)
        if is_held_out.all():
            raise InputError(
                f"Target sets of at least {1 + len(held_out)} queries are needed to hold out "
                f"{len(held_out)}, found {len(set(ids))} in {self.folder}: synthesize more or set "
                "val_share to 0."
            )
        self.train = TargetDataset(sets, (~is_held_out).nonzero().flatten())
        self.val = TargetDataset(sets, is_held_out.nonzero().flatten())

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled batches, the last one dropped if it is short and not the only one."""
        return self._loader(self.train, shuffle=True, drop_last=len(self.train) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of the held-out queries in their order, none if nothing is held out."""
        return self._loader(self.val, shuffle=False, drop_last=False)

    def _loader(
        self, dataset: TargetDataset, shuffle: bool, drop_last: bool
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=self.num_workers,
            collate_fn=as_fetched,
            persistent_workers=self.num_workers > 0,
        )


def validation_queries(ids: set[str], share: float, seed: int) -> set[str]:
    """Choose round(share · n) of the n query ids, at least one if ``share`` > 0.

    Example:
        >>> len(validation_queries({str(i) for i in range(20)}, 0.1, seed=0))
        2
    """
    if share == 0:
        return set()

    def rank(query_id: str) -> bytes:
        return hashlib.sha256(f"{seed}/{query_id}".encode()).digest()

    return set(sorted(ids, key=rank)[: max(1, round(share * len(ids)))])
