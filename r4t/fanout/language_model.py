"""Catalog texts or a checkpoint → a causal language model and its tokenizer."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from r4t.errors import InputError
from r4t.fanout.formats import FanoutFormat, load_format
from r4t.geometry import normalize
from r4t.run import command_for

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPEC_FILE = "fanout.json"  # the format, saved beside the weights of a fan-out model


class LanguageModelSource(ABC):
    """Where the language model comes from."""

    @abstractmethod
    def build(
        self, texts: Sequence[str], root: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return a model in training mode and its tokenizer.

        Args:
            texts: The catalog's, for a tokenizer that is trained.
            root: Folder in which a relative path is looked up first (the run's).
        """

    @abstractmethod
    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return the format saved beside the model, if there is one."""


class Pretrained(LanguageModelSource):
    """A causal language model by hub name (``Qwen/Qwen3-4B``) or local folder.

    Args:
        path: Folder inside the run (``warm_start/model``), any other folder, or hub name.
        dtype: ``float32``, ``bfloat16`` or ``float16``; weights are trained in it, but for LoRA's.
        gradient_checkpointing: Keep only what enters each layer for the backward pass and compute
            the rest again: much less memory, about a third more time for an update.
    """

    def __init__(
        self, path: str, dtype: str = "float32", gradient_checkpointing: bool = False
    ) -> None:
        if dtype not in ("float32", "bfloat16", "float16"):
            raise InputError(
                f"dtype must be float32, bfloat16 or float16, found '{dtype}'; "
                "float32 is the safe choice on a CPU."
            )
        self.path = path
        self.dtype = dtype
        self.gradient_checkpointing = gradient_checkpointing

    def build(
        self, texts: Sequence[str], root: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Load the model and its tokenizer, padded on the left.

        Raises:
            InputError: The run has no such model yet, neither the folder nor the hub has one, or it
                knows no checkpointing.
        """
        found = place(self.path, root)
        command = command_for(self.path, root)
        if command is not None and not found.is_dir():  # no hub is asked for what a run writes
            raise InputError(
                f"The language model lies in the run once the step that teaches it has run — found "
                f"no {self.path} in {root} — run that step first: {command}."
            )
        path = str(found)
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, self.dtype))
        except (OSError, ValueError) as error:
            raise InputError(
                f"A language model must be a hub name or a folder with config.json and a tokenizer "
                f"— '{self.path}' could not be loaded ({str(error).splitlines()[0]}); check the "
                "name and the network."
            ) from error
        if self.gradient_checkpointing:
            checkpoint_layers(model)
        # from_pretrained leaves eval mode, which also turns gradient checkpointing off.
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return the format that a fan-out model was saved with; None for any other model."""
        path = place(self.path, root) / SPEC_FILE
        if not path.is_file():
            return None
        return load_format(json.loads(path.read_text(encoding="utf-8")))


def place(path: str, root: Path) -> Path:
    """Return the folder ``path`` inside ``root`` if it is there, else ``path`` as it is."""
    inside = root / path
    return inside if inside.is_dir() else Path(path)


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Let a model compute its layers again in the backward pass; acts in training mode only.

    Raises:
        InputError: The architecture does not provide for it.
    """
    if not model.supports_gradient_checkpointing:
        raise InputError(
            f"gradient_checkpointing must be off for a model that cannot do it, found it on for "
            f"{type(model).__name__}; turn it off and lower micro_batch instead."
        )
    # Named activation_checkpointing_enable since transformers 5.2x, which warns of the old name.
    name = "activation_checkpointing_enable"
    enable = getattr(model, name, model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})  # the other kind needs inputs with a gradient, and breaks FSDP


class TinyQwen3(LanguageModelSource):
    """A small model of Qwen3's architecture with a tokenizer trained on the catalog.

    The offline default. It knows nothing of language, and of the catalog only which words keep
    company: token embeddings begin as the catalog's LSA word vectors, because a few minutes of warm
    start do not teach a random table that much (measured in docs/results.md).

    Args:
        width: Hidden width; the head width is 32.
        layers: Number of layers.
        vocabulary: Largest number of tokens.
        max_length: Longest sequence, prompt and completion, in tokens.
        seed: Seed of the initial weights.
        word_length: Length of the word vectors that embeddings begin as; 0 leaves them random.
    """

    def __init__(
        self,
        width: int = 128,
        layers: int = 4,
        vocabulary: int = 4096,
        max_length: int = 1024,
        seed: int = 0,
        word_length: float = 0.5,
    ) -> None:
        if width % 32:
            raise InputError(f"width must be a multiple of 32, found {width}; take 128, say.")
        self.width = width
        self.layers = layers
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.seed = seed
        self.word_length = word_length

    def build(
        self, texts: Sequence[str], root: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Train the tokenizer on ``texts`` and draw the weights."""
        tokenizer = train_tokenizer(texts, self.vocabulary)
        config = Qwen3Config(
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
            model = Qwen3ForCausalLM(config)
        if self.word_length > 0:
            embed_words(model, tokenizer, texts, self.word_length)
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return None: a model from scratch has no format yet."""
        return None


def embed_words(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    length: float,
) -> int:
    """Set the embedding of each one-token word to its LSA vector over ``texts``.

    Args:
        model: Its table is changed in place.
        tokenizer: Words of several tokens keep their random embeddings.
        texts: The catalog's.
        length: Of the vectors; a random row of this architecture has about 0.02·√width.

    Returns:
        Number of words embedded.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    table = model.get_input_embeddings().get_parameter("weight")
    vectorizer = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)
    counts = vectorizer.fit_transform(texts)
    dims = min(table.shape[1], *(size - 1 for size in counts.shape))
    if dims < 1:
        return 0
    svd = TruncatedSVD(dims, random_state=0).fit(counts)
    vectors = torch.from_numpy(svd.components_.T * svd.singular_values_)
    vectors = length * normalize(vectors).to(table.dtype)
    embedded = 0
    with torch.no_grad():
        for word, row in vectorizer.vocabulary_.items():
            ids = tokenizer.encode(word, add_special_tokens=False)
            if len(ids) == 1:
                table[ids[0], :dims] = vectors[row]
                embedded += 1
    return embedded


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a lower-case byte-level BPE tokenizer in which a line break is one token.

    Frequent words become one token each, with their leading space; any text can be written.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
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
    tokenizer.add_tokens([AddedToken("\n", normalized=False, special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
