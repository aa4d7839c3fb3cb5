"""Prompts as tokens → completions, sampled from seeds, that end where their lists are complete."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import LogitsProcessor, PreTrainedModel, StoppingCriteria

from r4t.errors import check_least
from r4t.fanout.formats import FanoutFormat
from r4t.fanout.weights import gathered


@dataclass(eq=False)
class SeededSampling(LogitsProcessor):
    """Samples by adding Gumbel noise, from one generator per query, before a greedy choice.

    ``argmax(logits / temperature + Gumbel)`` is an exact sample from the softmax, and the draw of a
    query depends on its own seed alone: not on its batch, its rank or the global random state. A GPU
    draws other numbers from a seed than a CPU does.

    Args:
        seeds: One per query.
        group_size: Rows G of each query.
        temperature: Above 0.
        part: Which of each query's G rows are present, all by default; noise does not depend on it.
    """

    seeds: Sequence[int]
    group_size: int
    temperature: float
    part: slice | None = None
    generators: list[torch.Generator] = field(default_factory=list, init=False)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the perturbed logits (B·G, V), or those of the part of each query's rows."""
        if not self.generators:  # only the scores know the device
            device = scores.device
            self.generators = [torch.Generator(device).manual_seed(seed) for seed in self.seeds]
        sizes = (len(self.seeds), self.group_size, scores.shape[-1])
        noise = scores.new_empty(sizes, dtype=torch.float32)
        for rows, generator in zip(noise, self.generators, strict=True):
            rows.exponential_(generator=generator)
        noise = noise[:, self.part or slice(None)].reshape_as(scores)
        return scores.float() / self.temperature - noise.log()


@dataclass(eq=False)
class EndTokens:
    """The tokens that can complete a list: those that contain the last character of its end.

    A completion is decoded only after one of them.
    """

    tokenizer: Any
    form: FanoutFormat
    size: int  # number of token ids that the model can sample

    @cached_property
    def table(self) -> Tensor:
        """Whether each token is one of them, (V,) bool."""
        last = self.form.list_format.end[-1]
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        table = torch.zeros(max(self.size, len(texts)), dtype=torch.bool)
        table[: len(texts)] = torch.tensor([last in text for text in texts])
        table[self.tokenizer.all_special_ids] = False
        return table

    def complete(self, ids: Tensor | list[int], opening: str) -> bool:
        """Whether a completion, after the ``opening`` in its prompt, is a complete list."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return self.form.complete(f"{opening}{text}")

    def length(self, ids: list[int], opening: str) -> int:
        """Return how many of a completion's tokens its list takes, all if it is not complete."""
        ends = (self.table[torch.tensor(ids)].nonzero().flatten() + 1).tolist()
        return next((end for end in ends if self.complete(ids[:end], opening)), len(ids))


@dataclass(eq=False)
class ListComplete(StoppingCriteria):
    """Stops each completion of a batch once its list is complete: the rest would not be read."""

    ends: EndTokens
    prompt_length: int  # in tokens
    opening: str = ""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return (B·G,), True for the lists that the last token completes."""
        done = self.ends.table[input_ids[:, -1].cpu()]
        for row in done.nonzero().flatten().tolist():
            done[row] = self.ends.complete(input_ids[row, self.prompt_length :], self.opening)
        return done.to(input_ids.device)


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
    """The model itself writes, through ``generate`` of transformers, with a cache of keys and values.

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
