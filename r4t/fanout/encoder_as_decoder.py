"""A BERT encoder's checkpoint → a causal language model and its tokenizer, for a warm start."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from r4t.errors import InputError
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.language_model import LanguageModelSource, place


class EncoderAsDecoder(LanguageModelSource):
    """A pretrained encoder of BERT's architecture that learns to write.

    The checkpoint's layers see what comes before alone (``is_decoder``), and its embeddings are also
    the output's. It knows words, but has never written any: give it a warm start, with the contract
    ``Lines`` (its tokenizer drops the spacing that JSON needs). Saved, it is a plain decoder, which
    ``Pretrained`` loads.

    Args:
        path: Folder inside the run, any other folder, or hub name.
        whole_vocabulary: Whether it may write all tokens of the checkpoint; by default only those that
            the catalog's texts are made of, and single letters for all other words. That is a
            fraction of the work, and what no item says is not to be unlearned.
        seed: Seed of what the checkpoint lacks: the output's head of a sentence encoder.
    """

    def __init__(self, path: str, whole_vocabulary: bool = False, seed: int = 0) -> None:
        self.path = path
        self.whole_vocabulary = whole_vocabulary
        self.seed = seed

    def build(
        self, texts: Sequence[str], root: Path
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Load the encoder as a decoder, with a line break in its vocabulary.

        Raises:
            InputError: Neither the folder nor the hub has such a model, or it is no BERT.
        """
        path = str(place(self.path, root))
        try:
            config = AutoConfig.from_pretrained(path)
            if config.model_type != "bert":
                raise InputError(
                    f"An encoder as decoder must be of type bert, found {config.model_type} at "
                    f"'{self.path}'; causal models are loaded by Pretrained."
                )
            reader = AutoTokenizer.from_pretrained(path)
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(
                "An encoder must be a hub name or a folder with config.json and a tokenizer — "
                f"'{self.path}' could not be loaded ({str(error).splitlines()[0]}); check the name "
                "or the network."
            ) from error
        kept = list(range(len(reader))) if self.whole_vocabulary else tokens_of(reader, texts)
        tokenizer = as_writer(reader, kept)
        config.is_decoder = True
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=torch.float32)
            _keep_rows(model, kept, len(tokenizer))
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return None: an encoder has no format."""
        return None


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return the ids that ``texts`` need, with special tokens and single characters, in order."""
    found = {token for ids in tokenizer([*texts, ""])["input_ids"] for token in ids}
    for token, number in tokenizer.get_vocab().items():
        if len(token.removeprefix("##")) == 1:
            found.add(number)
    return sorted(found | set(tokenizer.all_special_ids))


def as_writer(tokenizer: Any, kept: Sequence[int]) -> PreTrainedTokenizerFast:
    """Return BERT's tokenizer as one that a completion can be written with.

    ``[CLS]`` begins a prompt and ``[SEP]`` ends a completion, not a prompt. A line break, which
    WordPiece takes for a space, is a token of its own, the last one. Texts come back as far as
    WordPiece knows them, which is in lower case, with words like "t-shirt" and "men's" in one piece.

    Args:
        tokenizer: Stays as it is.
        kept: Ids that are kept; they are numbered anew in this order.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, processors

    first, last = tokenizer.cls_token, tokenizer.sep_token
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    numbers = {old: new for new, old in enumerate(kept)}
    vocabulary = content["model"]["vocab"].items()
    content["model"]["vocab"] = {token: numbers[old] for token, old in vocabulary if old in numbers}
    content["added_tokens"] = [
        {**token, "id": numbers[token["id"]]} for token in content["added_tokens"]
    ]
    content["post_processor"] = None  # which knows the old numbers
    backend = Tokenizer.from_str(json.dumps(content))
    backend.add_tokens([AddedToken("\n", normalized=False, special=False)])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, backend.token_to_id(first))]
    )
    # Spaces between tokens that no one would write: "t - shirt", "( slim )", "3 . 5".
    unwanted = r" (?=[-'/.,:!?%)\n])|(?<=[-'/(\n]) |(?<=\d \.) (?=\d)"
    backend.decoder = decoders.Sequence(
        [decoders.WordPiece(cleanup=False), decoders.Fuse(), decoders.Replace(Regex(unwanted), "")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=first,
        eos_token=last,
        pad_token=tokenizer.pad_token,
        unk_token=tokenizer.unk_token,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _keep_rows(model: PreTrainedModel, kept: Sequence[int], size: int) -> None:
    """Leave a model the embeddings and output biases of some tokens, and ``size`` rows in all.

    The rows of new tokens begin as the mean of the others.
    """
    table = model.get_input_embeddings().get_parameter("weight").detach().clone()
    bias: Tensor = model.get_output_embeddings().bias.detach().clone()
    model.resize_token_embeddings(size, mean_resizing=False)
    rows, count = torch.tensor(kept), len(kept)
    with torch.no_grad():
        for parameter, old in (
            (model.get_input_embeddings().get_parameter("weight"), table[rows]),
            (model.get_output_embeddings().get_parameter("bias"), bias[rows]),
        ):
            parameter[:count] = old
            parameter[count:] = old.mean(0)
