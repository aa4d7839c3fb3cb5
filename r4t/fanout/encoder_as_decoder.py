"""A BERT encoder's checkpoint → a causal language model and its tokenizer, for a warm start."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from r4t.errors import InputError
from r4t.fanout.language_model import LanguageModel, LanguageModelSource, fast_tokenizer, loading


@dataclass
class EncoderAsDecoder(LanguageModelSource):
    """A pretrained encoder of BERT's architecture that learns to write.

    The checkpoint's layers attend only to earlier tokens (``is_decoder``), and its embeddings serve as
    the output's too. It knows words but has never written: give it a warm start, with the list format
    ``Lines`` (its tokenizer drops the spacing that JSON needs). Once saved, it is a plain decoder that
    ``Pretrained`` loads.

    Args:
        path: Folder inside the run, any other folder, or hub name.
        whole_vocabulary: Whether it may write all tokens of the checkpoint; by default only those in
            the catalog's texts, and single letters for all other words. That is a fraction of the
            work, and it need not unlearn words of no item.
        seed: Seed of weights that the checkpoint lacks: the output head, in a sentence encoder.
    """

    path: str
    whole_vocabulary: bool = False
    seed: int = 0

    def build(self, texts: Sequence[str], root: Path) -> LanguageModel:
        """Load the encoder as a decoder, with a line break in its vocabulary.

        Raises:
            InputError: If neither the folder nor the hub has such a model, or it is not a BERT.
        """
        with loading(self.path, root) as path:
            config = transformers.AutoConfig.from_pretrained(path)
            reader = transformers.AutoTokenizer.from_pretrained(path)
        if config.model_type != "bert":
            raise InputError(
                expected="an encoder of type bert to turn into a decoder",
                found=f"{config.model_type} at '{self.path}'",
                remedy="Load a causal model with Pretrained.",
            )
        ids = list(range(len(reader))) if self.whole_vocabulary else token_ids_of(reader, texts)
        tokenizer = decoder_tokenizer(reader, ids)
        config.is_decoder = True
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(config, name, getattr(tokenizer, name))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            load = transformers.AutoModelForCausalLM.from_pretrained
            model = load(path, config=config, dtype=torch.float32)
            _keep_rows(model, ids, len(tokenizer))
        return model.train(), tokenizer


def token_ids_of(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return the ids that ``texts`` need, with special tokens and single characters, in order."""
    ids = {token for row in tokenizer([*texts, ""])["input_ids"] for token in row}
    vocabulary = tokenizer.get_vocab().items()
    ids |= {number for token, number in vocabulary if len(token.removeprefix("##")) == 1}
    return sorted(ids | set(tokenizer.all_special_ids))


def decoder_tokenizer(tokenizer: Any, ids: Sequence[int]) -> transformers.PreTrainedTokenizerFast:
    """Return BERT's tokenizer, restricted to some ids, as one that can write a completion.

    ``[CLS]`` begins a prompt, ``[SEP]`` ends a completion. ``ids`` are renumbered in their order; a
    line break, which WordPiece reads as a space, is the last token. Decoded texts are in lower case,
    with words like "t-shirt" and "men's" in one piece.
    """
    from tokenizers import Regex, Tokenizer, decoders, processors

    first, last = tokenizer.cls_token, tokenizer.sep_token
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    numbers = {old: new for new, old in enumerate(ids)}
    vocabulary = content["model"]["vocab"].items()
    content["model"]["vocab"] = {token: numbers[old] for token, old in vocabulary if old in numbers}
    content["added_tokens"] = [
        {**token, "id": numbers[token["id"]]} for token in content["added_tokens"]
    ]
    content["post_processor"] = None  # it uses the old numbers
    backend = Tokenizer.from_str(json.dumps(content))
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, backend.token_to_id(first))]
    )
    # Spaces between tokens that nobody would write: "t - shirt", "( slim )", "3 . 5".
    unwanted = r" (?=[-'/.,:!?%)\n])|(?<=[-'/(\n]) |(?<=\d \.) (?=\d)"
    backend.decoder = decoders.Sequence(
        [decoders.WordPiece(cleanup=False), decoders.Fuse(), decoders.Replace(Regex(unwanted), "")]
    )
    pad, unk = tokenizer.pad_token, tokenizer.unk_token
    return fast_tokenizer(backend, bos_token=first, eos_token=last, pad_token=pad, unk_token=unk)


@torch.no_grad()
def _keep_rows(model: Any, ids: Sequence[int], size: int) -> None:
    """Keep the embeddings and output biases of some tokens, in a model with ``size`` rows in all.

    The rows of new tokens begin as the mean of the others.
    """
    tables = model.get_input_embeddings().weight[ids], model.get_output_embeddings().bias[ids]
    model.resize_token_embeddings(size, mean_resizing=False)
    parameters = model.get_input_embeddings().weight, model.get_output_embeddings().bias
    for parameter, old in zip(parameters, tables):
        parameter[: len(ids)] = old
        parameter[len(ids) :] = old.mean(0)
