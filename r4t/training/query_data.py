"""A run's queries → batches of ``Query`` for stages 1 and 2."""

import os
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Sampler

from r4t.data.loader import ResumableLoader, Unrepeated
from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.run import Run


class QueryData(LightningDataModule):
    """Queries of a run: ``train`` to fit and synthesize, ``val`` to validate, ``test`` to test.

    Args:
        run: Run folder.
        batch_size: Queries B per step and rank.
        val_queries: Number of validation queries, from the first; all by default.
        synthesize_queries: Number of training queries to synthesize for; all by default.
        written: Whether to synthesize also for the queries of ``written.jsonl``, which a language model
            (``r4t queries --writer``) or users (``--log``) wrote and which have no references.
        seed: Of the order of the training queries; that of ``seed_everything`` by default.

    Raises:
        InputError: If a number is below 1, or synthesis has fewer queries than processes.
    """

    def __init__(
        self,
        run: str,
        batch_size: int = 16,
        val_queries: int | None = None,
        synthesize_queries: int | None = None,
        written: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        numbers = {"val_queries": val_queries, "synthesize_queries": synthesize_queries}
        numbers["batch_size"] = batch_size
        check_least({name: (count, 1) for name, count in numbers.items() if count is not None})
        self.run, self.batch_size, self.seed = run, batch_size, seed
        self.val_queries, self.synthesize_queries = val_queries, synthesize_queries
        self.written = written

    def train_dataloader(self) -> DataLoader:
        """Return shuffled batches of training queries, in an order that can be resumed."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed
        queries = self._queries("train", None)
        return ResumableLoader(queries, self.batch_size, seed, collate=list, **self._ranks())

    def val_dataloader(self) -> DataLoader:
        """Return batches of validation queries, in order."""
        return self._loader(self._queries("val", self.val_queries))

    def test_dataloader(self) -> DataLoader:
        """Return batches of test queries, in order."""
        return self._loader(self._queries("test", None))

    def predict_dataloader(self) -> DataLoader:
        """Return batches of training queries, in order, each on one rank: what ``synthesize`` reads."""
        queries, ranks = self._queries("train", self.synthesize_queries), self._ranks()
        if self.written:
            queries += self._queries("written", None)
        if len(queries) < ranks["ranks"]:
            raise InputError(
                expected=f"a query for each of the {ranks['ranks']} processes that synthesize",
                found=f"{len(queries)}",
                remedy="Use fewer processes.",
            )
        return self._loader(queries, Unrepeated(queries, **ranks))

    def transfer_batch_to_device(
        self, batch: list[Query], device: torch.device, dataloader_idx: int
    ) -> list[Query]:
        """Return the batch unchanged: queries are text (and Lightning refuses frozen classes)."""
        return batch

    def _ranks(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "ranks": 1}
        return {"rank": self.trainer.global_rank, "ranks": self.trainer.world_size}

    def _loader(self, queries: Any, sampler: Sampler | None = None) -> DataLoader:
        # A generator of its own leaves the global random state alone.
        settings: dict[str, Any] = {"collate_fn": list, "generator": torch.Generator()}
        return DataLoader(queries, batch_size=self.batch_size, sampler=sampler, **settings)

    def _queries(self, split: str, count: int | None) -> list[Query]:
        run = Run.open(self.run)
        queries, unknown = run.searcher().searchable(run.read_queries(split))
        if unknown:
            rank_zero_warn(
                f"Skipping {len(unknown)} of {len(unknown) + len(queries)} {split} queries, because "
                f"the encoder knows none of their words: {[q.text for q in unknown[:3]]} …"
            )
        return queries[:count]
