"""Batches of target sets → shards on disk, one writer per process, and one manifest at the end."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from r4t.errors import InputError
from r4t.support.files import write_text
from r4t.support.fingerprints import fingerprint
from r4t.targets.card import data_card
from r4t.targets.format import MANIFEST, Manifest, Origin, TargetBatch
from r4t.targets.shards import CARD, begin, check_begin, commit_shard, committed_shards, read_record

TeacherCounts = Mapping[str, Mapping[str, int]]


class TargetWriter:
    """Writes the shards of one process into a folder that ``begin`` made ready.

    Args:
        folder: With unfinished sets of this origin, whose committed shards stay, or none.
        origin: Of the sets.
        shard_size: Number of sets at which a shard is written, at least 1.
        rank: Of this process.

    Attributes:
        done: Ids of the queries in committed shards of any rank, which need no more samples.
    """

    def __init__(
        self, folder: str | Path, origin: Origin, *, shard_size: int = 8192, rank: int = 0
    ) -> None:
        self.folder, self.origin = Path(folder), origin
        self._shard_size, self._rank, self._next = shard_size, rank, 0
        self._kind: tuple[tuple[int, ...], list[str]] | None = None  # (L, d) and scores
        self.done: set[str] = set()
        for path in committed_shards(self.folder):
            self.done.update(read_record(path)["queries"])
            _, owner, number = path.stem.split("-")
            self._next = int(number) + 1 if int(owner) == rank else self._next
        self._clear()

    def add(
        self,
        batch: TargetBatch | None,
        queries: Iterable[str] = (),
        drawn: int = 0,
        dropped: Mapping[str, int] | None = None,
        teachers: TeacherCounts | None = None,
    ) -> None:
        """Add all sets of some queries; a full shard is written at once.

        Args:
            batch: The sets; None if the filter kept none.
            queries: Ids of the sampled queries, with or without a set.
            drawn: Number of their samples.
            dropped: Reason → number of samples dropped.
            teachers: Key of a method → "candidates", "kept" and "best", as in ``Manifest``.

        Raises:
            InputError: If the batch's L or d is not the folder's, or its objectives differ from
                those of earlier batches.
        """
        self._drawn += drawn
        self._dropped.update(dropped or {})
        _add(self._teachers, teachers or {})
        self._queries.update(dict.fromkeys(queries))
        if batch is None:
            return
        kind = tuple(batch.rows.shape[1:]), sorted(batch.scores)
        self._kind = self._kind or ((self.origin.set_size, self.origin.dim), kind[1])
        if kind != self._kind:
            raise InputError(
                expected="target sets of (L, d) = {} with the scores {}".format(*self._kind),
                found="{} with {} in a batch".format(*kind),
                remedy=f"Write only sets of one kind into {self.folder}.",
            )
        self._waiting.append(batch)
        self._queries.update(dict.fromkeys(batch.query_ids))
        if sum(map(len, self._waiting)) >= self._shard_size:
            self.flush()

    def flush(self) -> None:
        """Commit what is waiting, if anything, as one shard."""
        if not self._queries and not self._drawn:
            return
        answered = {query for batch in self._waiting for query in batch.query_ids}
        record = {
            "queries": list(self._queries),
            "drawn": self._drawn,
            "dropped": dict(self._dropped),
            "teachers": {key: dict(counts) for key, counts in self._teachers.items()},
            "empty": [query for query in self._queries if query not in answered],
        }
        name = f"shard-{self._rank:03d}-{self._next:05d}"
        commit_shard(self.folder, name, self._waiting, record)
        self._next += 1
        self._clear()

    def _clear(self) -> None:
        self._waiting: list[TargetBatch] = []
        self._queries: dict[str, None] = {}  # in order
        self._drawn, self._dropped = 0, Counter[str]()
        self._teachers: dict[str, Counter[str]] = {}

    def close(self, objectives: dict[str, Any] | None = None) -> Manifest:
        """Commit the rest and write card and manifest; only the last of several processes may.

        Args:
            objectives: What the objectives report about their scores.

        Raises:
            InputError: If no process kept a sample.
        """
        self.flush()
        records = [read_record(path) for path in committed_shards(self.folder)]
        queries, empty = (
            {i for each in records for i in each[key]} for key in ("queries", "empty")
        )
        drawn, dropped = sum(each["drawn"] for each in records), Counter[str]()
        teachers: dict[str, Counter[str]] = {}
        for each in records:
            dropped.update(each["dropped"])
            _add(teachers, each.get("teachers", {}))
        keys = ("name", "sets", "bytes", "texts_bytes")
        shards = [{key: each[key] for key in keys} for each in records if each["sets"]]
        if not shards:
            raise InputError(
                expected="at least one sample that passes the filter",
                found=f"none of {drawn} samples of {len(queries)} queries in {self.folder} (dropped: "
                f"{dict(dropped)})",
                remedy="Loosen the filter, and set overwrite to start over.",
            )
        manifest = Manifest(
            **asdict(self.origin),
            config_fingerprint=fingerprint(self.origin.config),
            sets=sum(shard["sets"] for shard in shards),
            drawn=drawn,
            asked=len(queries),
            queries=len(queries - empty),
            dropped=dict(dropped),
            teachers={key: dict(counts) for key, counts in teachers.items()},
            objectives=objectives or {},
            shards=shards,
        )
        write_text(self.folder / CARD, data_card(self.folder, manifest))
        # Renaming is atomic: no reader ever sees half a manifest.
        write_text(self.folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
        return manifest


def _add(totals: dict[str, Counter[str]], teachers: TeacherCounts) -> None:
    for key, counts in teachers.items():
        totals.setdefault(key, Counter()).update(counts)


def write_targets(
    folder: str | Path,
    batches: Iterable[TargetBatch],
    *,
    shard_size: int = 8192,
    overwrite: bool = False,
    **origin: Any,
) -> Manifest:
    """Write all ``batches`` at once; ``origin`` has the arguments of ``Origin``."""
    folder, facts = Path(folder), Origin(**origin)
    begin(folder, facts, check_begin(folder, facts, overwrite))
    writer = TargetWriter(folder, facts, shard_size=shard_size)
    for batch in batches:
        writer.add(batch)
    return writer.close()
