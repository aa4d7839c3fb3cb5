"""Examples → shuffled batches in an order that a resumed run continues where it stopped."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler


class ResumableLoader(DataLoader):
    """Shuffles by seed and epoch alone, deals to ranks, and keeps its place in checkpoints.

    Batch i of all ranks together holds the examples of batch i of one process with a batch size of
    ``ranks * batch_size``. Lightning sets the epoch, saves ``state_dict`` in every checkpoint and
    restores it, even in the middle of an epoch.

    If the examples suffice for one batch on all ranks, the last examples of an epoch that do not
    fill another are dropped; otherwise the epoch is one short batch.

    Args:
        examples: A sequence or map-style dataset.
        batch_size: Examples in a batch on each rank.
        seed: Decides the order.
        rank: Number of this process, from 0 to ``ranks`` - 1.
        ranks: Number of processes.
        collate: Makes a batch of a list of examples.
        num_workers: Processes that read ahead; with 0, the loader reads on demand.

    Examples:
        >>> loader = ResumableLoader(list("abcde"), 2, seed=0, collate="".join)
        >>> whole = list(loader)
        >>> loader.load_state_dict({"epoch": 0, "batches": 1})
        >>> whole[1:] == list(loader), len(whole)
        (True, 2)
    """

    def __init__(
        self,
        examples: Any,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        collate: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
    ) -> None:
        enough = len(examples) >= ranks * batch_size
        self._order: DistributedSampler[Any] = DistributedSampler(
            examples, num_replicas=ranks, rank=rank, seed=seed, drop_last=enough
        )
        super().__init__(
            examples,
            batch_size=batch_size,
            sampler=self._order,
            drop_last=enough,
            collate_fn=collate,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(seed),  # leaves the global random state alone
        )
        self._done = 0
        self._resume = {"epoch": 0, "batches": 0}

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of an epoch; of an interrupted one, those that remain."""
        # Lightning sets the epoch after it makes the iterator; a generator reads it only when the
        # first batch is requested.
        batches = super().__iter__()
        resume, self._resume = self._resume, {"epoch": 0, "batches": 0}
        continues = resume["epoch"] == self._order.epoch and resume["batches"] < len(self)
        skip = resume["batches"] if continues else 0
        self._done = 0
        for batch in batches:
            self._done += 1
            if self._done > skip:
                yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, and how many of its batches are done."""
        return {"epoch": self._order.epoch, "batches": self._done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Skip those batches if the same epoch comes next; after a finished epoch, skip none."""
        self._resume = dict(state_dict)


class Unrepeated(DistributedSampler):
    """Deals examples to ranks in turn, each once; a rank may get none.

    Lightning keeps this sampler; its own would repeat examples to give every rank as many.

    Examples:
        >>> [list(Unrepeated("abc", rank, ranks=2)) for rank in range(2)]
        [[0, 2], [1]]
    """

    def __init__(self, examples: Any, rank: int, ranks: int) -> None:
        super().__init__(examples, num_replicas=ranks, rank=rank, shuffle=False)
        self._rows = range(rank, len(examples), ranks)
        self.num_samples = len(self._rows)

    def __iter__(self) -> Iterator[int]:
        """Yield the positions of this rank's examples."""
        return iter(self._rows)
