"""Rows of a set and a query's keys and values → the same rows, one layer on."""

from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm self-attention over the rows, cross-attention to the query, feed-forward."""

    def __init__(
        self, width: int, mlp_width: int, heads: int, dropout: float, qk_norm: bool
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.qk_norm = heads, dropout, qk_norm
        self.self_norm = nn.LayerNorm(width)
        self.self_in = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_in = nn.Linear(width, width)
        self.cross_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, mlp_width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_width, width),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map rows (B, L, width), with keys and values (B, heads, t, e) of the query."""
        hidden = hidden + self.across_rows(self.self_norm(hidden))  # (B, L, width)
        hidden = hidden + self.to_query(self.cross_norm(hidden), key, value)
        return hidden + self.drop(self.mlp(hidden))  # (B, L, width)

    def across_rows(self, rows: Tensor) -> Tensor:
        """Attend among normed rows (B, L, width)."""
        query, key, value = rearrange(
            self.self_in(rows), "b l (c h e) -> c b h l e", c=3, h=self.heads
        )  # each (B, h, L, e)
        if self.qk_norm:
            key = unit_square(key)
        return self.drop(self.self_out(self._attend(query, key, value)))  # (B, L, width)

    def to_query(self, rows: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from normed rows (B, L, width) to keys that are already normed."""
        query = rearrange(self.cross_in(rows), "b l (h e) -> b h l e", h=self.heads)  # (B, h, L, e)
        return self.drop(self.cross_out(self._attend(query, key, value)))  # (B, L, width)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.qk_norm:
            query = unit_square(query)
        # The functional form drops attention weights at any rate above 0, even in eval mode.
        rate = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(query, key, value, dropout_p=rate)  # (B, h, L, e)
        return rearrange(heads, "b h l e -> b l (h e)")  # (B, L, width)


class AdaptiveBlock(Block):
    """A ``Block`` in which the noise level shifts, scales and gates (DiT's adaLN-Zero).

    It does so in self-attention and feed-forward, which begin as the identity; cross-attention
    depends on the query alone.
    """

    def __init__(self, width: int, *settings: Any) -> None:
        super().__init__(width, *settings)
        self.self_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(*list(self.mlp)[1:])  # without its own norm
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def modulated(self, hidden: Tensor, key: Tensor, value: Tensor, label: Tensor) -> Tensor:
        """Map rows (B, L, width) like ``forward``, at noise labels (B or 1, width)."""
        parts = self.modulation(label)[:, None].chunk(6, dim=-1)  # each (B or 1, 1, width)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts
        rows = self.self_norm(hidden) * (1 + scale) + shift  # (B, L, width)
        hidden = hidden + gate * self.across_rows(rows)
        hidden = hidden + self.to_query(self.cross_norm(hidden), key, value)
        rows = self.mlp_norm(hidden) * (1 + mlp_scale) + mlp_shift
        return hidden + mlp_gate * self.drop(self.mlp(rows))  # (B, L, width)


def unit_square(x: Tensor) -> Tensor:
    """Scale the last axis to root mean square 1.

    Examples:
        >>> import torch
        >>> unit_square(torch.tensor([3.0, -3.0])).tolist()
        [1.0, -1.0]
    """
    return F.rms_norm(x, x.shape[-1:])
