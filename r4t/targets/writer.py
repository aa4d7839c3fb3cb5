"""Batches of target sets → shards on disk, one writer a process, and one manifest at the end."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from r4t.errors import InputError
from r4t.support.files import write_text
from r4t.support.fingerprints import fingerprint
from r4t.targets.card import data_card
from r4t.targets.format import MANIFEST, Manifest, Origin, TargetBatch
from r4t.targets.shards import CARD, begin, check_begin, commit_shard, committed_shards, read_record


class TargetWriter:
    """Writes the shards of one process into a folder that ``begin`` made ready.

    What has landed stays: an unfinished folder of the same origin goes on where it was left. A
    folder without a manifest does not load; ``close`` writes it.

    Attributes:
        manifest: Of all shards, once the folder is finished.
        done: Ids of the queries that landed before, on whatever rank: they need no sample.
    """

    def __init__(
        self,
        folder: str | Path,
        origin: Origin,
        *,
        shard_size: int = 8192,
        rank: int = 0,
    ) -> None:
        """Look at what has landed.

        Args:
            folder: Begun for sets of this origin.
            origin: Of the sets.
            shard_size: Sets from which a shard is written, at least 1.
            rank: Of this process.
        """
        self.folder, self.origin = Path(folder), origin
        self._shard_size, self._rank = shard_size, rank
        self.manifest: Manifest | None = None
        self._waiting: list[TargetBatch] = []
        self._names: set[str] = set()
        self._fresh()
        self.done: set[str] = set()
        numbers = []
        for path in committed_shards(self.folder):
            self.done.update(read_record(path)["queries"])
            _, owner, number = path.stem.split("-")
            numbers += [int(number)] if int(owner) == rank else []
        self._next = max(numbers, default=-1) + 1

    def add(self, batch: TargetBatch) -> None:
        """Take all sets of some queries; a shard that is full goes to disk at once.

        Raises:
            InputError: L or d of the batch is not the folder's, or its objectives are not those of
                the batch before.
        """
        expected = (self.origin.set_size, self.origin.dim)
        if tuple(batch.rows.shape[1:]) != expected:
            raise InputError(
                f"These target sets have (L, d) = {expected}, found {tuple(batch.rows.shape[1:])} "
                "in a batch: write each kind into a folder of its own."
            )
        names = self._names if self._names else set(batch.scores)
        if set(batch.scores) != names:
            raise InputError(
                f"These target sets carry the scores {sorted(names)}, found {sorted(batch.scores)} "
                "in a batch: score all sets with the same objectives."
            )
        self._names = names
        self._waiting.append(batch)
        self._asked.update(dict.fromkeys(batch.query_ids))
        if sum(map(len, self._waiting)) >= self._shard_size:
            self.flush()

    def count(
        self,
        drawn: int = 0,
        dropped: dict[str, int] | None = None,
        queries: Iterable[str] = (),
    ) -> None:
        """Add samples drawn, those dropped by reason, and queries that were asked.

        Call it before ``add``, which may land the shard that they belong to.
        """
        self._drawn += drawn
        self._asked.update(dict.fromkeys(queries))
        for reason, number in (dropped or {}).items():
            self._dropped[reason] = self._dropped.get(reason, 0) + number

    def flush(self) -> None:
        """Land what is waiting as one shard; nothing if there is nothing."""
        if not self._waiting and not self._asked and not self._drawn:
            return
        batch = TargetBatch.concatenate(self._waiting) if self._waiting else None
        record = {"queries": list(self._asked), "drawn": self._drawn, "dropped": self._dropped}
        answered = set() if batch is None else set(batch.query_ids)
        record["empty"] = [query for query in self._asked if query not in answered]
        commit_shard(self.folder, f"shard-{self._rank:03d}-{self._next:05d}", batch, record)
        self._next += 1
        self._fresh()

    def close(self, objectives: dict[str, Any] | None = None) -> Manifest:
        """Land the rest and finish the folder; for one process, or for the last of several."""
        self.flush()
        self.manifest = finish(self.folder, self.origin, objectives)
        return self.manifest

    def _fresh(self) -> None:
        self._waiting = []
        self._asked: dict[str, None] = {}  # in order
        self._drawn, self._dropped = 0, dict[str, int]()


def finish(folder: Path, origin: Origin, objectives: dict[str, Any] | None = None) -> Manifest:
    """Write data card and manifest of all that has landed, one record at a time.

    Args:
        folder: Of the target sets.
        origin: Of them.
        objectives: What the objectives tell of their scores.

    Raises:
        InputError: No set was kept.
    """
    asked, empty, shards = set[str](), set[str](), []
    dropped: dict[str, int] = {}
    sets = drawn = 0
    for path in committed_shards(folder):
        record = read_record(path)
        asked.update(record["queries"])
        empty.update(record["empty"])
        sets, drawn = sets + record["sets"], drawn + record["drawn"]
        for reason, number in record["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + number
        if record["sets"]:
            shards.append({k: record[k] for k in ("name", "sets", "bytes", "texts_bytes")})
    if not shards:
        raise InputError(
            f"Target sets need at least one sample that passes the filter, found none of "
            f"{drawn} samples of {len(asked)} queries in {folder} (dropped: "
            f"{dropped}): loosen the filter, and allow overwriting to begin again."
        )
    manifest = Manifest(
        **asdict(origin),
        config_fingerprint=fingerprint(origin.config),
        sets=sets,
        drawn=drawn,
        asked=len(asked),
        queries=len(asked - empty),
        dropped=dropped,
        objectives={} if objectives is None else objectives,
        shards=shards,
    )
    write_text(folder / CARD, data_card(folder, manifest))
    # Renaming is atomic: no reader ever sees half a manifest.
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
    return manifest


def write_targets(
    folder: str | Path,
    batches: Iterable[TargetBatch],
    *,
    shard_size: int = 8192,
    overwrite: bool = False,
    **origin: Any,
) -> Manifest:
    """Write all ``batches`` at once, ``shard_size`` sets a shard; ``origin`` is that of ``Origin``."""
    folder, told = Path(folder), Origin(**origin)
    begin(folder, told, check_begin(folder, told, overwrite))
    writer = TargetWriter(folder, told, shard_size=shard_size)
    for batch in batches:
        for start in range(0, len(batch), shard_size):
            writer.add(batch[start : start + shard_size])
    return writer.close()
