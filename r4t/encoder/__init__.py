"""Texts → unit vectors: the protocol, its four encoders, and how to load a saved one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from r4t.encoder.custom import CustomEncoder
from r4t.encoder.lsa import LsaEncoder
from r4t.encoder.transformer import ClipTextEncoder, TransformerEncoder
from r4t.errors import InputError, nearest

CLASSES = {c.__name__: c for c in (LsaEncoder, TransformerEncoder, ClipTextEncoder, CustomEncoder)}

__all__ = [*CLASSES, "Encoder", "load_encoder"]


class Encoder(Protocol):
    """Texts to unit vectors of width ``dim``; the same text gives the same vector in any batch."""

    dim: int

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d) float32 unit rows; a text of unknown words gives a zero row."""
        ...

    def save(self, folder: Path) -> None:
        """Write what ``load_encoder`` needs into ``folder``, including encoder.json."""
        ...

    def describe(self) -> str:
        """Name and settings in a few words, for summaries and catalog.json."""
        ...


def load_encoder(folder: str | Path) -> Encoder:
    """Load the encoder saved in ``folder``.

    Raises:
        InputError: If there is none, its class is unknown, or a file that it needs is missing.
    """
    path = Path(folder) / "encoder.json"
    if not path.is_file():
        raise InputError(
            expected="a saved encoder with a file encoder.json",
            found=f"none in {folder}",
            remedy="Write the catalog again with an encoder.",
        )
    name = json.loads(path.read_text(encoding="utf-8")).get("class", "")
    if name not in CLASSES:
        raise InputError(
            expected=f"an encoder of one of the classes {', '.join(sorted(CLASSES))}",
            found=f"{name!r} in {path}",
            remedy=f"Write the catalog again.{nearest(name, CLASSES)}",
        )
    return CLASSES[name].load(Path(folder))
