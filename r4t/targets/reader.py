"""A finished folder of target sets → checked, memory-mapped tensors and a map-style data set."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from r4t.errors import InputError
from r4t.targets.format import FORMAT_VERSION, MANIFEST, SCORE, Manifest, TargetBatch
from r4t.targets.shards import read_record

BLOCK = 1024  # sets looked at together


class TargetSets:
    """A finished folder of target sets; tensors stay on disk until they are asked for.

    Attributes:
        folder: Where it lies.
        manifest: What it holds.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._open: dict[int, dict[str, Tensor]] = {}
        sizes = torch.tensor([0] + [shard["sets"] for shard in manifest.shards])
        self._starts = sizes.cumsum(0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a worker maps the files itself

    def __len__(self) -> int:
        return self.manifest.sets

    @classmethod
    def load(cls, folder: str | Path, expected_fingerprint: str | None = None) -> "TargetSets":
        """Open a folder and check that it is whole.

        Args:
            folder: What ``TargetWriter`` wrote.
            expected_fingerprint: The catalog's, if the sets have to fit one.

        Raises:
            InputError: No (readable) manifest, another format version, a missing, cut or unfitting
                shard, or the fingerprint of another catalog.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if expected_fingerprint is not None and manifest.fingerprint != expected_fingerprint:
            raise InputError(
                f"Target sets for the catalog {expected_fingerprint} were expected, found those of "
                f"{manifest.fingerprint} in {folder}: synthesize them again with this catalog."
            )
        for shard in manifest.shards:
            _check_shard(folder / shard["name"], shard, manifest)
        return cls(folder, manifest)

    def tensors(self, shard: int) -> dict[str, Tensor]:
        """Return the memory-mapped tensors of a shard by name.

        Raises:
            InputError: A condition or row is not finite; looked at when a shard is opened.
        """
        if shard not in self._open:
            path = self.folder / self.manifest.shards[shard]["name"]
            with safe_open(path, framework="pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _check_finite(path, found)
            self._open[shard] = found
        return self._open[shard]

    def shard(self, number: int) -> TargetBatch:
        """Return a whole shard with its texts."""
        tensors = self.tensors(number)
        lines = self._lines(number)
        return TargetBatch(
            condition=tensors["condition"],
            rows=tensors["rows"],
            items=tensors["items"],
            scores={k.removeprefix(SCORE): t for k, t in tensors.items() if k.startswith(SCORE)},
            query_ids=[line["query_id"] for line in lines],
            queries=[line["query"] for line in lines],
            item_ids=None
            if not lines or "items" not in lines[0]
            else [line["items"] for line in lines],
            texts=[line["texts"] for line in lines],
        )

    def query_ids(self) -> list[str]:
        """Return the query id of every set, in order."""
        ids, owners = self.queries()
        return [ids[owner] for owner in owners.tolist()]

    def queries(self) -> tuple[list[str], Tensor]:
        """Return the ids of the queries, and for each set (n,) int32 which of them it answers."""
        numbers: dict[str, int] = {}
        parts = []
        for shard, told in enumerate(self.manifest.shards):
            ids = read_record((self.folder / told["name"]).with_suffix(".json"))["queries"]
            own = [numbers.setdefault(query, len(numbers)) for query in ids]
            parts.append(torch.tensor(own, dtype=torch.int32)[self._owners(shard)])
        return list(numbers), torch.cat(parts)

    def gather(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return conditions (n, d) and rows (n, L, d) of the sets with these numbers (n,)."""
        condition = torch.empty(len(numbers), self.manifest.dim)
        rows = torch.empty(len(numbers), self.manifest.set_size, self.manifest.dim)
        owner = torch.bucketize(numbers, self._starts, right=True) - 1
        for shard in owner.unique().tolist():
            here = owner == shard
            local = numbers[here] - self._starts[shard]
            tensors = self.tensors(shard)
            condition[here], rows[here] = tensors["condition"][local], tensors["rows"][local]
        return condition, rows

    def _owners(self, shard: int) -> Tensor:
        path = self.folder / self.manifest.shards[shard]["name"]
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("query").long()

    def _lines(self, shard: int) -> list[dict[str, Any]]:
        path = (self.folder / self.manifest.shards[shard]["name"]).with_suffix(".jsonl")
        with path.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


class TargetDataset(Dataset):
    """Map-style (condition (d,), rows (L, d)) of all or some target sets.

    ``__getitems__`` fetches a batch at once, already stacked; a ``DataLoader`` uses it when its
    ``collate_fn`` is ``as_fetched``.
    """

    def __init__(self, sets: TargetSets, numbers: Tensor | None = None) -> None:
        """Take the sets with these numbers (all by default)."""
        self.sets = sets
        self.numbers = torch.arange(len(sets)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        condition, rows = self.sets.gather(self.numbers[index : index + 1])
        return condition[0], rows[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.sets.gather(self.numbers[torch.tensor(indices)])


def as_fetched(batch: Any) -> Any:
    """Return a batch that ``TargetDataset.__getitems__`` has stacked already."""
    return batch


def read_manifest(folder: Path) -> Manifest:
    """Read what a folder of finished target sets holds and where it came from; no shard is opened.

    Raises:
        InputError: No (readable) manifest, or one of another format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"Finished target sets hold a {MANIFEST}, found none in {folder}: run synthesize (to "
            "its end) first, or name its output folder."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
        if version != FORMAT_VERSION:
            raise InputError(
                f"This program reads target sets of format {FORMAT_VERSION}, found format "
                f"{version} in {folder}: synthesize them again."
            )
        return Manifest(**content)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"A manifest of target sets was expected in {path}, found something else ({error}): "
            "synthesize them again."
        ) from error


def _check_shard(path: Path, told: dict[str, Any], manifest: Manifest) -> None:
    texts, record = path.with_suffix(".jsonl"), path.with_suffix(".json")
    missing = [each.name for each in (path, texts, record) if not each.is_file()]
    if missing:
        raise InputError(
            f"The manifest tells of {path.name} with its .jsonl and .json, found no "
            f"{', '.join(missing)} in {path.parent}: copy the folder whole or synthesize it again."
        )
    for each, expected_size in ((path, told["bytes"]), (texts, told["texts_bytes"])):
        size = each.stat().st_size
        if size != expected_size:
            raise InputError(
                f"{each.name} should be {expected_size} bytes, found {size} in {path.parent}: copy "
                "the folder whole or synthesize it again."
            )
    n, length, dim = told["sets"], manifest.set_size, manifest.dim
    expected = {"condition": [n, dim], "rows": [n, length, dim], "items": [n, length], "query": [n]}
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name).get_shape() for name in expected}
    except SafetensorError as error:
        raise InputError(
            f"{path} should hold {', '.join(expected)}, found a file that does not read so "
            f"({error}): synthesize the sets again."
        ) from error
    for name, shape in expected.items():
        if found[name] != shape:
            raise InputError(
                f"{name} in {path} should have the shape {shape}, found {found[name]}: synthesize "
                "the sets again."
            )


def _check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    for name in ("condition", "rows"):
        for start in range(0, len(tensors[name]), BLOCK):
            part = tensors[name][start : start + BLOCK]
            finite = part.isfinite().flatten(1).all(1)
            if not finite.all():
                row = start + int((~finite).nonzero()[0])
                raise InputError(
                    f"Target sets hold finite numbers, found NaN or infinity in the {name} of set "
                    f"{row} in {path}: synthesize the sets again."
                )
