"""Sizes → an invented world for timing: a random model, a forced format, a reward and a run."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from r4t.catalog import write_catalog
from r4t.data.queries import Query, write_queries
from r4t.data.source import Items
from r4t.encoder.lsa import LsaEncoder
from r4t.fanout.formats import ListFormat
from r4t.fanout.language_model import checkpoint_layers
from r4t.objective import Objective
from r4t.run import Run
from r4t.sets import SetBatch

WORDS = 500  # in the catalog; token i means word i modulo this number


class Random:
    """A model of Qwen3's architecture with random weights, in which each token is a word.

    Args:
        settings: Sizes of the architecture.
        dtype: Type of the weights.
        last_layers: Number of last layers to train if there are no adapters.
    """

    def __init__(self, settings: dict[str, int], dtype: torch.dtype, last_layers: int = 0) -> None:
        self.settings = settings
        self.dtype = dtype
        self.last_layers = last_layers

    def build(
        self, texts: Sequence[str], root: Path
    ) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
        """Draw the weights on their final device, and checkpoint the layers."""
        words = {f"w{number}": number for number in range(self.settings["vocab_size"])}
        backend = Tokenizer(models.WordLevel(words, unk_token="w2"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token="w0", eos_token="w1", unk_token="w2"
        )
        config = Qwen3Config(
            **self.settings,
            rope_theta=1e6,
            max_position_embeddings=40960,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
        torch.set_default_dtype(self.dtype)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen3ForCausalLM(config)
        torch.set_default_dtype(torch.float32)
        checkpoint_layers(model)
        if self.last_layers:
            model.requires_grad_(False)
            for layer in model.model.layers[-self.last_layers :]:
                layer.requires_grad_(True)
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> None:
        """Return None, because the model was never saved."""


class Forced(ListFormat):
    """A list format that asks for nothing and reads anything: k entries of a fixed number of words.

    Args:
        entry: Words per entry.
    """

    end = "\n"  # no token contains it

    def __init__(self, entry: int) -> None:
        self.entry = entry

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the query."""
        return query

    def write(self, entries: Sequence[str]) -> str:
        """Return the entries, joined by spaces."""
        return " ".join(entries)

    def read(self, completion: str) -> list[str]:
        """Return entries of catalog words, one word for each token."""
        words = [f"w{int(word[1:]) % WORDS}" for word in completion.split()]
        return [" ".join(words[at : at + self.entry]) for at in range(0, len(words), self.entry)]

    def complete(self, completion: str, set_size: int) -> bool:
        """Return False: completions run to the limit."""
        return False


class EvenTokens(Objective):
    """Share of the tokens of all sub-queries whose ids are even."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) shares: a word has the number of its token, so both are even or odd."""
        shares = []
        for texts in sets.texts:  # type: ignore[union-attr]
            words = " ".join(texts).split()
            shares.append(sum(int(word[1:]) % 2 == 0 for word in words) / max(len(words), 1))
        return torch.tensor(shares)


def small_world(folder: Path, items: int, queries: int, prompt: int) -> Run:
    """Write a run on invented words: a catalog of items, and queries of ``prompt`` words each."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(WORDS, (items, 6), generator=generator).tolist()
    texts = [" ".join(f"w{number}" for number in row) for row in numbers]
    goods = Items([f"i{row}" for row in range(len(texts))], texts, {})
    encoder = LsaEncoder.fit(texts, dim=min(128, WORDS // 4))
    write_catalog(folder / "catalog", goods, encoder.encode(texts), encoder)
    numbers = torch.randint(WORDS, (queries, prompt), generator=generator).tolist()
    train = [
        Query(f"q{row}", " ".join(f"w{number}" for number in words), "made up", ())
        for row, words in enumerate(numbers)
    ]
    write_queries(folder / "queries", {"train": train, "val": train[:1], "test": train[:1]})
    return Run.begin(folder)
