"""Prompts as tokens → completions, sampled from seeds, that end where their lists are complete."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from r4t.errors import InputError, check_least
from r4t.fanout.decoding import write
from r4t.fanout.endings import EndTokens
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.sampling import SeededSampling
from r4t.fanout.weights import gathered, is_sharded


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
        dtype: ``bfloat16`` or ``float16``: a copy of the model in it writes, which takes over the
            weights before each batch. Faster where the processor computes in it, and a slightly different
            policy: a tuner logs how far it is from the one that learns (``train/backend_gap/mean``).
    """

    at_once: int | None = None
    dtype: str | None = None
    _copy: PreTrainedModel | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.at_once is not None:
            check_least({"at_once": (self.at_once, 1)})
        if self.dtype not in (None, "bfloat16", "float16"):
            expected = "dtype bfloat16 or float16, or none for that of the model"
            raise InputError(expected=expected, found=f"{self.dtype!r}", remedy="Leave it out.")

    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """See ``Backend.generate``.

        Raises:
            InputError: If ``dtype`` is given for a model whose weights several processes share.
        """
        count, group = len(prompts.seeds), prompts.group_size
        most = self.at_once or count * group
        several, members = max(1, most // group), range(group)
        was_training = model.lm.training
        model.lm.eval()
        if self.dtype is not None:
            self.log_probs = torch.zeros(count * group, model.max_new_tokens).to(prompts.ids.device)
        with gathered(model.lm):
            lm = model.lm if self.dtype is None else self._low_precision(model.lm)
            parts = [
                self._write(lm, model, prompts, range(row, min(row + several, count)), part)
                for row in range(0, count, several)
                for part in (members[start : start + most] for start in range(0, group, most))
            ]
        model.lm.train(was_training)
        longest, padding = max(part.shape[1] for part in parts), model.tokenizer.pad_token_id
        if self.log_probs is not None:
            self.log_probs = self.log_probs[:, :longest]
        return torch.cat([pad(part, (0, longest - part.shape[1]), value=padding) for part in parts])

    def _write(
        self, lm: PreTrainedModel, model: Writer, prompts: Prompts, rows: range, members: range
    ) -> Tensor:
        """Return the tokens of some of the G completions of some of the prompts."""
        group, length, part = prompts.group_size, model.max_new_tokens, slice(rows.start, rows.stop)
        sampling = SeededSampling(prompts.seeds[part], group, prompts.temperature, length)
        several = len(members)
        ends = torch.tensor(model.end_ids, device=prompts.ids.device)

        def draw(logits: Tensor, numbers: Tensor, place: int) -> Tensor:
            which = numbers // several * group + members.start + numbers % several
            tokens = sampling(logits, which, place)
            if self.log_probs is not None:
                policy = (logits.float() / prompts.temperature).log_softmax(-1)
                taken = policy.gather(1, tokens.unsqueeze(1)).squeeze(1)
                self.log_probs[which + rows.start * group, place] = taken
            return tokens

        def ended(ids: Tensor) -> Tensor:
            return torch.isin(ids[:, -1], ends) | model.ends.completed(ids, prompts.opening)

        tokens, padding = (prompts.ids[part], prompts.mask[part]), model.tokenizer.pad_token_id
        return write(lm, tokens, several, length, draw, ended, padding)

    def _low_precision(self, lm: PreTrainedModel) -> PreTrainedModel:
        """Return the copy that writes, with the model's current weights."""
        if is_sharded(lm):
            raise InputError(
                expected="no dtype for the backend of a model whose weights processes share",
                found=f"{self.dtype}",
                remedy="Leave it out, or load the model in that dtype.",
            )
        if self._copy is None:
            self._copy = copy.deepcopy(lm).to(getattr(torch, str(self.dtype)))
        with torch.no_grad():  # every time: not every optimizer shows that it has changed a weight
            for ours, theirs in zip(self._copy.parameters(), lm.parameters(), strict=True):
                ours.copy_(theirs)
        return self._copy.eval()
