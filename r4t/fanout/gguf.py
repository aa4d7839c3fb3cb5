"""A GGUF file, as small models travel → a language model with plain weights, and its tokenizer."""

import copy
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import transformers

from r4t.errors import InputError

LanguageModel = tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]


def load_gguf(folder: str, file: str, dtype: torch.dtype) -> LanguageModel:
    """Dequantize a GGUF file into a model that can be trained, and saved as safetensors.

    Args:
        folder: Folder or hub name that has the file.
        file: Its name.
        dtype: Of the weights.

    Raises:
        InputError: If the extra ``gguf`` is not installed, or the file is missing, cut, damaged, or of
            an architecture that transformers cannot read from GGUF.
    """
    if importlib.util.find_spec("gguf") is None:
        raise InputError(
            expected="the package gguf, to read GGUF files",
            found="it not installed",
            remedy="Install it with pip install 'r4t[gguf]'.",
        )
    with readable(folder, file):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, gguf_file=file, padding_side="left"
        )
        quantized = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=dtype
        )
    config = copy.deepcopy(quantized.config)
    # It says that the weights are quantized, which they no longer are.
    config.__dict__.pop("quantization_config", None)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(quantized.state_dict(), assign=True)
    model.tie_weights()
    return model, tokenizer


@contextmanager
def readable(folder: str, file: str) -> Iterator[None]:
    """Raise an ``InputError`` for whatever is wrong with a file: its readers raise anything."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise InputError(
            expected=f"a whole GGUF file of an architecture that transformers reads, {file} in {folder}",
            found=f"one that could not be read ({reason[0]})",
            remedy="Check the name, download it again, or take the model's safetensors.",
        ) from error
