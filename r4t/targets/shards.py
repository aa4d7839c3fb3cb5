"""A shard of target sets ↔ its files, of which all or none count; and what a folder was begun with.

A shard ``shard-RRR-NNNNN`` of rank RRR is a ``.safetensors``, a ``.jsonl`` and, renamed into place last,
a ``.json``: the landing record, which tells of sizes, counts and the queries that are done. Files
without a record are those of a shard that was in flight when the program was killed.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from r4t.errors import InputError
from r4t.support.files import PART, replacing, write_text
from r4t.targets.format import MANIFEST, SCORE, Origin, TargetBatch

BEGUN, CARD = "begun.json", "README.md"
RECORDED = ("name", "sets", "queries", "empty", "drawn", "dropped")


def commit_shard(
    folder: Path, name: str, batch: TargetBatch | None, record: dict[str, Any]
) -> None:
    """Write a shard and its landing record.

    Args:
        folder: Of the target sets.
        name: Of the shard, without an ending.
        batch: Its sets; None where its queries have none.
        record: ``queries`` (ids that are done with it), ``empty`` (those of them without a set),
            ``drawn`` and ``dropped``; sizes are added.
    """
    sizes: dict[str, Any] = {"name": f"{name}.safetensors", "sets": 0}
    if batch is not None:
        numbers = {query: number for number, query in enumerate(record["queries"])}
        own = torch.tensor([numbers[query] for query in batch.query_ids], dtype=torch.int32)
        tensors = {
            "condition": batch.condition.float(),
            "rows": batch.rows.float(),
            "items": batch.items.long(),
            "query": own,
            **{SCORE + objective: score.float() for objective, score in batch.scores.items()},
        }
        path = folder / f"{name}.safetensors"
        with replacing(path) as part:
            save_file({key: t.detach().cpu().contiguous() for key, t in tensors.items()}, part)
        texts = folder / f"{name}.jsonl"
        write_text(texts, "".join(_lines(batch)))
        sizes |= {
            "sets": len(batch),
            "bytes": path.stat().st_size,
            "texts_bytes": texts.stat().st_size,
        }
    write_text(folder / f"{name}.json", json.dumps({**sizes, **record}, ensure_ascii=False) + "\n")


def _lines(batch: TargetBatch) -> list[str]:
    lines = []
    for row, (query_id, query, texts) in enumerate(
        zip(batch.query_ids, batch.queries, batch.texts, strict=True)
    ):
        line: dict[str, Any] = {"query_id": query_id, "query": query, "texts": list(texts)}
        if batch.item_ids is not None:
            line["items"] = list(batch.item_ids[row])
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return lines


def committed_shards(folder: Path) -> list[Path]:
    """Landing records of a folder, in the order of ranks and shards."""
    return sorted(folder.glob("shard-*.json"))


def read_record(path: Path) -> dict[str, Any]:
    """Read one landing record.

    Raises:
        InputError: It is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {key: record[key] for key in RECORDED} | record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"A landing record of a shard was expected in {path}, found something else ({error}): "
            "synthesize again with overwrite."
        ) from error


def check_begin(folder: Path, origin: Origin, overwrite: bool) -> bool:
    """Look whether sets of this origin may be written to a folder; nothing is changed.

    Args:
        folder: Of target sets; it may be missing.
        origin: Of the sets that will be written.
        overwrite: Whether finished sets, or unfinished ones of another origin, may be replaced.

    Returns:
        Whether there are unfinished sets of the same origin to go on with.

    Raises:
        InputError: The folder holds what must not be replaced.
    """
    finished = (folder / MANIFEST).exists()
    if finished and not overwrite:
        raise InputError(
            f"An empty or unfinished folder was expected for the target sets, found finished "
            f"ones in {folder}: name another folder or allow overwriting."
        )
    told = asdict(origin)
    before = _begun(folder)
    goes_on = not finished and before == told
    if before is not None and not finished and not goes_on and not overwrite:
        differ = sorted(key for key in {*told, *before} if told.get(key) != before.get(key))
        raise InputError(
            f"Unfinished target sets go on with what they were begun with, found another "
            f"{', '.join(differ)} than in {folder / BEGUN}: restore it, name another folder or allow "
            "overwriting."
        )
    return goes_on


def begin(folder: Path, origin: Origin, goes_on: bool) -> None:
    """Make a folder ready: keep what has landed in an unfinished one, or empty it.

    Args:
        folder: Made where missing.
        origin: Of the sets that will be written.
        goes_on: What ``check_begin`` returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not goes_on:
        (folder / MANIFEST).unlink(missing_ok=True)  # first: from here on it counts as unfinished
        (folder / CARD).unlink(missing_ok=True)
    kept = {path.stem for path in committed_shards(folder)} if goes_on else set()
    for path in folder.glob("shard-*"):
        if path.name.split(".")[0] not in kept or path.name.endswith(PART):
            path.unlink()
    write_text(folder / BEGUN, json.dumps(asdict(origin), indent=2) + "\n")


def _begun(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
