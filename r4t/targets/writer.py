"""Batches of target sets → shards on disk, and a manifest at the end."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors.torch import save_file

from r4t.errors import InputError
from r4t.targets.format import MANIFEST, SCORE, Manifest, TargetBatch


class TargetWriter:
    """Writes a folder of target sets; use it in a ``with`` block, whose clean end is the manifest.

    A block left by an exception leaves no manifest, so that the folder counts as unfinished; a
    later writer clears such a folder.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        fingerprint: str,
        encoder: str,
        model: str,
        dim: int,
        set_size: int,
        shard_size: int = 8192,
        overwrite: bool = False,
    ) -> None:
        """Open ``folder`` for writing; the other arguments are those of ``Manifest``.

        Args:
            folder: Made where missing.
            fingerprint: See ``Manifest``.
            encoder: See ``Manifest``.
            model: See ``Manifest``.
            dim: See ``Manifest``.
            set_size: See ``Manifest``.
            shard_size: Sets per shard, at least 1.
            overwrite: Whether finished target sets in ``folder`` may be replaced.

        Raises:
            InputError: The folder holds finished target sets and ``overwrite`` is False.
        """
        self.folder = Path(folder)
        self.manifest = Manifest(fingerprint, encoder, model, dim, set_size)
        self._shard_size = shard_size
        self._waiting: list[TargetBatch] = []
        self._query_ids: set[str] = set()
        if (self.folder / MANIFEST).exists() and not overwrite:
            raise InputError(
                f"An empty or unfinished folder was expected for the target sets, found finished "
                f"ones in {self.folder}: name another folder or allow overwriting."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for stale in self.folder.glob("shard-*"):
            stale.unlink()

    def __enter__(self) -> "TargetWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def add(self, batch: TargetBatch) -> None:
        """Take n sets; full shards go to disk at once.

        Raises:
            InputError: L or d of the batch is not the folder's, or its objectives are not those of
                the batch before.
        """
        expected = (self.manifest.set_size, self.manifest.dim)
        if tuple(batch.rows.shape[1:]) != expected:
            raise InputError(
                f"These target sets have (L, d) = {expected}, found {tuple(batch.rows.shape[1:])} "
                "in a batch: write each kind into a folder of its own."
            )
        if self._waiting and batch.scores.keys() != self._waiting[0].scores.keys():
            raise InputError(
                f"These target sets carry the scores {sorted(self._waiting[0].scores)}, found "
                f"{sorted(batch.scores)} in a batch: score all sets with the same objectives."
            )
        self._waiting.append(batch)
        self._query_ids.update(batch.query_ids)
        while sum(map(len, self._waiting)) >= self._shard_size:
            self._flush(self._shard_size)

    def count(self, drawn: int = 0, dropped: dict[str, int] | None = None) -> None:
        """Add to the samples drawn and, by reason, to those dropped."""
        self.manifest.drawn += drawn
        for reason, number in (dropped or {}).items():
            self.manifest.dropped[reason] = self.manifest.dropped.get(reason, 0) + number

    def close(self) -> Manifest:
        """Write what is left, then the manifest."""
        if self._waiting:
            self._flush(self._shard_size)
        self.manifest.queries = len(self._query_ids)
        # Renaming is atomic: no reader ever sees half a manifest.
        part = self.folder / (MANIFEST + ".part")
        part.write_text(json.dumps(asdict(self.manifest), indent=2) + "\n", encoding="utf-8")
        os.replace(part, self.folder / MANIFEST)
        return self.manifest

    def _flush(self, size: int) -> None:
        whole = TargetBatch.concatenate(self._waiting)
        shard, rest = whole[:size], whole[size:]
        self._waiting = [rest] if len(rest) else []
        path = self.folder / f"shard-{len(self.manifest.shards):05d}.safetensors"
        tensors = {
            "condition": shard.condition.float(),
            "rows": shard.rows.float(),
            "items": shard.items.long(),
            **{SCORE + name: score.float() for name, score in shard.scores.items()},
        }
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
        with path.with_suffix(".jsonl").open("w", encoding="utf-8") as lines:
            for query_id, query, texts in zip(shard.query_ids, shard.queries, shard.texts):
                line = {"query_id": query_id, "query": query, "texts": list(texts)}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.manifest.sets += len(shard)
        self.manifest.shards.append(
            {"name": path.name, "sets": len(shard), "bytes": path.stat().st_size}
        )


def write_targets(folder: str | Path, batches: Iterable[TargetBatch], **arguments: Any) -> Manifest:
    """Write all ``batches`` at once; ``arguments`` are those of ``TargetWriter``."""
    with TargetWriter(folder, **arguments) as writer:
        for batch in batches:
            writer.add(batch)
    return writer.manifest
