"""Texts → unit vectors of a pretrained model: mean pooling over tokens, or CLIP's text tower."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.support.progress import progress


class _Pretrained(ABC):
    """What the two encoders share: loading, batches, truncation, saving as a reference.

    Args:
        name_or_path: Hub name or local folder.
        dim: Matryoshka truncation: keep the first ``dim`` coordinates, then normalize; all by
            default.
        max_length: Tokens of a text beyond which it is cut, at most what the model takes.
        batch_size: Texts a forward pass.
        device: Where the model runs; CUDA where there is one by default.

    Raises:
        InputError: The model cannot be loaded, or ``dim`` exceeds its width.
    """

    model_class: ClassVar[str]
    width_key: ClassVar[str]

    def __init__(
        self,
        name_or_path: str | Path,
        dim: int | None = None,
        max_length: int = 256,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        # transformers takes seconds to import, which programs without a model should not pay.
        import transformers

        self.name_or_path = str(name_or_path)
        self.max_length = max_length
        self.batch_size = batch_size
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.name_or_path)
            loader = getattr(transformers, self.model_class)
            model = loader.from_pretrained(self.name_or_path, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise InputError(
                "An encoder is a hub name or a folder that transformers loads as "
                f"{self.model_class} — found {self.name_or_path!r}, which it cannot "
                f"({str(error).splitlines()[0]}) — check the name, the path and the connection."
            ) from error
        self.model = model.eval().requires_grad_(False).to(self.device)
        width = int(getattr(model.config, self.width_key))
        limit = getattr(model.config, "max_position_embeddings", max_length)
        self.max_length = min(max_length, limit)
        if dim is not None and not 1 <= dim <= width:
            raise InputError(
                f"The encoder's dim must lie in 1..{width}, the width of {self.name_or_path} "
                f"— found {dim} — give a dim in that range or none."
            )
        self.dim = width if dim is None else dim

    @abstractmethod
    def _pool(self, batch: Any) -> Tensor:
        """Tokenized batch → (n, width)."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d) float32 unit rows on the CPU; a blank text gives a zero row."""
        result = torch.zeros(len(texts), self.dim)
        # Texts of one length together: little padding, so little wasted work.
        spoken = sorted((i for i, t in enumerate(texts) if t.strip()), key=lambda i: len(texts[i]))
        with torch.inference_mode():
            for part in progress("encoding texts", list(_parts(spoken, self.batch_size))):
                batch = self.tokenizer(
                    [texts[i] for i in part],
                    padding=True,
                    truncation=True,
                    max_length=self.max_length,
                    return_tensors="pt",
                ).to(self.device)
                pooled = self._pool(batch)[:, : self.dim]
                result[part] = normalize(pooled).float().cpu()
        return result

    def describe(self) -> str:
        """Return the kind, the model and the width."""
        return f"{type(self).__name__} {self.name_or_path}, {self.dim} dimensions"

    def save(self, folder: Path) -> None:
        """Write encoder.json, a reference: the model's weights are not copied.

        A local folder is written as its absolute path and must stay where it is.
        """
        path = Path(self.name_or_path)
        spec = {
            "class": type(self).__name__,
            "name_or_path": str(path.resolve()) if path.is_dir() else self.name_or_path,
            "dim": self.dim,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "encoder.json").write_text(json.dumps(spec, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> _Pretrained:
        """Load the model that ``save`` referred to."""
        spec = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        del spec["class"]
        return cls(**spec)


class TransformerEncoder(_Pretrained):
    """A sentence-transformers-style model: the mean of the token vectors over the mask, normalized.

    See ``_Pretrained`` for the arguments. Models that ask for another pooling or for a prefix such
    as "query: " need a class of their own (``OwnEncoder``).
    """

    model_class = "AutoModel"
    width_key = "hidden_size"

    def _pool(self, batch: Any) -> Tensor:
        tokens = self.model(**batch).last_hidden_state  # (n, T, width)
        mask = batch["attention_mask"].unsqueeze(-1)  # (n, T, 1)
        return (tokens * mask).sum(1) / mask.sum(1)


class ClipTextEncoder(_Pretrained):
    """CLIP's text tower with its projection: queries in the space of CLIP image vectors.

    See ``_Pretrained`` for the arguments.
    """

    model_class = "CLIPTextModelWithProjection"
    width_key = "projection_dim"

    def _pool(self, batch: Any) -> Tensor:
        return self.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).text_embeds


def _parts(rows: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
