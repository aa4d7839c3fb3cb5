"""Catalog texts or a checkpoint → a causal language model and its tokenizer."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from r4t.errors import InputError
from r4t.fanout.formats import FanoutFormat, load_format
from r4t.fanout.gguf import LanguageModel, load_gguf
from r4t.geometry import normalize
from r4t.run import command_for

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPEC_FILE = "fanout.json"  # the format, saved beside the weights of a fan-out model


class LanguageModelSource(ABC):
    """Makes the language model that a step begins with."""

    @abstractmethod
    def build(self, texts: Sequence[str], root: Path) -> LanguageModel:
        """Return a model in training mode and its tokenizer.

        A tokenizer may be trained on the catalog's ``texts``; a relative path is looked up in
        ``root``, the run's folder, first.
        """

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return the format that a fan-out model was saved with; None for any other model."""
        return None


@dataclass
class Pretrained(LanguageModelSource):
    """A causal language model by hub name (``Qwen/Qwen3-4B``) or local folder.

    Args:
        path: Folder inside the run (``warm_start/model``), any other folder, or hub name.
        gguf_file: Name of a GGUF file there, to be dequantized (extra ``gguf``). Saved models are
            safetensors.
        dtype: ``float32``, ``bfloat16`` or ``float16``, in which weights (except LoRA's) are trained.
        gradient_checkpointing: Keep only the inputs of each layer for the backward pass and compute
            the rest again: much less memory, about a third more time per update.
    """

    path: str
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    gguf_file: str | None = None

    def __post_init__(self) -> None:
        if self.path.endswith(".gguf"):
            folder, name = str(Path(self.path).parent), Path(self.path).name
            raise InputError(
                expected="path to be the folder or hub name of a model",
                found=f"the file {self.path}",
                remedy=f"Write path: {folder} and gguf_file: {name}.",
            )
        if self.dtype not in ("float32", "bfloat16", "float16"):
            options = "dtype float32, bfloat16 or float16"
            raise InputError(expected=options, found=f"'{self.dtype}'", remedy="Take float32.")

    def build(self, texts: Sequence[str], root: Path) -> LanguageModel:
        """Load the model and its tokenizer, padded on the left.

        Raises:
            InputError: If there is no such model (yet), its GGUF file cannot be read, or its
                architecture cannot checkpoint.
        """
        command = command_for(self.path, root)
        if command is not None and not model_folder(self.path, root).is_dir():  # not from the hub
            raise InputError(
                expected="the language model that an earlier step writes",
                found=f"no {self.path} in {root}",
                remedy=f"Run that step first: {command}.",
            )
        dtype = getattr(torch, self.dtype)
        if self.gguf_file is not None:
            folder = str(model_folder(self.path, root))
            return self._trained(load_gguf(folder, self.gguf_file, dtype))
        with loading(self.path, root) as path:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, padding_side="left")
            model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        return self._trained((model, tokenizer))

    def _trained(self, lm: LanguageModel) -> LanguageModel:
        model, tokenizer = lm
        if self.gradient_checkpointing:
            checkpoint_layers(model)
        # from_pretrained leaves eval mode, which also turns gradient checkpointing off.
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """See ``LanguageModelSource.saved_form``."""
        path = model_folder(self.path, root) / SPEC_FILE
        return load_format(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def model_folder(path: str, root: Path) -> Path:
    """Return the folder ``path`` inside ``root`` if it exists, else ``path`` itself."""
    inside = root / path
    return inside if inside.is_dir() else Path(path)


@contextmanager
def loading(path: str, root: Path) -> Iterator[str]:
    """Yield where to load a model from; raise an ``InputError`` if transformers cannot load it."""
    try:
        yield str(model_folder(path, root))
    except (OSError, ValueError) as error:
        raise InputError(
            expected="a model as hub name or as folder with config.json and a tokenizer",
            found=f"'{path}', which could not be loaded ({str(error).splitlines()[0]})",
            remedy="Check the name and the network.",
        ) from error


def checkpoint_layers(model: transformers.PreTrainedModel) -> None:
    """Let a model recompute its layers in the backward pass (in training mode), if it can."""
    if not model.supports_gradient_checkpointing:
        raise InputError(
            expected=f"gradient_checkpointing to be off for {type(model).__name__}, which cannot do it",
            found="it on",
            remedy="Turn it off and lower micro_batch instead.",
        )
    # Named activation_checkpointing_enable since transformers 5.2x, which warns of the old name.
    name = "activation_checkpointing_enable"
    enable = getattr(model, name, model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})  # the other kind needs inputs with a gradient, and breaks FSDP


