"""Texts → unit vectors: the protocol, its four encoders, and how a saved one comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from r4t.encoder.lsa import LsaEncoder
from r4t.encoder.own import OwnEncoder
from r4t.encoder.transformer import ClipTextEncoder, TransformerEncoder
from r4t.errors import InputError, nearest

__all__ = [
    "ClipTextEncoder",
    "Encoder",
    "LsaEncoder",
    "OwnEncoder",
    "TransformerEncoder",
    "load_encoder",
]

CLASSES = {c.__name__: c for c in (LsaEncoder, TransformerEncoder, ClipTextEncoder, OwnEncoder)}


class Encoder(Protocol):
    """Texts to unit vectors of width ``dim``; the same text gives the same vector in any batch."""

    dim: int

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d) float32 unit rows; a text of which nothing is known gives a zero row."""
        ...

    def save(self, folder: Path) -> None:
        """Write what ``load_encoder`` needs into ``folder``, encoder.json among it."""
        ...

    def describe(self) -> str:
        """Name and settings in a few words, for summaries and catalog.json."""
        ...


def load_encoder(folder: str | Path) -> Encoder:
    """Bring back the encoder saved in ``folder``.

    Raises:
        InputError: There is none, its class is unknown, or a file that it needs is missing.
    """
    path = Path(folder) / "encoder.json"
    if not path.is_file():
        raise InputError(
            f"A saved encoder has a file encoder.json — found none in {folder} "
            "— write the catalog again with an encoder."
        )
    name = json.loads(path.read_text(encoding="utf-8")).get("class", "")
    if name not in CLASSES:
        raise InputError(
            f"An encoder must be one of {', '.join(sorted(CLASSES))} — found {name!r} in {path} "
            f"— write the catalog again.{nearest(name, CLASSES)}"
        )
    return CLASSES[name].load(Path(folder))
