"""Noisy rows of a set, a noise level and a query → the raw output F of the denoiser."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from r4t.errors import InputError

MAX_FREQUENCY = (
    256.0  # radians per unit of ln(sigma)/4: tells sigmas apart that differ by about 1 %
)


class SetTransformer(nn.Module):
    """A coherent transformer: attention across the L rows of a set, which has no order.

    No row has a position, so permuting the input rows permutes the output rows. The query enters by
    cross-attention to ``condition_tokens`` learned linear views of its embedding; attention over
    one token, the paper's variant, is constant in the row. Keys and values of all layers are
    computed at once by ``memory``, for one query once.

    Raises:
        InputError: ``width`` is not a multiple of 2 · ``heads``.
    """

    def __init__(
        self,
        dim: int,
        width: int = 256,
        mlp_width: int = 256,
        heads: int = 4,
        layers: int = 4,
        set_size: int = 12,
        condition_tokens: int = 4,
        dropout: float = 0.0,
    ) -> None:
        """Build the network.

        Args:
            dim: d, width of the embeddings of rows and query.
            width: Width of the hidden rows.
            mlp_width: Hidden width of the feed-forward blocks.
            heads: Attention heads, each of width ``width`` / ``heads``.
            layers: Blocks of self-attention, cross-attention and feed-forward.
            set_size: L, the number of rows to generate (no weight depends on it).
            condition_tokens: Tokens that the query is mapped to.
            dropout: Probability in [0, 1), of hidden units and of attention weights; training only.
        """
        super().__init__()
        if width % (2 * heads):
            raise InputError(
                f"SetTransformer needs a width that is a multiple of twice its heads, found width="
                f"{width} and heads={heads}: change one of them."
            )
        self.config = {
            "dim": dim,
            "width": width,
            "mlp_width": mlp_width,
            "heads": heads,
            "layers": layers,
            "set_size": set_size,
            "condition_tokens": condition_tokens,
            "dropout": dropout,
        }
        self.dim, self.width, self.heads, self.set_size = dim, width, heads, set_size
        self.layers, self.condition_tokens = layers, condition_tokens
        self.rows_in = nn.Linear(dim, width)
        self.noise_in = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.tokens = nn.Linear(dim, condition_tokens * dim)
        self.null_tokens = nn.Parameter(torch.randn(condition_tokens, dim))
        self.keys_values = nn.Linear(dim, layers * 2 * width)
        self.blocks = nn.ModuleList(Block(width, mlp_width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.rows_out = nn.Linear(width, dim)
        nn.init.zeros_(self.rows_out.weight)
        nn.init.zeros_(self.rows_out.bias)

    def memory(self, condition: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Keys and values of the queries for the cross-attention of every layer.

        Args:
            condition: Query embeddings (B, d), unit length.
            dropped: (B,) bool, True where the learned null condition takes the query's place.

        Returns:
            (layers, 2, B, heads, condition_tokens, width / heads).
        """
        tokens = self.tokens(condition * math.sqrt(self.dim))  # coordinates of size about 1
        tokens = rearrange(tokens, "b (t d) -> b t d", t=self.condition_tokens)  # (B, t, d)
        if dropped is not None:
            tokens = torch.where(dropped[:, None, None], self.null_tokens.to(tokens), tokens)
        return rearrange(
            self.keys_values(tokens), "b t (n two h e) -> n two b h t e", two=2, h=self.heads,
            n=self.layers,
        )  # fmt: skip

    def forward(self, rows: Tensor, noise: Tensor, memory: Tensor) -> Tensor:
        """Return F for every row.

        Args:
            rows: Noisy rows scaled to variance 1 (B, L, d).
            noise: Noise label ln(sigma)/4, (1,) for all or (B,).
            memory: What ``memory`` returned for the B queries.

        Returns:
            (B, L, d).
        """
        label = self.noise_in(fourier_features(noise, self.width))  # (B or 1, width)
        hidden = self.rows_in(rows) + label[:, None]  # (B, L, width)
        for block, (key, value) in zip(self.blocks, memory):
            hidden = block(hidden, key, value)  # (B, L, width)
        return self.rows_out(self.norm(hidden))  # (B, L, d)


class Block(nn.Module):
    """Pre-norm self-attention over the rows, cross-attention to the query, feed-forward."""

    def __init__(self, width: int, mlp_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
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
        """Map rows (B, L, width), given keys and values (B, heads, t, e) of the query."""
        qkv = rearrange(
            self.self_in(self.self_norm(hidden)), "b l (c h e) -> c b h l e", c=3, h=self.heads
        )  # (3, B, h, L, e)
        hidden = hidden + self.drop(self.self_out(self._attend(*qkv)))  # (B, L, width)
        query = rearrange(
            self.cross_in(self.cross_norm(hidden)), "b l (h e) -> b h l e", h=self.heads
        )  # (B, h, L, e)
        hidden = hidden + self.drop(self.cross_out(self._attend(query, key, value)))
        return hidden + self.drop(self.mlp(hidden))  # (B, L, width)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # The functional form drops attention weights whenever it is told a rate, eval mode or not.
        rate = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=rate)  # (B, h, L, e)
        return rearrange(seen, "b h l e -> b l (h e)")  # (B, L, width)


def fourier_features(x: Tensor, width: int) -> Tensor:
    """Sines and cosines of ``x`` (n,) at width/2 log-spaced frequencies, 1 to 256 → (n, width).

    Example:
        >>> fourier_features(torch.zeros(1), 4).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """
    exponent = torch.linspace(0, 1, width // 2, device=x.device, dtype=x.dtype)
    angle = x[:, None] * torch.exp(math.log(MAX_FREQUENCY) * exponent)  # (n, width / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)  # (n, width)
