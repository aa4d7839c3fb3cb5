"""Noisy rows of a set, a noise level and a query → the raw output F of the denoiser."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from r4t.diffusion.block import AdaptiveBlock, Block, unit_square
from r4t.errors import InputError, check_least

MAX_FREQUENCY = 256.0  # radians per unit of ln(sigma)/4: tells apart sigmas that differ by 1 %


class SetNetwork(nn.Module, ABC):
    """A raw network F over the L rows of a set, given a query."""

    dim: int  # d, width of the embeddings of rows and query
    set_size: int  # L, the number of rows
    arguments: tuple[str, ...]  # of the constructor: attributes, plain values or networks

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments by name."""
        return {name: getattr(self, name) for name in self.arguments}

    def resize(self, set_size: int) -> None:
        """Generate L = ``set_size`` rows from now on."""
        self.set_size = set_size

    def keep_condition(self) -> None:
        """Freeze the weights that only a dropped condition needs, as no condition will be dropped."""

    @abstractmethod
    def memory(self, condition: Tensor, dropped: Tensor | None = None) -> Any:
        """Return what ``forward`` needs from the queries, computed once for all noise levels.

        Args:
            condition: Query embeddings (B, d), unit length.
            dropped: (B,) bool, True where the learned null condition takes the query's place.
        """

    @abstractmethod
    def forward(self, rows: Tensor, noise: Tensor, memory: Any) -> Tensor:
        """Return F (B, L, d) for every row.

        Args:
            rows: Noisy rows scaled to variance 1 (B, L, d).
            noise: Noise label ln(sigma)/4, (1,) for all or (B,).
            memory: From ``memory``, of the B queries.
        """


