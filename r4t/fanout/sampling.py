"""Logits and the tokens so far → the next token from a seed, and which lists are complete."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from r4t.fanout.formats import FanoutFormat


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
        if not self.generators:  # the first scores tell the device
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


def tokens_to_end(ends: EndTokens, ids: Sequence[int], opening: str = "") -> int:
    """Return how many of a completion's tokens its list takes, all if it is not complete.

    ``opening`` is the start of the completion's text that is part of the prompt.
    """
    for place in ends.table[torch.tensor(ids)].nonzero().flatten().tolist():
        text = ends.tokenizer.decode(ids[: place + 1], skip_special_tokens=True)
        if ends.form.complete(opening + text):
            return int(place) + 1
    return len(ids)


@dataclass(eq=False)
class ListComplete(StoppingCriteria):
    """Stops each completion of a batch once its list is complete: the rest would not be read."""

    ends: EndTokens
    prompt_length: int  # in tokens
    opening: str = ""  # see ``tokens_to_end``

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return (B·G,), True for the lists that the last token completes."""
        done = self.ends.table[input_ids[:, -1].cpu()]
        rows = done.nonzero().flatten()
        ids = input_ids[rows.to(input_ids.device), self.prompt_length :]
        texts = self.ends.tokenizer.batch_decode(ids, skip_special_tokens=True)
        for row, text in zip(rows.tolist(), texts):
            done[row] = self.ends.form.complete(self.opening + text)
        return done.to(input_ids.device)
