"""Prompts as tokens → sampled completions: what runs the language model while it writes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from r4t.errors import check_least
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.sampling import EndTokens, ListComplete, SeededSampling
from r4t.fanout.sharding import gathered


@dataclass(frozen=True)
class Prompts:
    """B prompts, each to be completed G times."""

    ids: Tensor  # (B, P) token ids, padded on the left
    mask: Tensor  # (B, P), 1 for a token of the prompt
    opening: str  # start of each completion's text that is part of its prompt
    seeds: Sequence[int]  # B; the completions of a prompt depend on its seed alone
    group_size: int  # G
    temperature: float  # above 0


class Writer(Protocol):
    """What a backend reads from a ``FanoutModel``."""

    lm: PreTrainedModel
    tokenizer: Any
    form: FanoutFormat
    max_new_tokens: int
    end_ids: list[int]
    ends: EndTokens

    def prompts(self, queries: Sequence[str]) -> list[str]:
        """Return what the model reads for each query."""


class Backend(ABC):
    """Runs a model while it writes: samples from the whole softmax at a temperature."""

    # (B·G, T) of the tokens last written, as sampled, 0 for padding; None if they are the model's own.
    log_probs: Tensor | None = None

    @abstractmethod
    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """Return (B·G, T) sampled tokens, T at most ``max_new_tokens``, padded on the right.

        A completion ends with the token that completes its list, or with an end token.
        """

    def sync(self, model: Writer) -> None:
        """Take over the model's current weights, on every rank, before it writes again."""
        return


class Transformers(Backend):
    """The model itself writes, through ``generate`` of transformers, with a cache of keys and values.

    Args:
        at_once: Completions written together, at least 1; all of a batch by default. The cache's
            memory grows with it: at 4 billion parameters a completion of 1,000 tokens takes about
            0.15 GB in bfloat16. The completions are the same, except for round-off.
    """

    def __init__(self, at_once: int | None = None) -> None:
        if at_once is not None:
            check_least({"at_once": (at_once, 1)})
        self.at_once = at_once

    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """See ``Backend.generate``."""
        lm, count, group = model.lm, len(prompts.seeds), prompts.group_size
        most = self.at_once or count * group
        several = max(1, most // group)
        was_training = lm.training
        lm.eval()
        with gathered(lm):
            parts = [
                _write(
                    model, prompts, slice(row, row + several), range(group)[start : start + most]
                )
                for row in range(0, count, several)
                for start in range(0, group, most)
            ]
        lm.train(was_training)
        longest, padding = max(part.shape[1] for part in parts), model.tokenizer.pad_token_id
        return torch.cat([pad(part, (0, longest - part.shape[1]), value=padding) for part in parts])


def _write(model: Writer, prompts: Prompts, rows: slice, members: range) -> Tensor:
    """Return the tokens of some of the G completions of some of the prompts."""
    ids = prompts.ids[rows].repeat_interleave(len(members), 0)
    part = slice(members.start, members.stop)
    noise = SeededSampling(prompts.seeds[rows], prompts.group_size, prompts.temperature, part)
    generate: Any = model.lm.generate
    output: Tensor = generate(
        input_ids=ids,
        attention_mask=prompts.mask[rows].repeat_interleave(len(members), 0),
        max_new_tokens=model.max_new_tokens,
        do_sample=False,
        logits_processor=[noise],
        pad_token_id=model.tokenizer.pad_token_id,
        eos_token_id=model.end_ids,
        repetition_penalty=1.0,  # the model's own settings would change the policy unnoticed
        no_repeat_ngram_size=0,
        stopping_criteria=[ListComplete(model.ends, ids.shape[1], prompts.opening)],
    )
    return output[:, ids.shape[1] :]
