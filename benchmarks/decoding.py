"""Prompts (B, P) → completions (B, T) of a fixed length, by each way to run a language model."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen3ForCausalLM

from benchmarks.device import BACKEND, recorded

Write = Callable[[Tensor], Tensor]  # prompts (B, P) → completions (B, T)


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention that reads each key and value once for all heads that share it.

    The attention of transformers repeats them in memory whenever there is a mask, as with a static
    cache.

    Args:
        module: Unused.
        query: (B, heads, n, e); n tokens of a prompt at the start, or one token.
        key: (B, groups, S, e) of the whole cache.
        value: (B, groups, S, e) of the whole cache.
        attention_mask: (S,) bool for one token, True where the cache is filled; unused for a prompt,
            which attends to itself.
        scaling: Factor of the scores.

    Returns:
        (B, n, heads, e), and no weights.
    """
    batch, heads, length, width = query.shape
    if length > 1:
        key, value = key[:, :, :length], value[:, :, :length]
        output = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return output.transpose(1, 2), None
    query = query.view(batch, key.shape[1], -1, width)  # (B, groups, heads / groups, e)
    scores = (query @ key.transpose(2, 3) * scaling).float()  # (B, groups, heads / groups, S)
    weights = scores.masked_fill(~attention_mask, -torch.inf).softmax(-1)
    return (weights.to(value.dtype) @ value).view(batch, 1, heads, width), None


AttentionInterface.register("grouped", grouped_attention)


class FixedCache:
    """Keys and values at fixed addresses in memory, for a prompt and its completion.

    Args:
        model: The model that uses the cache.
        batch: B.
        length: S, tokens of prompt and completion.
        place: (1,) int64 on the model's device: position of the next token.
    """

    def __init__(self, model: Qwen3ForCausalLM, batch: int, length: int, place: Tensor) -> None:
        config = model.config
        shape = (batch, config.num_key_value_heads, length, config.head_dim)
        layers, like = range(config.num_hidden_layers), model.lm_head.weight
        self.keys = [like.new_zeros(shape) for _ in layers]
        self.values = [like.new_zeros(shape) for _ in layers]
        self.place = place

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any) -> tuple[Tensor, Tensor]:
        """Store a layer's keys and values (B, groups, n, e); return all of them (B, groups, S, e)."""
        for stored, new in ((self.keys[layer], key), (self.values[layer], value)):
            if new.shape[2] > 1:
                stored[:, :, : new.shape[2]] = new
            else:
                stored.index_copy_(2, self.place, new)
        return self.keys[layer], self.values[layer]


class FixedWriter:
    """Writes the likeliest tokens with a fixed cache; on a GPU each step is one CUDA graph.

    Args:
        model: A model of Qwen3's architecture.
        batch: B.
        prompt: P, tokens per prompt.
        tokens: T, tokens per completion.
        compiled: Whether the model's code is compiled first.
    """

    @torch.no_grad()
    def __init__(
        self, model: Qwen3ForCausalLM, batch: int, prompt: int, tokens: int, compiled: bool
    ) -> None:
        device = model.device
        model.set_attn_implementation("grouped")
        self.model, self.prompt, self.tokens = model, prompt, tokens
        self.place = torch.zeros(1, dtype=torch.long, device=device)
        self.places = torch.arange(prompt + tokens, device=device)
        self.cache = FixedCache(model, batch, prompt + tokens, self.place)
        self.ids = torch.zeros(batch, prompt, dtype=torch.long, device=device)
        self.token = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.written = torch.zeros(batch, tokens, dtype=torch.long, device=device)
        forward = self._forward
        self.forward = (
            torch.compile(forward, dynamic=False, backend=BACKEND) if compiled else forward
        )
        self.read()
        self.step = recorded(self.step, device)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """The likeliest token (B, 1) after ids (B, n) at positions (1, n)."""
        filled = self.places <= self.place
        output = self.model(
            input_ids=ids,
            attention_mask={"full_attention": filled},
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].argmax(-1, keepdim=True)

    def read(self) -> None:
        """Read the prompts and write the first token."""
        self.token.copy_(self.forward(self.ids, self.places[None, : self.prompt]))
        self.written[:, :1] = self.token
        self.place.fill_(self.prompt)

    def step(self) -> None:
        """Write the next token, entirely on the device."""
        self.token.copy_(self.forward(self.token, self.place[None]))
        self.written.index_copy_(1, self.place - self.prompt + 1, self.token)
        self.place.add_(1)

    @torch.no_grad()
    def __call__(self, prompts: Tensor) -> Tensor:
        """Return (B, T)."""
        self.ids.copy_(prompts)
        self.read()
        for _ in range(self.tokens - 1):
            self.step()
        return self.written


class GrowingWriter:
    """transformers' own ``generate``, with a growing cache.

    Args:
        model: A model of Qwen3's architecture.
        tokens: T, tokens per completion.
    """

    def __init__(self, model: Qwen3ForCausalLM, tokens: int) -> None:
        model.set_attn_implementation("sdpa")
        model.generation_config.eos_token_id = None  # every completion has all tokens
        self.model, self.tokens = model, tokens

    @torch.no_grad()
    def __call__(self, prompts: Tensor) -> Tensor:
        """Return (B, T)."""
        written = self.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=self.tokens,
            do_sample=False,
        )
        return written[:, prompts.shape[1] :]


class InParts:
    """Writes for a batch in equal parts, one after another.

    Args:
        write: Writes for one part.
        parts: Number of parts.
    """

    def __init__(self, write: Write, parts: int) -> None:
        self.write, self.parts = write, parts

    def __call__(self, prompts: Tensor) -> Tensor:
        """Return (B, T)."""
        if self.parts == 1:
            return self.write(prompts)
        return torch.cat([self.write(part).clone() for part in prompts.chunk(self.parts)])


WRITERS = ("compiled graph", "graph", "growing cache")


def writer(kind: str, model: Qwen3ForCausalLM, prompts: Tensor, tokens: int) -> InParts:
    """Build a writer for prompts (B, P); halve the batch until it fits into memory.

    Args:
        kind: One of ``WRITERS``.
        model: The language model.
        prompts: One batch, for which the writer is tried once.
        tokens: T, tokens per completion.
    """
    parts = 1
    while True:
        part = prompts.chunk(parts)[0]
        try:
            built: Write
            if kind == "growing cache":
                built = GrowingWriter(model, tokens)
            else:
                compiled = kind == "compiled graph"
                built = FixedWriter(model, *part.shape, tokens, compiled)
            built(part)
        except torch.cuda.OutOfMemoryError:
            if len(part) == 1:
                raise
            built = None  # type: ignore[assignment]
        else:
            return InParts(built, parts)
        torch.cuda.empty_cache()
        parts *= 2
