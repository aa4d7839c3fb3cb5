"""Items and embeddings ↔ a catalog folder, memory-mapped, with a fingerprint of its content."""

import hashlib
import json
import shutil
import struct
import tempfile
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from r4t.data.source import Items
from r4t.data.variants import number_groups, variants_by_title
from r4t.encoder import Encoder, load_encoder
from r4t.errors import InputError, nearest
from r4t.geometry import normalize
from r4t.support.files import write_text

FILES = ("catalog.json", "items.parquet", "embeddings.safetensors")
BY_DEFAULT, BY_ITEM, VARIANT = "auto", "none", "variant"  # of ``Catalog.variants``, and its column


class Catalog:
    """N items with unit embeddings; columns are read when they are first used.

    Args:
        folder: Where it was loaded from.
        info: The content of catalog.json, with ``fingerprint``, the SHA-256 of ids, texts and
            embeddings.
        embeddings: (N, d) float32 unit rows, memory-mapped.

    Raises:
        InputError: If a method needs an id or a column that the catalog lacks, or a column of
            another type.
    """

    def __init__(self, folder: Path, info: Mapping[str, Any], embeddings: Tensor) -> None:
        self.folder = folder
        self.info = info
        self.fingerprint: str = info["fingerprint"]
        self.embeddings = embeddings
        self._codes: dict[str, tuple[Tensor, list[Any]]] = {}
        self._numbers: dict[str, Tensor] = {}
        self._variants: dict[str, Tensor] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open a catalog folder.

        Raises:
            InputError: If a file is missing, or catalog.json contradicts the embeddings.
        """
        folder = Path(folder)
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise InputError(
                expected=f"a catalog folder with {', '.join(FILES)}",
                found=f"no {missing[0]} in {folder}",
                remedy="Write a catalog with `r4t catalog SOURCE --out FOLDER`.",
            )
        info = json.loads((folder / "catalog.json").read_text(encoding="utf-8"))
        embeddings = load_file(folder / "embeddings.safetensors")["embeddings"]
        if list(embeddings.shape) != [info["items"], info["dim"]]:
            raise InputError(
                expected=f"embeddings of shape ({info['items']}, {info['dim']}), as in catalog.json",
                found=f"{tuple(embeddings.shape)} in {folder}",
                remedy="Write the catalog again.",
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

    @property
    def columns(self) -> list[str]:
        """Names of the metadata columns."""
        return list(self.info["columns"])

    def column(self, name: str) -> list[Any]:
        """Return the N values of a metadata column; None where an item has none."""
        if not self.columns:
            raise InputError(
                expected=f"a metadata column {name!r}",
                found=f"none in {self.folder}, whose items have no metadata",
                remedy="Write the catalog from a source with that field, or name none.",
            )
        if name not in self.columns:
            raise InputError(
                expected=f"one of the metadata columns {sorted(self.columns)} of {self.folder}",
                found=repr(name),
                remedy=f"Choose one of them.{nearest(name, self.columns)}",
            )
        return self._read(name)

    def codes(self, name: str) -> tuple[Tensor, list[Any]]:
        """Number the values of a metadata column, so that tensors can count them.

        Returns:
            (N,) long, the number of each item's value, −1 where it has none; and the values, which
            must be single, sorted as text.
        """
        if name not in self._codes:
            column = self._column_of(name, Hashable, "a single value per item")
            values = sorted({value for value in column if value is not None}, key=str)
            number = {None: -1} | {value: place for place, value in enumerate(values)}
            self._codes[name] = torch.tensor([number[value] for value in column]), values
        return self._codes[name]

    def numbers(self, name: str) -> Tensor:
        """Return a metadata column of numbers as (N,) float64; NaN where an item has no value."""
        if name not in self._numbers:
            column = self._column_of(name, (int, float), "numbers")
            numbers = [float("nan") if value is None else value for value in column]
            self._numbers[name] = torch.tensor(numbers, dtype=torch.float64)
        return self._numbers[name]

    def variants(self, distinct_by: str = BY_DEFAULT) -> Tensor:
        """Number the items (N,) long so that variants of one product share a number.

        Args:
            distinct_by: A metadata column whose equal values make items variants; an item without
                a value is none. ``auto`` takes the column ``variant`` or, without one, the title
                but for words of color, size and season (``r4t.data.variants``). With ``none`` every
                item stands alone.
        """
        if distinct_by not in self._variants:
            column = VARIANT if distinct_by == BY_DEFAULT else distinct_by
            if distinct_by == BY_ITEM:
                groups = torch.arange(len(self))
            elif distinct_by == BY_DEFAULT and VARIANT not in self.columns:
                groups = variants_by_title(self.texts)
            else:
                groups = number_groups(self._column_of(column, Hashable, "a single value per item"))
            self._variants[distinct_by] = groups
        return self._variants[distinct_by]

    def _column_of(self, name: str, types: Any, expected: str) -> list[Any]:
        """Return a metadata column whose values have these types; None for NaN."""
        column = [None if value != value else value for value in self.column(name)]
        wrong = [value for value in column if not (value is None or isinstance(value, types))]
        if wrong:
            raise InputError(
                expected=f"{expected} in column {name!r} of {self.folder}",
                found=repr(wrong[0])[:60],
                remedy="Choose another column, or correct its values.",
            )
        return column

    def rows(self, ids: Iterable[str]) -> list[int]:
        """Return the row of each id."""
        try:
            return [self._row[item] for item in ids]
        except KeyError as error:
            raise InputError(
                expected=f"item ids of the catalog {self.folder}",
                found=repr(error.args[0]),
                remedy="Check that the queries belong to this catalog.",
            ) from None

    @cached_property
    def _row(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.ids)}

    def _read(self, name: str) -> list[Any]:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self.folder / "items.parquet", memory_map=True)
        return file.read(columns=[name]).column(name).to_pylist()


def text_encoder(catalog: Catalog) -> Encoder:
    """Load the encoder that is stored with the catalog.

    Raises:
        InputError: If there is none.
    """
    if catalog.info["encoder"] is None:
        raise InputError(
            expected="a catalog with a text encoder for text queries",
            found=f"only vectors in {catalog.folder}",
            remedy="Write the catalog again with --encoder, or search with vectors.",
        )
    return load_encoder(catalog.folder / "encoder")


def fingerprint(ids: Sequence[str], texts: Sequence[str], embeddings: Tensor) -> str:
    """Return the SHA-256 (hex) of ids, texts and float32 embeddings, in order."""
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
        InputError: If the number of rows or the width is wrong, or a row is zero or not finite.
    """
    shape = tuple(embeddings.shape)
    if len(shape) != 2 or shape[0] != len(items):
        raise InputError(
            expected=f"embeddings with one row for each of the {len(items)} items",
            found=f"shape {shape}",
            remedy="Pass them in the order of the items.",
        )
    if encoder is not None and shape[1] != encoder.dim:
        raise InputError(
            expected=f"embeddings as wide as their query encoder, {encoder.dim}",
            found=f"width {shape[1]}",
            remedy="Name the encoder that made them, or truncate its vectors with --dim.",
        )
    rows = embeddings.detach().cpu().float()
    length = rows.norm(dim=1)
    faulty = ~length.isfinite() | (length == 0)
    if faulty.any():
        row = int(faulty.nonzero()[0])
        fault = "only zeros" if length[row] == 0 else "a value that is not finite"
        raise InputError(
            expected="finite embeddings other than zero",
            found=f"{fault} in row {row} (item {items.ids[row]!r})",
            remedy="Correct its vector or its text.",
        )
    # Rows of unit length keep their exact bits.
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
        folder: A new or empty folder, or with ``overwrite`` an existing catalog.
        items: N items.
        embeddings: (N, d), scaled to unit rows here.
        encoder: Encodes text queries into the same space; None for vectors without one.
        overwrite: Whether to replace an existing catalog; other folders are never replaced.
        origin: Where the items come from, for catalog.json.

    Raises:
        InputError: If the folder exists, the embeddings do not fit, or a column mixes types.
    """
    folder = Path(folder)
    is_catalog = (folder / "catalog.json").is_file()
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not (is_catalog and overwrite):
        raise InputError(
            expected="a new folder for the catalog",
            found=f"{'a catalog' if is_catalog else 'other content'} in {folder}",
            remedy=f"Name a new folder{', or add --overwrite' if is_catalog else ''}.",
        )
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
        write_text(draft / "catalog.json", json.dumps(info, indent=2, ensure_ascii=False) + "\n")
        _write_items(draft / "items.parquet", items)
        save_file({"embeddings": rows.contiguous()}, draft / "embeddings.safetensors")
        if encoder is not None:
            encoder.save(draft / "encoder")
        if folder.exists():
            shutil.move(folder, Path(temporary) / "old")
        draft.rename(folder)
    return Catalog.load(folder)


def _write_items(path: Path, items: Items) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array(items.ids, pa.string()), "text": pa.array(items.texts, pa.string())}
    for name, values in items.metadata.items():
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                expected=f"values of one type in the metadata column {name!r}",
                found=f"several types ({error})",
                remedy="Write them all as strings or all as numbers.",
            ) from error
    pq.write_table(pa.table(columns), path)
