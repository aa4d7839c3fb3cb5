"""Logits → one token per row, drawn from seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 256  # tokens whose weights are summed at once
BELOW_1 = 1 - 1e-12


@dataclass(eq=False)
class SeededSampling:
    """Samples each query's completions by a generator of its own, exactly from the softmax.

    A draw depends on its query's seed, G and T, its completion's number and the number of the token
    alone: not on the batch, the rank, the device or the global random state.

    Args:
        seeds: One per query, B.
        group_size: Completions G of each query.
        temperature: Above 0.
        length: Most tokens T of a completion.
    """

    seeds: Sequence[int]
    group_size: int
    temperature: float
    length: int

    @cached_property
    def uniforms(self) -> Tensor:
        """Numbers in [0, 1), (B, G, T) in float64: which token each place takes."""
        size = (self.group_size, self.length)
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        draws = [torch.rand(size, generator=each, dtype=torch.float64) for each in generators]
        return torch.stack(draws)

    def __call__(self, logits: Tensor, rows: Tensor, place: int) -> Tensor:
        """Draw the next token (R,) of some rows.

        Args:
            logits: (R, V) of the next token.
            rows: (R,) numbers of these rows among all B·G, grouped by query; on any device.
            place: Number of the token in the completion, 0 … T − 1.
        """
        uniforms = self.uniforms.flatten(0, 1)[rows.cpu(), place]
        return draw(logits.float() / self.temperature, uniforms)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Return the tokens (R,) at which the running sum of the softmax of ``logits`` passes a number.

    A number that is uniform in [0, 1) draws an exact sample. Weights are summed block by block first,
    in double precision: one pass over the vocabulary and no random number per token.

    Args:
        logits: (R, V); a token of −∞ is never drawn.
        uniforms: (R,) numbers in [0, 1).

    Examples:
        >>> thirds = torch.zeros(3, 3)
        >>> draw(thirds, torch.tensor([0.0, 0.34, 0.99])).tolist()
        [0, 1, 2]
    """
    weights = (logits - logits.amax(1, keepdim=True)).exp()
    blocks = pad(weights, (0, -weights.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    precise = torch.float32 if logits.device.type == "mps" else torch.float64
    sums = blocks.sum(-1, dtype=precise).cumsum(-1)
    target = uniforms.to(sums).unsqueeze(1) * sums[:, -1:] * BELOW_1
    block = _passes(sums, target)
    within = blocks[torch.arange(len(blocks), device=block.device), block[:, 0]]
    inner = within.to(precise).cumsum(-1)
    before = pad(sums, (1, 0)).gather(1, block)
    rest = torch.minimum((target - before).clamp(min=0), inner[:, -1:] * BELOW_1)
    return (block * BLOCK + _passes(inner, rest)).squeeze(1)


def _passes(sums: Tensor, target: Tensor) -> Tensor:
    """Return the first place (R, 1) at which running sums (R, N) exceed a target (R, 1)."""
    return torch.searchsorted(sums, target, right=True).clamp(max=sums.shape[1] - 1)
