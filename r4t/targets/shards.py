"""A shard of target sets ↔ its files, which count together or not at all; how a folder begins.

The ``.json`` of a shard, its record of sizes, counts and finished queries, is renamed into place last.
Files without a record belong to a shard that was being written when the program was killed.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from r4t.errors import InputError
from r4t.support.files import PART, replacing, write_text
from r4t.targets.format import MANIFEST, SCORE, Origin, TargetBatch

BEGUN, CARD = "begun.json", "README.md"
RECORDED = {"name", "sets", "queries", "empty", "drawn", "dropped"}


def commit_shard(
    folder: Path, name: str, batches: Sequence[TargetBatch], record: dict[str, Any]
) -> None:
    """Write a shard and its record.

    Args:
        folder: Of the target sets.
        name: Of the shard, without an ending.
        batches: Its sets, all with the same objectives; there may be none.
        record: ``queries`` (ids that the shard finishes), ``empty`` (those without a set),
            ``drawn``, ``dropped`` and ``teachers``; sizes are added.
    """
    path = folder / f"{name}.safetensors"
    sizes: dict[str, Any] = {"name": path.name, "sets": sum(map(len, batches))}
    if batches:
        numbers = {query: number for number, query in enumerate(record["queries"])}
        owners = [numbers[query] for batch in batches for query in batch.query_ids]
        tensors = {
            "condition": torch.cat([batch.condition.float() for batch in batches]),
            "rows": torch.cat([batch.rows.float() for batch in batches]),
            "items": torch.cat([batch.items.long() for batch in batches]),
            "query": torch.tensor(owners, dtype=torch.int32),
        }
        for name in batches[0].scores:
            tensors[SCORE + name] = torch.cat([batch.scores[name].float() for batch in batches])
        with replacing(path) as part:
            save_file({key: t.detach().cpu().contiguous() for key, t in tensors.items()}, part)
        texts = path.with_suffix(".jsonl")
        write_text(texts, "".join(line for batch in batches for line in _lines(batch)))
        sizes |= {"bytes": path.stat().st_size, "texts_bytes": texts.stat().st_size}
    write_text(path.with_suffix(".json"), _json_line({**sizes, **record}))


def _lines(batch: TargetBatch) -> Iterator[str]:
    for row, query_id in enumerate(batch.query_ids):
        line = {"query_id": query_id, "query": batch.queries[row], "texts": list(batch.texts[row])}
        if batch.item_ids is not None:
            line["items"] = list(batch.item_ids[row])
        if batch.teachers is not None:
            line["teacher"] = batch.teachers[row]
        yield _json_line(line)


def _json_line(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"


def committed_shards(folder: Path) -> list[Path]:
    """Return the shard records of a folder, by rank and number."""
    return sorted(folder.glob("shard-*.json"))


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a shard; a damaged one raises ``InputError``."""
    record = read_json(path)
    if record is None or not record.keys() >= RECORDED:
        raise InputError(
            expected=f"the record of a shard in {path}",
            found="a damaged file",
            remedy="Synthesize the sets again, with overwrite.",
        )
    return record


def check_begin(folder: Path, origin: Origin, overwrite: bool) -> bool:
    """Return whether a folder has unfinished sets of this origin to continue; change nothing.

    Raises:
        InputError: If it has finished sets, or unfinished ones of another origin, and
            ``overwrite`` is not set.
    """
    finished = (folder / MANIFEST).exists()
    if finished and not overwrite:
        raise InputError(
            expected="an empty or unfinished folder for the target sets",
            found=f"finished ones in {folder}",
            remedy="Name another folder, or set overwrite.",
        )
    facts, begun = asdict(origin), read_json(folder / BEGUN)
    if finished or begun is None:
        return False
    differ = sorted(key for key in {*facts, *begun} if facts.get(key) != begun.get(key))
    if differ and not overwrite:
        raise InputError(
            expected=f"the settings with which unfinished target sets were begun ({folder / BEGUN})",
            found=f"another {', '.join(differ)}",
            remedy="Restore them, name another folder, or set overwrite.",
        )
    return not differ


def begin(folder: Path, origin: Origin, goes_on: bool) -> None:
    """Make a folder ready for sets of this origin; empty it unless ``check_begin`` said it goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    if not goes_on:
        (folder / MANIFEST).unlink(missing_ok=True)  # first: now the folder counts as unfinished
        (folder / CARD).unlink(missing_ok=True)
    committed = {path.stem for path in committed_shards(folder)} if goes_on else set()
    for path in folder.glob("shard-*"):
        if path.name.split(".")[0] not in committed or path.name.endswith(PART):
            path.unlink()
    write_text(folder / BEGUN, json.dumps(asdict(origin), indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
