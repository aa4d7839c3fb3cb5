"""Texts → unit vectors of a pretrained model: mean pooling over tokens, or CLIP's text tower."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from r4t.encoder.model_encoder import ModelEncoder
from r4t.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")


class PretrainedEncoder(ModelEncoder):
    """Loading and tokenizing, for the two encoders below.

    Args:
        name_or_path: Hub name or local folder.
        dim: As in ``ModelEncoder``.
        max_length: Tokens after which a text is cut, at most as many as the model takes.
        batch_size: Texts in a forward pass.
        device: Where the model runs; by default on CUDA if available.
        dtype: Of the weights, "float32", "bfloat16" or "float16". One query on a CPU waits for its
            memory, so half of the bytes take little more than half of the time, if the processor
            computes in bfloat16.

    Raises:
        InputError: If the model cannot be loaded, ``dim`` exceeds its width, or ``dtype`` is another.
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
        dtype: str = "float32",
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(
                expected=f"a dtype of the encoder among {', '.join(DTYPES)}",
                found=f"{dtype!r}",
                remedy="Leave it out for float32.",
            )
        # transformers takes seconds to import, which programs without a model should not pay.
        import transformers

        self.name_or_path = str(name_or_path)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.name_or_path)
            loader = getattr(transformers, self.model_class)
            model = loader.from_pretrained(self.name_or_path, dtype=getattr(torch, dtype))
        except (OSError, ValueError) as error:
            raise InputError(
                expected=f"a hub name or a folder that transformers loads as {self.model_class}",
                found=f"{self.name_or_path!r}, which fails ({str(error).splitlines()[0]})",
                remedy="Check the name, the path and the connection.",
            ) from error
        self.model = model.eval().requires_grad_(False).to(self.device)
        limit = getattr(model.config, "max_position_embeddings", max_length)
        self.max_length = min(max_length, limit)
        width = int(getattr(model.config, self.width_key))
        path = Path(self.name_or_path)
        arguments = {
            "name_or_path": str(path.resolve()) if path.is_dir() else self.name_or_path,
            "dim": dim,
            "max_length": self.max_length,
            "batch_size": batch_size,
            "dtype": dtype,
        }
        name = f"{type(self).__name__} {self.name_or_path}"
        super().__init__(name, width, dim, batch_size, arguments)

    @abstractmethod
    def _pool(self, batch: Any) -> Tensor:
        """Tokenized batch → (n, width)."""

    def _vectors(self, texts: list[str]) -> Tensor:
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        return self._pool(batch.to(self.device))


class TransformerEncoder(PretrainedEncoder):
    """A sentence-transformers-style model: the mean of the token vectors over the mask, normalized.

    Models that need another pooling or a prefix such as "query: " need a class of their own
    (``CustomEncoder``).
    """

    model_class = "AutoModel"
    width_key = "hidden_size"

    def _pool(self, batch: Any) -> Tensor:
        tokens = self.model(**batch).last_hidden_state.float()  # (n, T, width)
        mask = batch["attention_mask"].unsqueeze(-1)  # (n, T, 1)
        return (tokens * mask).sum(1) / mask.sum(1)


class ClipTextEncoder(PretrainedEncoder):
    """CLIP's text tower with its projection: queries in the space of CLIP image vectors."""

    model_class = "CLIPTextModelWithProjection"
    width_key = "projection_dim"

    def _pool(self, batch: Any) -> Tensor:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return self.model(input_ids=ids, attention_mask=mask).text_embeds.float()
