"""A BERT encoder's checkpoint → a causal language model and its tokenizer, for a warm start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
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
from r4t.fanout.language_model import place


class EncoderAsDecoder:
    """A pretrained encoder of BERT's architecture that learns to write.

    The checkpoint's layers see what comes before alone (``is_decoder``), and its embeddings are also
    the output's. It knows words, but has never written any: give it a warm start, with the contract
    ``Lines`` (its tokenizer drops the spacing that JSON needs). Saved, it is a plain decoder, which
    ``Pretrained`` loads.

    Args:
        path: Folder inside the run, any other folder, or hub name.
        seed: Seed of what the checkpoint lacks: the output's head of a sentence encoder.
    """

    def __init__(self, path: str, seed: int = 0) -> None:
        self.path = path
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
            tokenizer = as_writer(AutoTokenizer.from_pretrained(path))
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(
                "An encoder must be a hub name or a folder with config.json and a tokenizer — "
                f"'{self.path}' could not be loaded ({str(error).splitlines()[0]}); check the name "
                "or the network."
            ) from error
        config.is_decoder = True
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=torch.float32)
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> FanoutFormat | None:
        """Return None: an encoder has no format."""
        return None


def as_writer(tokenizer: Any) -> PreTrainedTokenizerFast:
    """Return BERT's tokenizer as one that a completion can be written with.

    ``[CLS]`` begins a prompt and ``[SEP]`` ends a completion, not a prompt. A line break, which
    WordPiece takes for a space, is a token of its own. Texts come back as far as WordPiece knows
    them, which is in lower case, with words like "t-shirt" and "men's" in one piece.

    Args:
        tokenizer: A copy of it is changed.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, processors

    first, last = tokenizer.cls_token, tokenizer.sep_token
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.add_tokens([AddedToken("\n", normalized=False, special=False)])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, tokenizer.cls_token_id)]
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
