"""Examples → shuffled batches in an order that a resumed run takes up where it was left."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler


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

    Where there are enough examples for one batch of all ranks, the last ones of an epoch that do
    not fill one more are left out of it; otherwise the one short batch is what there is.

    Example:
        >>> loader = ResumableLoader(list("abcde"), 2, seed=0, collate="".join)
        >>> whole = list(loader)
        >>> loader.load_state_dict({"batches": 1})
        >>> whole[1:] == list(loader), len(whole)
        (True, 2)
    """

    def __init__(
        self,
        examples: Sequence[Any],
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        collate: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        enough = len(examples) >= ranks * batch_size
        sampler: Any = DistributedSampler(
            examples,  # type: ignore[arg-type]
            num_replicas=ranks,
            rank=rank,
            seed=seed,
            drop_last=enough,
        )
        super().__init__(
            examples,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=sampler,
            drop_last=enough,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(seed),  # leaves the global random state alone
        )
        self._done = 0
        self._skipped = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Give the batches of an epoch, the first time without those that are done."""
        # A generator: nothing is drawn before the first batch is asked for, so that the epoch,
        # which Lightning tells after it made the iterator, counts.
        batches = super().__iter__()
        self._done, skipped = 0, self._skipped
        self._skipped = 0
        for batch in batches:
            self._done += 1
            if self._done > skipped:
                yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of this epoch are done."""
        return {"batches": self._done % len(self) if len(self) else 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin the next epoch after that many batches."""
        self._skipped = state_dict["batches"]