class SetTransformer(SetNetwork):
    """A coherent transformer: attention across the L rows of a set.

    Rows have no position, so permuting the input rows permutes the output rows. The query enters by
    cross-attention to ``condition_tokens`` learned linear views of its embedding; with one token,
    as in the paper, it adds the same to every row. The memory holds keys and values of all layers,
    (layers, 2, B, heads, condition_tokens, width / heads).

    Args:
        dim: d, width of the embeddings of rows and query; ``r4t fit`` takes it from the catalog by
            default.
        width: Width of the hidden rows.
        mlp_width: Hidden width of the feed-forward blocks.
        heads: Attention heads, each of width ``width`` / ``heads``.
        layers: Blocks of self-attention, cross-attention and feed-forward.
        set_size: L, the number of rows to generate (no weight depends on it).
        condition_tokens: Number of tokens for the query.
        dropout: Probability in [0, 1), of hidden units and of attention weights; training only.
        qk_norm: Whether attention scales queries and keys to root mean square 1, which bounds its
            logits by √(``width`` / ``heads``).

    Raises:
        InputError: If ``dim`` is None, or ``width`` is not a multiple of 2 · ``heads``.
    """

    block_type: type[Block] = Block
    arguments: tuple[str, ...] = ("dim", "width", "mlp_width", "heads", "layers", "set_size")
    arguments += ("condition_tokens", "dropout", "qk_norm")

    def __init__(
        self,
        dim: int | None = None,
        width: int = 256,
        mlp_width: int = 256,
        heads: int = 4,
        layers: int = 4,
        set_size: int = 12,
        condition_tokens: int = 4,
        dropout: float = 0.0,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        if dim is None:
            raise InputError(
                expected="dim, the width of the embeddings, for a SetTransformer",
                found="none, which only r4t fit can take from a run's catalog",
                remedy="Pass it.",
            )
        if width % (2 * heads):
            raise InputError(
                expected="a SetTransformer's width to be a multiple of twice its heads",
                found=f"width={width} and heads={heads}",
                remedy="Change one of them.",
            )
        self.dim, self.width, self.mlp_width, self.heads = dim, width, mlp_width, heads
        self.layers, self.set_size, self.condition_tokens = layers, set_size, condition_tokens
        self.dropout, self.qk_norm = dropout, qk_norm
        self.rows_in = nn.Linear(dim, width)
        self.noise_in = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.tokens = nn.Linear(dim, condition_tokens * dim)
        self.null_tokens = nn.Parameter(torch.randn(condition_tokens, dim))
        self.keys_values = nn.Linear(dim, layers * 2 * width)
        self.blocks = nn.ModuleList(
            self.block_type(width, mlp_width, heads, dropout, qk_norm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.rows_out = nn.Linear(width, dim)
        nn.init.zeros_(self.rows_out.weight)
        nn.init.zeros_(self.rows_out.bias)

    def keep_condition(self) -> None:
        """Freeze the null condition."""
        self.null_tokens.requires_grad_(False)

    def memory(self, condition: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Return keys and values of the queries for the cross-attention of every layer."""
        tokens = self.tokens(condition * math.sqrt(self.dim))  # coordinates of size about 1
        tokens = rearrange(tokens, "b (t d) -> b t d", t=self.condition_tokens)  # (B, t, d)
        if dropped is not None:
            tokens = torch.where(dropped[:, None, None], self.null_tokens.to(tokens), tokens)
        sizes = {"two": 2, "h": self.heads, "n": self.layers}
        memory = rearrange(self.keys_values(tokens), "b t (n two h e) -> n two b h t e", **sizes)
        if self.qk_norm:
            keys, values = memory.unbind(1)
            memory = torch.stack([unit_square(keys), values], dim=1)
        return memory

    def forward(self, rows: Tensor, noise: Tensor, memory: Tensor) -> Tensor:
        """Return F for every row."""
        label = self.noise_in(fourier_features(noise, self.width))  # (B or 1, width)
        hidden = self.rows_in(rows) + label[:, None]  # (B, L, width)
        for block, (key, value) in zip(self.blocks, memory):
            hidden = block(hidden, key, value)  # (B, L, width)
        return self.rows_out(self.norm(hidden))  # (B, L, d)


class AdaptiveSetTransformer(SetTransformer):
    """A ``SetTransformer`` that sees the noise level in every layer, not once at its input.

    At the paper's sizes it has 37.8M more parameters (6 layers of 1024 × 6 · 1024 and a bias).
    Arguments and errors are those of ``SetTransformer``.
    """

    block_type = AdaptiveBlock

    def forward(self, rows: Tensor, noise: Tensor, memory: Tensor) -> Tensor:
        """Return F for every row."""
        label = F.silu(self.noise_in(fourier_features(noise, self.width)))  # (B or 1, width)
        hidden = self.rows_in(rows)  # (B, L, width)
        for block, (key, value) in zip(self.blocks, memory):
            hidden = block.modulated(hidden, key, value, label)  # type: ignore[operator]
        return self.rows_out(self.norm(hidden))  # (B, L, d)


class LinearSet(SetNetwork):
    """One linear map of the query for all rows, and an offset for each: ``F_i = √d · (A q + √d · o_i)``.

    It sees neither the noisy rows nor the noise level, so it answers in one evaluation at a high
    level, where the direction of row i is that of ``A q + √d · o_i``. With d² + L·d weights it cannot
    learn training queries by heart as a transformer does (docs/diffusion.md). The factor √d lets map
    and offsets learn equally fast with Adam: a step of ε in each weight moves both parts by about
    ε·√d.

    Args:
        dim: d, width of the embeddings of rows and query.
        set_size: L, the number of rows; each has an offset of its own.

    Raises:
        InputError: If a number is below 1.
    """

    arguments = ("dim", "set_size")

    def __init__(self, dim: int, set_size: int = 10) -> None:
        super().__init__()
        check_least({"dim": (dim, 1), "set_size": (set_size, 1)})
        self.dim, self.set_size = dim, set_size
        self.map = nn.Linear(dim, dim, bias=False)
        self.offsets = nn.Parameter(torch.zeros(set_size, dim))
        nn.init.eye_(self.map.weight)

    def memory(self, condition: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Return the mapped queries (B, 1, d); 0 for a dropped condition."""
        mapped: Tensor = self.map(condition).unsqueeze(1)
        return mapped if dropped is None else mapped.masked_fill(dropped[:, None, None], 0.0)

    def forward(self, rows: Tensor, noise: Tensor, memory: Tensor) -> Tensor:
        """Return F (B, L, d), whatever the rows and the noise."""
        scale = math.sqrt(self.dim)
        return scale * (memory + scale * self.offsets)

    def resize(self, set_size: int) -> None:
        """Generate the first ``set_size`` rows from now on.

        Raises:
            InputError: If there are fewer.
        """
        self.offsets = first_rows(self.offsets, set_size, "an offset")
        self.set_size = set_size


class Relay(SetNetwork):
    """Two networks of the same d and L: one above a noise level, the other at and below it.

    A few-step student may leave the first step, which decides the whole set, to its teacher.

    Args:
        first: Evaluated at sigmas above ``until``.
        then: Evaluated at the others.
        until: Sigma, in absolute units.

    Raises:
        InputError: If the networks differ in d or L.
    """

    arguments = ("first", "then", "until")

    def __init__(self, first: SetNetwork, then: SetNetwork, until: float) -> None:
        super().__init__()
        one, other = ((network.set_size, network.dim) for network in (first, then))
        if one != other:
            raise InputError(
                expected="two networks of the same (L, d) in a relay",
                found=f"{one} and {other}",
                remedy="Use a student of this teacher.",
            )
        self.first, self.then, self.until = first, then, until
        self.set_size, self.dim = one

    def resize(self, set_size: int) -> None:
        """Generate L = ``set_size`` rows from now on."""
        super().resize(set_size)
        self.first.resize(set_size)
        self.then.resize(set_size)

    def keep_condition(self) -> None:
        """Freeze the null conditions of both networks."""
        self.first.keep_condition()
        self.then.keep_condition()

    def memory(self, condition: Tensor, dropped: Tensor | None = None) -> tuple[Any, Any]:
        """Return the memories of both networks."""
        return self.first.memory(condition, dropped), self.then.memory(condition, dropped)

    def forward(self, rows: Tensor, noise: Tensor, memory: tuple[Any, Any]) -> Tensor:
        """Return F for every row; all sets of a batch must be on one side of ``until``."""
        part = 0 if (noise > math.log(self.until) / 4).any() else 1
        output: Tensor = (self.first, self.then)[part](rows, noise, memory[part])
        return output


def first_rows(rows: Tensor, set_size: int, what: str) -> nn.Parameter:
    """Return the first ``set_size`` of learned rows (L, …), to be learned on; ``what`` names one.

    Raises:
        InputError: If there are fewer.
    """
    if set_size > len(rows):
        raise InputError(
            expected=f"at most {len(rows)} rows, each with {what} of its own",
            found=f"{set_size}",
            remedy="Lower start.set_size, or begin with another model.",
        )
    return nn.Parameter(rows.detach()[:set_size].clone())


def fourier_features(x: Tensor, width: int) -> Tensor:
    """Return sines and cosines (n, width) of ``x`` (n,) at width/2 log-spaced frequencies, 1 to 256.

    Examples:
        >>> fourier_features(torch.zeros(1), 4).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """
    exponent = torch.linspace(0, 1, width // 2, device=x.device, dtype=x.dtype)
    angle = x[:, None] * torch.exp(math.log(MAX_FREQUENCY) * exponent)  # (n, width / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)  # (n, width)
