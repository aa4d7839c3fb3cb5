"""Examples → shuffled batches in an order that a resumed run takes up where it was left."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class ResumableLoader(DataLoader):
    """Shuffles by seed and epoch alone, deals to ranks, and keeps its place in checkpoints.

    Batch i of all ranks together holds the examples that batch i of one process with
    ``ranks * batch_size`` holds. Lightning tells the epoch, keeps ``state_dict`` in every checkpoint
    and hands it back, also in the middle of an epoch.

    Args:
        examples: N of them.
        batch_size: Examples a batch on each rank.
        seed: Of the order.
        rank: Of this process, from 0.
        ranks: How many processes there are.
        collate: Makes a batch of a list of examples.
        num_workers: Processes that read ahead; 0 reads when a batch is asked for.

    Where there are enough examples for one batch of all ranks, the last ones of an epoch that do
    not fill one more are left out of it; otherwise the one short batch is what there is.

    Examples:
        >>> loader = ResumableLoader(list("abcde"), 2, seed=0, collate="".join)
        >>> whole = list(loader)
        >>> loader.load_state_dict({"epoch": 0, "batches": 1})
        >>> whole[1:] == list(loader), len(whole)
        (True, 2)
    """

    def __init__(
        self,
        examples: Sequence[Any] | Dataset[Any],
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        collate: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
    ) -> None:
        enough = len(examples) >= ranks * batch_size  # type: ignore[arg-type]
        order: DistributedSampler[Any] = DistributedSampler(
            examples,  # type: ignore[arg-type]
            num_replicas=ranks,
            rank=rank,
            seed=seed,
            drop_last=enough,
        )
        super().__init__(
            examples,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=order,
            drop_last=enough,
            collate_fn=collate,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(seed),  # leaves the global random state alone
        )
        self._order = order
        self._done = 0
        self._skipped = {"epoch": 0, "batches": 0}

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Give the batches of an epoch; of the one that was left, those that are not done."""
        # A generator: nothing is drawn before the first batch is asked for, so that the epoch,
        # which Lightning tells after it made the iterator, counts.
        batches = super().__iter__()
        left, self._skipped = self._skipped, {"epoch": 0, "batches": 0}
        goes_on = left["epoch"] == self._order.epoch and left["batches"] < len(self)
        self._done, skipped = 0, left["batches"] if goes_on else 0
        for batch in batches:
            self._done += 1
            if self._done > skipped:
                yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, and how many batches of it are done."""
        return {"epoch": self._order.epoch, "batches": self._done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin after those batches if that epoch goes on, which one that ended early does not."""
        self._skipped = dict(state_dict)


class Unrepeated(DistributedSampler):
    """Deals examples to ranks in turn, each once; a rank may get none.

    Lightning leaves it in place, where its own sampler would repeat examples to make ranks even.

    Args:
        examples: N of them.
        rank: Of this process, from 0.
        ranks: How many processes there are.

    Examples:
        >>> [list(Unrepeated("abc", rank, ranks=2)) for rank in range(2)]
        [[0, 2], [1]]
    """

    def __init__(self, examples: Sequence[Any] | Dataset[Any], rank: int, ranks: int) -> None:
        super().__init__(examples, num_replicas=ranks, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self._mine = range(rank, len(examples), ranks)  # type: ignore[arg-type]
        self.num_samples = len(self._mine)

    def __iter__(self) -> Iterator[int]:
        """Give the places of this rank's examples."""
        return iter(self._mine)
