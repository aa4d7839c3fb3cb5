"""A model outside the catalog → an encoder that is saved as a reference to it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.support.files import write_text
from r4t.support.progress import progress


class ModelEncoder(ABC):
    """Batches, blank texts and saving, for a model with vectors of a ``width``.

    ``dim`` is Matryoshka truncation: the first ``dim`` coordinates are kept, then normalized; all
    of them if it is None. ``arguments`` are the constructor arguments that make the same encoder.

    Raises:
        InputError: If ``dim`` exceeds the width.
    """

    def __init__(
        self, name: str, width: int, dim: int | None, batch_size: int, arguments: dict[str, Any]
    ) -> None:
        if dim is not None and not 1 <= dim <= width:
            raise InputError(
                expected=f"a dim in 1..{width}, the width of {name}",
                found=f"{dim}",
                remedy="Give a dim in that range, or none.",
            )
        self.name, self.width, self.batch_size = name, width, batch_size
        self.dim = width if dim is None else dim
        self._arguments = arguments | {"dim": self.dim}

    @abstractmethod
    def _vectors(self, texts: list[str]) -> Tensor:
        """Vectors (n, width) of a batch of texts that are not blank."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d) float32 unit rows on the CPU; a blank text gives a zero row."""
        result = torch.zeros(len(texts), self.dim)
        # Texts of one length together: little padding, so little wasted work.
        rows = sorted((i for i, t in enumerate(texts) if t.strip()), key=lambda i: len(texts[i]))
        size = self.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        with torch.inference_mode():
            for batch in progress("encoding texts", batches):
                vectors = self._vectors([texts[row] for row in batch])
                result[batch] = normalize(vectors[:, : self.dim]).float().cpu()
        return result

    def describe(self) -> str:
        """See ``Encoder``."""
        return f"{self.name}, {self.dim} dimensions"

    def save(self, folder: Path) -> None:
        """Write encoder.json, a reference: the model is not copied and must stay where it is."""
        spec = {"class": type(self).__name__, **self._arguments}
        write_text(folder / "encoder.json", json.dumps(spec, indent=2))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load the encoder that ``save`` referred to."""
        spec = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        del spec["class"]
        return cls(**spec)