@dataclass
class TinyQwen3(LanguageModelSource):
    """A small model of Qwen3's architecture with a tokenizer trained on the catalog.

    The offline default. It knows no language, only which words of the catalog occur together: token
    embeddings begin as the catalog's LSA word vectors, because a few minutes of warm start do not
    teach a random table that much (measured in docs/results.md).

    Args:
        width: Hidden width; the head width is 32.
        layers: Number of layers.
        vocabulary: Largest number of tokens.
        max_length: Longest sequence, prompt and completion, in tokens.
        seed: Seed of the initial weights.
        word_length: Length of the word vectors that embeddings begin as; 0 leaves them random.
    """

    width: int = 128
    layers: int = 4
    vocabulary: int = 4096
    max_length: int = 1024
    seed: int = 0
    word_length: float = 0.5

    def __post_init__(self) -> None:
        if self.width % 32:
            multiple = "a width that is a multiple of 32"
            raise InputError(expected=multiple, found=f"{self.width}", remedy="Take 128.")

    def build(self, texts: Sequence[str], root: Path) -> LanguageModel:
        """Train the tokenizer on ``texts`` and draw the weights."""
        tokenizer = train_tokenizer(texts, self.vocabulary)
        config = transformers.Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            intermediate_size=3 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.width // 32,
            num_key_value_heads=self.width // 32,
            head_dim=32,
            max_position_embeddings=self.max_length,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = transformers.Qwen3ForCausalLM(config)
        if self.word_length > 0:
            embed_words((model, tokenizer), texts, self.word_length)
        return model.train(), tokenizer


def embed_words(lm: LanguageModel, texts: Sequence[str], length: float) -> None:
    """Set the embedding of each one-token word to its LSA vector over the catalog's ``texts``.

    Other words keep their random embeddings. Vectors get the given ``length``; a random row of this
    architecture has about 0.02·√width.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    model, tokenizer = lm
    table = model.get_input_embeddings().get_parameter("weight")
    vectorizer = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)
    counts = vectorizer.fit_transform(texts)
    dims = min(table.shape[1], *(size - 1 for size in counts.shape))
    if dims < 1:
        return
    svd = TruncatedSVD(dims, random_state=0).fit(counts)
    vectors = torch.from_numpy(svd.components_.T * svd.singular_values_)
    vectors = length * normalize(vectors).to(table.dtype)
    with torch.no_grad():
        for word, row in vectorizer.vocabulary_.items():
            ids = tokenizer.encode(word, add_special_tokens=False)
            if len(ids) == 1:
                table[ids[0], :dims] = vectors[row]


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> transformers.PreTrainedTokenizerFast:
    """Train a lower-case byte-level BPE tokenizer in which a line break is one token.

    Frequent words become one token each, with their leading space; any text can be written.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from tokenizers import pre_tokenizers as pre

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return fast_tokenizer(tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS)


def fast_tokenizer(backend: Any, **tokens: str) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer with special ``tokens`` that pads on the left and can write line breaks."""
    from tokenizers import AddedToken

    backend.add_tokens([AddedToken("\n", normalized=False, special=False)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, padding_side="left", clean_up_tokenization_spaces=False, **tokens
    )
