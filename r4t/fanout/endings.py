"""Tokens of a completion → whether its list is complete, so that the rest need not be written."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from r4t.fanout.formats import FanoutFormat


@dataclass(eq=False)
class EndTokens:
    """The tokens that can complete a list: those that contain the last character of one of its ends.

    A completion is decoded only after one of them.
    """

    tokenizer: Any
    form: FanoutFormat
    size: int  # number of token ids that the model can sample

    @cached_property
    def table(self) -> Tensor:
        """Whether each token is one of them, (V,) bool."""
        last = {end[-1] for end in self.form.list_format.ends}
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        table = torch.zeros(max(self.size, len(texts)), dtype=torch.bool)
        table[: len(texts)] = torch.tensor([not last.isdisjoint(text) for text in texts])
        table[self.tokenizer.all_special_ids] = False
        return table

    def complete(self, ids: Tensor | list[int], opening: str) -> bool:
        """Whether a completion, after the ``opening`` in its prompt, is a complete list."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return self.form.complete(f"{opening}{text}")

    def completed(self, ids: Tensor, opening: str) -> Tensor:
        """Return (R,) bool, True for the rows of ``ids`` (R, T) that their last token completes."""
        done = self.table[ids[:, -1].cpu()]
        for row in done.nonzero().flatten().tolist():
            done[row] = self.complete(ids[row], opening)
        return done.to(ids.device)

    def length(self, ids: list[int], opening: str) -> int:
        """Return how many of a completion's tokens its list takes, all if it is not complete."""
        ends = (self.table[torch.tensor(ids)].nonzero().flatten() + 1).tolist()
        return next((end for end in ends if self.complete(ids[:end], opening)), len(ids))
