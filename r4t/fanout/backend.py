"""Prompts as tokens → completions, sampled from seeds, that end where their lists are complete."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from r4t.errors import check_least
from r4t.fanout.decoding import write
from r4t.fanout.endings import EndTokens
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.sampling import SeededSampling
from r4t.fanout.weights import gathered


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


@dataclass(eq=False)
class Transformers(Backend):
    """The model itself writes, with a cache of keys and values (``r4t.fanout.decoding``).

    Args:
        at_once: Completions written together, at least 1; all of a batch by default. The cache's
            memory grows with it: at 4 billion parameters a completion of 1,000 tokens takes about
            0.15 GB in bfloat16. The completions are the same, except for round-off.
    """

    at_once: int | None = None

    def __post_init__(self) -> None:
        if self.at_once is not None:
            check_least({"at_once": (self.at_once, 1)})

    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """See ``Backend.generate``."""
        lm, count, group = model.lm, len(prompts.seeds), prompts.group_size
        most = self.at_once or count * group
        several, members = max(1, most // group), range(group)
        was_training = lm.training
        lm.eval()
        with gathered(lm):
            parts = [
                _write(model, prompts, slice(row, row + several), members[start : start + most])
                for row in range(0, count, several)
                for start in range(0, group, most)
            ]
        lm.train(was_training)
        longest, padding = max(part.shape[1] for part in parts), model.tokenizer.pad_token_id
        return torch.cat([pad(part, (0, longest - part.shape[1]), value=padding) for part in parts])


def _write(model: Writer, prompts: Prompts, rows: slice, members: range) -> Tensor:
    """Return the tokens of some of the G completions of some of the prompts."""
    group, length = prompts.group_size, model.max_new_tokens
    sampling = SeededSampling(prompts.seeds[rows], group, prompts.temperature, length)
    several = len(members)
    ends = torch.tensor(model.end_ids, device=prompts.ids.device)

    def draw(logits: Tensor, numbers: Tensor, place: int) -> Tensor:
        which = numbers // several * group + members.start + numbers % several
        return sampling(logits, which, place)

    def ended(ids: Tensor) -> Tensor:
        return torch.isin(ids[:, -1], ends) | model.ends.completed(ids, prompts.opening)

    part, padding = (prompts.ids[rows], prompts.mask[rows]), model.tokenizer.pad_token_id
    return write(model.lm, part, several, length, draw, ended, padding)
