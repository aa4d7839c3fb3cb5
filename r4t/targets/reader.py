"""A finished folder of target sets → checked, memory-mapped tensors and a map-style data set."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from r4t.errors import InputError
from r4t.targets.format import FORMAT_VERSION, MANIFEST, SCORE, Manifest, TargetBatch, check_finite
from r4t.targets.shards import read_json, read_record


class TargetSets(Dataset[tuple[Tensor, Tensor]]):
    """A finished folder of target sets; tensors stay on disk until they are read.

    It is a map-style data set of conditions (d,) and rows (L, d). ``__getitems__`` fetches a whole
    batch, already stacked: give the ``DataLoader`` the ``collate_fn`` ``as_fetched``.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._paths = [folder / shard["name"] for shard in manifest.shards]
        self._open: dict[int, dict[str, Tensor]] = {}
        self._starts = torch.tensor([0] + [shard["sets"] for shard in manifest.shards]).cumsum(0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a worker maps the files itself

    @classmethod
    def load(cls, folder: str | Path, expected_fingerprint: str | None = None) -> "TargetSets":
        """Open what ``TargetWriter`` wrote and check that it is whole.

        Args:
            folder: To open.
            expected_fingerprint: Of the catalog that the sets must fit; any catalog by default.

        Raises:
            InputError: If the manifest is missing, damaged or of another format version, the
                fingerprint is that of another catalog, or a shard is missing, cut off or misshapen.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if expected_fingerprint is not None and manifest.fingerprint != expected_fingerprint:
            raise InputError(
                expected=f"target sets of the catalog {expected_fingerprint}",
                found=f"those of {manifest.fingerprint} in {folder}",
                remedy="Synthesize them again with this catalog.",
            )
        for shard in manifest.shards:
            _check_shard(folder / shard["name"], shard, manifest)
        return cls(folder, manifest)

    def __len__(self) -> int:
        return self.manifest.sets

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        condition, rows = self.__getitems__([number])
        return condition[0], rows[0]

    def __getitems__(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        places = torch.tensor(numbers)
        condition = torch.empty(len(places), self.manifest.dim)
        rows = torch.empty(len(places), self.manifest.set_size, self.manifest.dim)
        owner = torch.bucketize(places, self._starts, right=True) - 1
        for shard in owner.unique().tolist():
            here = owner == shard
            local = places[here] - self._starts[shard]
            tensors = self.tensors(shard)
            condition[here], rows[here] = tensors["condition"][local], tensors["rows"][local]
        return condition, rows

    def tensors(self, shard: int) -> dict[str, Tensor]:
        """Return the memory-mapped tensors of a shard by name; refuse any that are not finite."""
        if shard not in self._open:
            with safe_open(self._paths[shard], framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            check_finite(tensors, lambda row: str(self._paths[shard]))
            self._open[shard] = tensors
        return self._open[shard]

    def shard(self, number: int) -> TargetBatch:
        """Return a whole shard with its texts."""
        tensors = self.tensors(number)
        with self._paths[number].with_suffix(".jsonl").open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        return TargetBatch(
            condition=tensors["condition"],
            rows=tensors["rows"],
            items=tensors["items"],
            scores={k.removeprefix(SCORE): t for k, t in tensors.items() if k.startswith(SCORE)},
            query_ids=[line["query_id"] for line in lines],
            queries=[line["query"] for line in lines],
            texts=[line["texts"] for line in lines],
            item_ids=[line["items"] for line in lines] if "items" in lines[0] else None,
            teachers=[line["teacher"] for line in lines] if "teacher" in lines[0] else None,
        )

    def queries(self) -> tuple[list[str], Tensor]:
        """Return the ids of the queries, and (n,) int32 which of them each set answers."""
        numbers: dict[str, int] = {}
        owners = []
        for path in self._paths:
            ids = read_record(path.with_suffix(".json"))["queries"]
            rows = [numbers.setdefault(query, len(numbers)) for query in ids]
            with safe_open(path, framework="pt") as file:
                places = file.get_tensor("query").long()
            owners.append(torch.tensor(rows, dtype=torch.int32)[places])
        return list(numbers), torch.cat(owners)

    def teachers(self) -> list[str]:
        """Return the key of the method that each set comes from; "" if the folder does not say."""
        keys = []
        for path in self._paths:
            with path.with_suffix(".jsonl").open(encoding="utf-8") as file:
                keys += [json.loads(line).get("teacher", "") for line in file]
        return keys


def as_fetched(batch: Any) -> Any:
    """Return the batch unchanged: ``TargetSets.__getitems__`` has stacked it already."""
    return batch


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of finished target sets; no shard is opened.

    Raises:
        InputError: If it is missing, damaged or of another format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            expected=f"finished target sets with a {MANIFEST}",
            found=f"none in {folder}",
            remedy="Run r4t synthesize to its end, or name the folder that it wrote.",
        )
    content = read_json(path) or {}
    if (version := content.get("format_version", "unknown")) != FORMAT_VERSION:
        raise _damaged(f"target sets of format {FORMAT_VERSION}", f"format {version} in {path}")
    return Manifest(**content)


def _check_shard(path: Path, record: dict[str, Any], manifest: Manifest) -> None:
    sizes = {".safetensors": record["bytes"], ".jsonl": record["texts_bytes"], ".json": None}
    for ending, size in sizes.items():
        file = path.with_suffix(ending)
        if not file.is_file():
            raise _damaged(f"{file}, which the manifest names", "no such file")
        if size not in (None, file.stat().st_size):
            raise _damaged(f"{size} bytes in {file}", f"{file.stat().st_size} bytes")
    n, length, dim = record["sets"], manifest.set_size, manifest.dim
    expected = {"condition": [n, dim], "rows": [n, length, dim], "items": [n, length], "query": [n]}
    try:
        with safe_open(path, framework="pt") as tensors:
            shapes = {name: tensors.get_slice(name).get_shape() for name in expected}
    except SafetensorError as error:
        raise _damaged(f"{', '.join(expected)} in {path}", f"something else ({error})") from error
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise _damaged(f"{name} of shape {shape} in {path}", f"shape {shapes[name]}")


def _damaged(expected: str, found: str) -> InputError:
    remedy = "Copy the whole folder again, or synthesize the sets again."
    return InputError(expected=expected, found=found, remedy=remedy)
