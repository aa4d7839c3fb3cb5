"""A folder of target sets → batches (condition (B, d), rows (B, L, d)), split by query."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from r4t.choice import SetMemory
from r4t.data.loader import ResumableLoader, Unrepeated
from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.run import Run
from r4t.targets import TargetBatch, TargetSets, as_fetched

MEASURED = 4096  # sets from which sigma_data is measured


class TargetData(LightningDataModule):
    """Training and validation batches of the target sets in a folder.

    All sets of a query are on the same side, which depends on the query's id and the seed alone. The
    order of training batches depends on seed and epoch alone, and a resumed fit continues it. Ranks
    together see the batches that one process with ranks · ``batch_size`` sees.

    Validation has two loaders: held-out target sets, for the loss, and the run's validation queries,
    for retrieval. Ranks get whole batches, none twice, so that results do not depend on their number.

    Args:
        folder: Target sets as synthesis wrote them; by default those of ``run``.
        batch_size: Sets per batch and process.
        val_share: Share of the queries to validate on, in [0, 1); at least one query above 0.
        val_queries: Retrieve for this many of the run's validation queries, the first ones; all by
            default, 0 for none.
        seed: Of the split.
        num_workers: Loader processes; 0 reads in the main process, which is fast, as shards are
            memory-mapped.
        shares: Teacher → its share, above 0, of the training sets in an epoch, together below 1; its
            sets are repeated to come near it. By default every set counts once.
        expected_fingerprint: Of the catalog that the sets must fit; by default that of ``run``.
            Without either nothing is checked.
        run: Run folder.

    Raises:
        InputError: If ``val_share`` is outside [0, 1), a number is too small, neither folder nor
            run is given, or shares do not fit.
    """

    def __init__(
        self,
        folder: str | None = None,
        batch_size: int = 256,
        val_share: float = 0.1,
        val_queries: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
        expected_fingerprint: str | None = None,
        run: str | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= val_share < 1:
            raise InputError(
                expected="a val_share in [0, 1)", found=f"{val_share}", remedy="Use 0 for none."
            )
        limit = 0 if val_queries is None else val_queries
        least = {"batch_size": (batch_size, 1), "num_workers": (num_workers, 0)}
        check_least({**least, "val_queries": (limit, 0)})
        if folder is None and run is None:
            raise InputError(
                expected="a folder of target sets or a run", found="neither", remedy="Name one."
            )
        self.run = None if run is None else Run.open(run)
        if self.run is not None:
            folder = str(self.run.step("targets")) if folder is None else folder
            expected_fingerprint = expected_fingerprint or self.run.fingerprint
        self.folder, self.expected_fingerprint = Path(folder or ""), expected_fingerprint
        self.batch_size, self.num_workers = batch_size, num_workers
        self.val_share, self.val_queries, self.seed = val_share, val_queries, seed
        self.shares = dict(shares or {})
        if min(self.shares.values(), default=1) <= 0 or sum(self.shares.values()) >= 1:
            raise InputError(
                expected="shares above 0 that leave something to the other teachers",
                found=f"{self.shares}",
                remedy="Use {references: 0.5} for every second set.",
            )

    def setup(self, stage: str | None = None) -> None:
        """Open the folder and split it.

        Raises:
            InputError: If the folder does not load, or has no set to train on.
        """
        sets = TargetSets.load(self.folder, self.expected_fingerprint)
        ids, owners = sets.queries()
        answered = owners.unique()
        held_out = validation_queries({ids[n] for n in answered}, self.val_share, self.seed)
        is_held_out = torch.tensor([query in held_out for query in ids])[owners.long()]
        if is_held_out.all():
            raise InputError(
                expected=f"target sets of at least {1 + len(held_out)} queries, to hold out "
                f"{len(held_out)}",
                found=f"{len(answered)} in {self.folder}",
                remedy="Synthesize more, or set val_share to 0.",
            )
        train = (~is_held_out).nonzero().flatten()
        if self.shares:
            teachers = sets.teachers()
            train = train.repeat_interleave(repeats([teachers[n] for n in train], self.shares))
        self.train, self.val = (
            Subset(sets, side.numpy())  # type: ignore[arg-type]
            for side in (train, is_held_out.nonzero().flatten())
        )
        self.queries = self._queries()

    def sigma_data(self) -> float:
        """Root mean square of the coordinates of training rows, from up to 4,096 sets."""
        step = max(1, len(self.train) // MEASURED)
        _, rows = self.train.__getitems__(list(range(0, len(self.train), step))[:MEASURED])
        return float(rows.double().square().mean().sqrt())  # type: ignore[attr-defined]

    def memory(self) -> SetMemory:
        """Return what the training sets hold, whatever their shares."""
        sets: Any = self.train.dataset
        trained = {int(number) for number in self.train.indices}
        starts = [0, *accumulate(shard["sets"] for shard in sets.manifest.shards)]

        def told() -> Iterator[tuple[str, str, Tensor, list[int]]]:
            for shard, start in enumerate(starts[:-1]):
                batch: TargetBatch = sets.shard(shard)
                teachers = batch.teachers or [""] * len(batch)
                for n, (query, teacher) in enumerate(zip(batch.query_ids, teachers)):
                    if start + n in trained:
                        yield query, teacher, batch.condition[n], batch.items[n].tolist()

        return SetMemory.of(told(), sets.manifest.fingerprint)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches; a short last one is dropped unless it is the only one."""
        seed, workers = int(os.environ.get("PL_GLOBAL_SEED", self.seed)), self.num_workers
        return ResumableLoader(
            self.train,
            self.batch_size,
            seed,
            *self._rank(),
            collate=as_fetched,
            num_workers=workers,
        )

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Batches (first, condition, rows) of held-out sets, and (first, queries) of the run's.

        ``first`` is the number of a batch's first set or query among all in its loader.
        """
        return [self._whole(self.val), self._whole(self.queries)]

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Transfer tensors only: queries are text."""
        if len(batch) == 2 and isinstance(batch[1], list):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _queries(self) -> list[Query]:
        run = self.run
        if self.val_queries == 0 or run is None or not (run.queries / "val.jsonl").is_file():
            return []
        queries, unknown = run.searcher().searchable(run.read_queries("val"))
        if unknown:
            rank_zero_warn(
                f"{len(unknown)} of {len(unknown) + len(queries)} val queries are skipped, because "
                f"the encoder knows none of their words: {[q.text for q in unknown[:3]]} …"
            )
        return queries[: self.val_queries]

    def _whole(self, examples: Subset[Any] | list[Query]) -> DataLoader[Any]:
        rank, ranks = self._rank()
        if 0 < len(examples) < ranks:
            raise InputError(
                expected=f"at least one held-out set and query for each of {ranks} processes",
                found=f"{len(examples)}",
                remedy="Raise val_share or val_queries, or use fewer processes.",
            )
        batches = WholeBatches(examples, max(1, min(self.batch_size, len(examples) // ranks)))
        return DataLoader(
            batches,
            batch_size=None,
            sampler=Unrepeated(batches, rank, ranks),
            generator=torch.Generator(),  # leaves the global random state alone
        )

    def _rank(self) -> tuple[int, int]:
        """Return the number of this process, and how many there are."""
        here = self.trainer
        return (0, 1) if here is None else (here.global_rank, here.world_size)


class WholeBatches(Dataset[Any]):
    """Examples in their order, whole batches as items: (first, queries) or (first, *tensors)."""

    def __init__(self, examples: Subset[Any] | list[Query], size: int) -> None:
        self.examples, self.size = examples, size

    def __len__(self) -> int:
        return -(-len(self.examples) // self.size)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        first = number * self.size
        if isinstance(self.examples, list):
            return first, self.examples[first : first + self.size]
        numbers = range(len(self.examples))[first : first + self.size]
        return first, *self.examples.__getitems__(list(numbers))


def repeats(teachers: Sequence[str], shares: Mapping[str, float]) -> Tensor:
    """Return how often (n,) each set is repeated, so that teachers come near their shares.

    Args:
        teachers: Key of the teacher of each of n sets.
        shares: Teacher → share; together below 1, the rest is that of the other teachers.

    Raises:
        InputError: If no set is of such a teacher, none is of another, or a share is below what the
            teacher's sets already have.

    Examples:
        >>> repeats(["references", "folm", "folm", "folm", "folm"], {"references": 0.5}).tolist()
        [4, 1, 1, 1, 1]
    """
    counts = Counter(teachers)
    others = len(teachers) - sum(counts[teacher] for teacher in shares)
    missing = [teacher for teacher in shares if not counts[teacher]]
    if missing or not others:
        raise InputError(
            expected="target sets of each teacher in shares, and of others",
            found=", ".join(f"{count} of {key or 'unnamed'}" for key, count in counts.items()),
            remedy="Name teachers of these sets, all but one at most.",
        )
    unit = others / (1 - sum(shares.values()))
    for teacher, share in shares.items():
        if share * unit < counts[teacher]:
            raise InputError(
                expected=f"a share of {teacher} above what its sets already have",
                found=f"{share} for {counts[teacher]} of {len(teachers)} sets",
                remedy="Give the share of the other teachers instead.",
            )
    times = {key: round(share * unit / counts[key]) for key, share in shares.items()}
    return torch.tensor([times.get(teacher, 1) for teacher in teachers])


def validation_queries(ids: set[str], share: float, seed: int) -> set[str]:
    """Choose round(share · n) of the n query ids, at least one if ``share`` > 0.

    Examples:
        >>> len(validation_queries({str(i) for i in range(20)}, 0.1, seed=0))
        2
    """
    size = max(1, round(share * len(ids))) if share > 0 else 0
    return set(sorted(ids, key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).digest())[:size])
