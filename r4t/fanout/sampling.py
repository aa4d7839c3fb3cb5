"""Logits and the tokens so far → the next token from a seed, and which lists are complete."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from r4t.fanout.formats import FanoutFormat


class SeededSampling(LogitsProcessor):
    """Samples by adding Gumbel noise, from one generator a query, before a greedy choice.

    ``argmax(logits / temperature + Gumbel)`` is an exact sample from the softmax, and the draw of a
    query depends on its own seed alone: not on its batch, its rank or the global random state. A GPU
    draws other numbers from a seed than a CPU does.
    ``generate`` takes no generator of its own.

    Args:
        seeds: One a query.
        group_size: Rows G of each query.
        temperature: Above 0.
        part: Which of each query's G rows are there; they get what they would get among all.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        group_size: int,
        temperature: float,
        part: slice = slice(None),
    ) -> None:
        self.seeds = seeds
        self.generators: list[torch.Generator] = []  # made where the logits are
        self.group_size = group_size
        self.temperature = temperature
        self.part = part

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the perturbed logits (B·G, V), or those of the part of each query's rows."""
        if not self.generators:
            made = [torch.Generator(scores.device) for _ in self.seeds]
            self.generators = [one.manual_seed(seed) for one, seed in zip(made, self.seeds)]
        sizes = (len(self.seeds), self.group_size, scores.shape[-1])
        noise = scores.new_empty(sizes, dtype=torch.float32)
        for rows, generator in zip(noise, self.generators, strict=True):
            rows.exponential_(generator=generator)
        kept = noise[:, self.part].reshape_as(scores)
        return scores.float() / self.temperature - kept.log()


class EndTokens:
    """The tokens that can complete a list: those that hold the last character of its end.

    Only where one of them was just sampled is a completion worth decoding.

    Args:
        tokenizer: Decodes.
        form: Tells when a list is complete.
        size: Number of token ids that the model can sample, at least the tokenizer's.
    """

    def __init__(self, tokenizer: Any, form: FanoutFormat, size: int) -> None:
        self.tokenizer = tokenizer
        self.form = form
        self.size = max(size, len(tokenizer))

    @cached_property
    def table(self) -> Tensor:
        """(V,) bool."""
        last = self.form.contract.end(self.form.set_size)[0][-1]
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        held = torch.zeros(self.size, dtype=torch.bool)
        held[: len(texts)] = torch.tensor([last in text for text in texts])
        held[self.tokenizer.all_special_ids] = False
        return held


def through_list(ends: EndTokens, ids: Sequence[int], opening: str = "") -> int:
    """Return how many of a completion's tokens there are up to the one that completes its list.

    All of them where none does.

    Args:
        ends: The tokens to look out for.
        ids: The completion.
        opening: What the prompt began of the completion's text.
    """
    form = ends.form
    for place in ends.table[torch.tensor(ids)].nonzero().flatten().tolist():
        text = ends.tokenizer.decode(ids[: place + 1], skip_special_tokens=True)
        if form.contract.complete(opening + text, form.set_size):
            return int(place) + 1
    return len(ids)


class ListComplete(StoppingCriteria):
    """Stops a completion once its list is complete: what follows would not be read.

    Each row of a batch ends by itself; ``generate`` pads it from there on.

    Args:
        ends: The tokens to look out for.
        prompt_length: Number of prompt tokens.
        opening: What the prompt began of the completion's text.
    """

    def __init__(self, ends: EndTokens, prompt_length: int, opening: str = "") -> None:
        self.ends = ends
        self.prompt_length = prompt_length
        self.opening = opening

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return (B·G,), True for the lists that the last token completes."""
        last = input_ids[:, -1].cpu()
        rows = self.ends.table[last].nonzero().flatten()
        done = torch.zeros(len(last), dtype=torch.bool)
        if len(rows):
            form = self.ends.form
            ids = input_ids[rows.to(input_ids.device), self.prompt_length :]
            texts = self.ends.tokenizer.batch_decode(ids, skip_special_tokens=True)
            for row, text in zip(rows.tolist(), texts):
                done[row] = form.contract.complete(self.opening + text, form.set_size)
        return done.to(input_ids.device)
