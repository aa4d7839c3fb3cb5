"""Prompts → completions, token by token: what is common is read once, and rows that end leave.

The loop of ``generate`` of transformers with its cache of keys and values, but for three things. The
beginning that all prompts of a batch share (examples, a chat template) is read once, and each prompt
once for all of its completions. A completion that has ended leaves the batch. And a token is drawn
without a random number for each token of the vocabulary (``r4t.fanout.sampling``).
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

LEAST = 16  # tokens that rows must share: one pass more over fewer costs as much as it saves
LEAVING = 4  # completions leave once 1/4 of their batch has ended: to leave copies the cache

Draw = Callable[[Tensor, Tensor, int], Tensor]  # logits (R, V), numbers of the rows, place → (R,)
Ended = Callable[[Tensor], Tensor]  # completions so far (R, T) → (R,) bool


class Reading:
    """What a causal language model has read of some rows, and its logits (R, V) for the next tokens.

    Args:
        lm: The model.
        ids: (R, P) token ids, padded on the left.
        mask: (R, P), 1 for a token.
        cached: Whether it keeps keys and values; if not, it reads all tokens again for each new one.
        shared: Tokens with which each row begins, to be read once for all; from ``shared_tokens``.
        keep: Last places whose logits ``last`` holds.
    """

    last: Tensor  # (R, keep, V) logits

    def __init__(
        self,
        lm: PreTrainedModel,
        ids: Tensor,
        mask: Tensor,
        cached: bool,
        shared: int = 0,
        keep: int = 1,
    ) -> None:
        self.lm, self.ids, self.mask = lm, ids[:, :0], mask[:, :0]
        self.cache = DynamicCache(config=lm.config) if cached else None
        if shared:
            first = int(mask[0].argmax())
            beginning = slice(first, first + shared)
            self.ids, self.mask = self.ids[:1], self.mask[:1]
            self._read(ids[:1, beginning], mask[:1, beginning], 1)
            self.repeat(len(ids))
            mask = (mask * (mask.cumsum(1) > shared))[:, shared:]
            ids = ids[:, shared:]
        self._read(ids, mask, keep)

    @property
    def logits(self) -> Tensor:
        """Those of the next tokens, (R, V)."""
        return self.last[:, -1]

    def add(self, tokens: Tensor) -> None:
        """Read one token (R,) more of each row."""
        self._read(tokens.unsqueeze(1), torch.ones_like(tokens).unsqueeze(1), 1)

    def repeat(self, times: int) -> None:
        """Repeat each row, side by side."""
        if self.cache is not None:
            self.cache.batch_repeat_interleave(times)
        self.ids, self.mask, self.last = (
            each.repeat_interleave(times, 0) for each in (self.ids, self.mask, self.last)
        )

    def select(self, rows: Tensor) -> None:
        """Keep only these rows, by their numbers."""
        if self.cache is not None:
            self.cache.batch_select_indices(rows)
        self.ids, self.mask, self.last = self.ids[rows], self.mask[rows], self.last[rows]

    def _read(self, ids: Tensor, mask: Tensor, keep: int) -> None:
        self.mask = torch.cat([self.mask, mask], 1)
        if self.cache is None:
            ids = self.ids = torch.cat([self.ids, ids], 1)
        places = (self.mask.cumsum(1) - 1).clamp(min=0)
        model: Any = self.lm
        output = model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=places[:, -ids.shape[1] :],
            past_key_values=self.cache,
            use_cache=self.cache is not None,
            logits_to_keep=keep,
        )
        self.last = output.logits


def caches(lm: PreTrainedModel) -> bool:
    """Whether a model reads on from a cache of keys and values, as its mode and settings allow.

    Layers of linear attention keep a state instead, which is not repeated and selected row by row.
    """
    supports: Any = lm._supports_default_dynamic_cache
    # Its name since transformers 5.2x, which warns of the old one.
    name = "is_activation_checkpointing"
    checkpoints = getattr(lm, name if hasattr(lm, name) else "is_gradient_checkpointing")
    if not supports() or (lm.training and checkpoints):
        return False
    layers = DynamicCache(config=lm.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def shared_tokens(lm: PreTrainedModel, ids: Tensor, mask: Tensor, longest: int) -> int:
    """Return how many tokens all rows begin with; 0 if reading them once saves nothing or would differ.

    At least one token of each row is left. Rows then have padding between what they share and the
    rest, which a window of attention would count, unless it is wider than ``longest``, and so would a
    model that does not ask for the positions of tokens.

    Args:
        lm: The model.
        ids: (R, P) token ids, padded on the left.
        mask: (R, P), 1 for a token.
        longest: Tokens, padding included, to which rows will grow.
    """
    config = lm.config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    narrow = any(window is not None and window < longest for window in windows)
    placed = "position_ids" in inspect.signature(lm.forward).parameters
    if len(ids) < 2 or narrow or not placed or not caches(lm):
        return 0
    least = int(mask.sum(1).min()) - 1
    starts = torch.stack([row[keep][:least] for row, keep in zip(ids, mask > 0)])
    shared = int((starts == starts[0]).all(0).long().cumprod(0).sum())
    return shared if shared >= LEAST else 0


@torch.no_grad()
def write(
    lm: PreTrainedModel,
    prompts: tuple[Tensor, Tensor],
    group_size: int,
    length: int,
    draw: Draw,
    ended: Ended,
    padding: int,
) -> Tensor:
    """Return ``group_size`` completions of each prompt: (B·G, T) tokens, T at most ``length``.

    Args:
        lm: A causal language model in evaluation mode.
        prompts: (B, P) token ids, padded on the left, and their mask.
        group_size: Completions G of each prompt.
        length: Most tokens of a completion.
        draw: Draws the next token of some of the B·G rows, which are grouped by prompt.
        ended: Says which completions end with their last token.
        padding: Token that fills a completion after its end.
    """
    ids, mask = prompts
    shared = shared_tokens(lm, ids, mask, ids.shape[1] + length)
    reading = Reading(lm, ids, mask, caches(lm), shared)
    reading.repeat(group_size)
    rows = torch.arange(len(ids) * group_size, device=ids.device)
    written = ids.new_full((len(rows), length), padding)
    writing = torch.ones_like(rows, dtype=torch.bool)
    for place in range(length):
        tokens = draw(reading.logits, rows, place)
        here = rows[writing]
        written[here, place] = tokens[writing]
        writing = writing.masked_scatter(writing, ~ended(written[here, : place + 1]))
        if not writing.any() or place == length - 1:
            break
        if LEAVING * int(writing.sum()) <= (LEAVING - 1) * len(rows):
            reading.select(writing.nonzero().flatten())
            rows, tokens, writing = rows[writing], tokens[writing], writing[writing]
        reading.add(tokens)
    return written[:, : place + 1]
