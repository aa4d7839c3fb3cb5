"""Items and embeddings ↔ a catalog folder, memory-mapped, with a fingerprint of its content."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from r4t.data.source import RESERVED, Items
from r4t.encoder import Encoder, load_encoder
from r4t.errors import InputError, nearest
from r4t.geometry import normalize

FILES = ("catalog.json", "items.parquet", "embeddings.safetensors")


class Catalog:
    """N items with unit embeddings; opened with `Catalog.load`, nothing is read before it is used.

    Attributes:
        folder: Where it lies.
        info: The content of catalog.json.
        fingerprint: SHA-256 of ids, texts and embeddings: equal for catalogs of equal content.
        embeddings: (N, d) float32 unit rows, memory-mapped.
    """

    def __init__(self, folder: Path, info: Mapping[str, Any], embeddings: Tensor) -> None:
        self.folder = folder
        self.info = info
        self.fingerprint: str = info["fingerprint"]
        self.embeddings = embeddings
        self._coded: dict[str, tuple[Tensor, list[Any]]] = {}
        self._numbered: dict[str, Tensor] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Catalog:
        """Open a catalog folder.

        Raises:
            InputError: A file is missing, or catalog.json does not fit the embeddings.
        """
        folder = Path(folder)
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise InputError(
                f"A catalog folder holds {', '.join(FILES)} — found no {missing[0]} in {folder} "
                "— write one with `r4t catalog SOURCE --out FOLDER`."
            )
        info = json.loads((folder / "catalog.json").read_text(encoding="utf-8"))
        with safetensors.safe_open(folder / "embeddings.safetensors", "pt") as file:
            embeddings = file.get_tensor("embeddings")
        if list(embeddings.shape) != [info["items"], info["dim"]]:
            raise InputError(
                f"Embeddings must have the shape ({info['items']}, {info['dim']}) that "
                f"catalog.json says — found {tuple(embeddings.shape)} in {folder} — write the "
                "catalog again."
            )
        return cls(folder, info, embeddings)

    def __len__(self) -> int:
        return self.embeddings.shape[0]

    @property
    def dim(self) -> int:
        """Width d of the embeddings."""
        return self.embeddings.shape[1]

    @cached_property
    def ids(self) -> list[str]:
        """N distinct ids."""
        return self._read("id")

    @cached_property
    def texts(self) -> list[str]:
        """N texts."""
        return self._read("text")

    @cached_property
    def columns(self) -> list[str]:
        """Names of the metadata columns."""
        return [name for name in self._file().schema_arrow.names if name not in RESERVED]

    def column(self, name: str) -> list[Any]:
        """Return the N values of a metadata column; None where an item has none.

        Raises:
            InputError: There is no such column.
        """
        if name not in self.columns:
            raise InputError(
                f"The catalog {self.folder} has the metadata columns {sorted(self.columns)} "
                f"— found no {name!r} — name one of them.{nearest(name, self.columns)}"
            )
        return self._read(name)

    def codes(self, name: str) -> tuple[Tensor, list[Any]]:
        """Number the values of a metadata column, so that tensors can count them.

        Returns:
            (N,) long, the number of each item's value, −1 where it has none; and the values,
            sorted as text.

        Raises:
            InputError: There is no such column, or its values are lists.
        """
        if name not in self._coded:
            self._coded[name] = _codes(name, self.column(name), self.folder)
        return self._coded[name]

    def numbers(self, name: str) -> Tensor:
        """Return a metadata column as (N,) float64; NaN where an item has no value.

        Raises:
            InputError: There is no such column, or it holds something other than numbers.
        """
        if name not in self._numbered:
            self._numbered[name] = _numbers(name, self.column(name), self.folder)
        return self._numbered[name]

    def rows(self, ids: Iterable[str]) -> list[int]:
        """Return the row of each id.

        Raises:
            InputError: An id is not in the catalog.
        """
        try:
            return [self._row[item] for item in ids]
        except KeyError as error:
            raise InputError(
                f"Item ids must be in the catalog — found {error.args[0]!r}, which {self.folder} "
                "does not hold — check that the queries belong to this catalog."
            ) from None

    @cached_property
    def _row(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.ids)}

    def _file(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.folder / "items.parquet", memory_map=True)

    def _read(self, name: str) -> list[Any]:
        return self._file().read(columns=[name]).column(name).to_pylist()


def _codes(name: str, column: Sequence[Any], folder: Path) -> tuple[Tensor, list[Any]]:
    listed = next((value for value in column if isinstance(value, (list, dict))), None)
    if listed is not None:
        raise InputError(
            f"Items are told apart by a column of single values — found {str(listed)[:60]} in {name!r} of "
            f"{folder} — name another column."
        )
    known = [None if value is None or value != value else value for value in column]  # NaN is none
    values = sorted({value for value in known if value is not None}, key=str)
    number = {value: place for place, value in enumerate(values)}
    return torch.tensor([-1 if value is None else number[value] for value in known]), values


def _numbers(name: str, column: Sequence[Any], folder: Path) -> Tensor:
    wrong = next((v for v in column if v is not None and not isinstance(v, (int, float))), None)
    if wrong is not None:
        raise InputError(
            f"A column of numbers is needed — found {wrong!r} in {name!r} of {folder} — name another "
            "column, or write this one as numbers."
        )
    known = [float("nan") if value is None else float(value) for value in column]
    return torch.tensor(known, dtype=torch.float64)


def text_encoder(catalog: Catalog) -> Encoder:
    """Load the encoder that stands in the catalog.

    Raises:
        InputError: The catalog holds own vectors without one.
    """
    if catalog.info["encoder"] is None:
        raise InputError(
            f"Text queries need a text encoder — catalog {catalog.folder} holds your own vectors "
            "without one — write it again with --encoder, or search with vectors."
        )
    return load_encoder(catalog.folder / "encoder")


def fingerprint(ids: Sequence[str], texts: Sequence[str], embeddings: Tensor) -> str:
    """SHA-256 (hex) of ids, texts and float32 embeddings, in order."""
    digest = hashlib.sha256()
    for part in (*ids, *texts):
        data = part.encode()
        digest.update(struct.pack("<q", len(data)) + data)
    for block in embeddings.split(1 << 16):
        digest.update(block.contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_embeddings(items: Items, embeddings: Tensor, encoder: Encoder | None) -> Tensor:
    """Return the embeddings (N, d) as float32 unit rows.

    Raises:
        InputError: Wrong number of rows, wrong width, or a row that is not finite or zero.
    """
    shape = tuple(embeddings.shape)
    if len(shape) != 2 or shape[0] != len(items):
        raise InputError(
            f"Embeddings must have one row for each of the {len(items)} items — found the shape "
            f"{shape} — bring them in the order of the items."
        )
    if encoder is not None and shape[1] != encoder.dim:
        raise InputError(
            f"Embeddings must have the width of their query encoder, {encoder.dim} — found "
            f"{shape[1]} — name the encoder of the same space, or truncate it with --dim."
        )
    rows = embeddings.detach().cpu().float()
    length = rows.norm(dim=1)
    for fault, what in (
        (~length.isfinite(), "a value that is not finite"),
        (length == 0, "zeros only"),
    ):
        if fault.any():
            row = int(fault.nonzero()[0])
            raise InputError(
                f"Each embedding must be a finite vector with a direction — found {what} in row "
                f"{row} (item {items.ids[row]!r}) — correct its vector or its text."
            )
    # Rows that are unit length already keep their very bits.
    return rows if torch.allclose(length, torch.ones(1), atol=1e-5, rtol=0) else normalize(rows)


def write_catalog(
    folder: str | Path,
    items: Items,
    embeddings: Tensor,
    encoder: Encoder | None,
    *,
    overwrite: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> Catalog:
    """Write a catalog folder, whole or not at all, and open it.

    Args:
        folder: Where; it must not exist yet, unless ``overwrite``.
        items: N items.
        embeddings: (N, d), scaled to unit rows here.
        encoder: For text queries in the same space; None for own vectors without one.
        overwrite: Replace an existing catalog (any other folder is left alone).
        origin: Where the items come from, kept in catalog.json.

    Raises:
        InputError: The folder exists, the embeddings do not fit, or a metadata column mixes types.
    """
    folder = Path(folder)
    _check_free(folder, overwrite)
    rows = check_embeddings(items, embeddings, encoder)
    info = {
        "items": len(items),
        "dim": rows.shape[1],
        "encoder": None if encoder is None else encoder.describe(),
        "columns": list(items.metadata),
        "fingerprint": fingerprint(items.ids, items.texts, rows),
        "origin": dict(origin) if origin is not None else None,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        draft = Path(temporary) / "draft"
        draft.mkdir()
        _write_items(draft / "items.parquet", items)
        save_file({"embeddings": rows.contiguous()}, draft / "embeddings.safetensors")
        if encoder is not None:
            encoder.save(draft / "encoder")
        text = json.dumps(info, indent=2, ensure_ascii=False)
        (draft / "catalog.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            shutil.move(folder, Path(temporary) / "old")
        draft.rename(folder)
    return Catalog.load(folder)


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "catalog.json").is_file():
        raise InputError(
            f"A catalog needs a folder of its own — found other content in {folder} — name a new "
            "folder."
        )
    if not overwrite:
        raise InputError(
            f"A catalog is not overwritten unasked — found one in {folder} — name a new folder or "
            "add --overwrite."
        )


def _write_items(path: Path, items: Items) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array(items.ids, pa.string()), "text": pa.array(items.texts, pa.string())}
    for name, values in items.metadata.items():
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"The values of a metadata column must be of one type — found several in {name!r} "
                f"({error}) — write them all as strings or all as numbers."
            ) from error
    pq.write_table(pa.table(columns), path)
