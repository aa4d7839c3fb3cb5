"""A query → k directions at once, by a small network without noise: k learned vectors, moved by the query."""

import torch
from einops import rearrange
from torch import Tensor, nn

from r4t.diffusion.network import SetNetwork, first_rows
from r4t.errors import InputError, check_least
from r4t.geometry import normalize

ANCHOR = 0.2


class SlotSet(SetNetwork):
    """k learned vectors, each moved by the query and mapped by one block to a direction.

    It sees neither the noisy rows nor the noise level, so one evaluation answers. Between ``LinearSet``
    and a transformer in size; dropout keeps it from learning few training queries by heart.

    Args:
        dim: Width d of the vectors; ``r4t fit`` takes it from the catalog by default.
        set_size: Number k of directions.
        width: Of the hidden vectors.
        dropout: Share in [0, 1) of the query's entries and of the hidden ones that are zeroed in training.
        anchor: Weight of the query in each direction, next to 1 of what the network makes; at least 0.

    Raises:
        InputError: If ``dim`` is None or a number is too small.
    """

    anchor: Tensor

    def __init__(
        self,
        dim: int | None = None,
        set_size: int = 10,
        width: int = 256,
        dropout: float = 0.0,
        anchor: float = ANCHOR,
    ) -> None:
        super().__init__()
        if dim is None:
            raise InputError(
                expected="dim, the width of the embeddings, for a SlotSet",
                found="none, which only r4t fit can take from a run's catalog",
                remedy="Pass it.",
            )
        check_least({"dim": (dim, 1), "set_size": (set_size, 1), "width": (width, 1)})
        check_least({"anchor": (anchor, 0), "dropout": (dropout, 0)})
        if not dropout < 1:
            raise InputError(
                expected="a dropout below 1", found=f"{dropout}", remedy="Use 0.5, or 0 for none."
            )
        self.dim, self.set_size, self.width, self.dropout = dim, set_size, width, dropout
        self.register_buffer("anchor", torch.tensor(anchor))  # kept with the weights
        self.rows = nn.Parameter(torch.randn(set_size, width) / 2)
        self.query = nn.Linear(dim, width)
        self.block = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.out = nn.Linear(width, dim)
        self.drop = nn.Dropout(dropout)

    @property
    def config(self) -> dict[str, float]:
        """Constructor arguments by name."""
        numbers = {name: getattr(self, name) for name in ("dim", "set_size", "width", "dropout")}
        return {**numbers, "anchor": round(float(self.anchor), 6)}

    def directions(self, query: Tensor) -> Tensor:
        """Return unit vectors (B, k, d) for unit vectors (B, d)."""
        scaled = self.drop(query * query.shape[-1] ** 0.5)  # entries of a unit vector are small
        hidden = self.rows + rearrange(self.query(scaled), "b w -> b 1 w")
        hidden = hidden + self.drop(self.block(hidden))
        free = normalize(self.out(self.drop(hidden)))
        return normalize(self.anchor * rearrange(query, "b d -> b 1 d") + free)

    def resize(self, set_size: int) -> None:
        """Generate the first ``set_size`` rows from now on.

        Raises:
            InputError: If there are fewer.
        """
        self.rows = first_rows(self.rows, set_size, "a learned vector")
        self.set_size = set_size

    def memory(self, condition: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Return the directions (B, k, d); those of a zero query for a dropped condition."""
        if dropped is not None:
            condition = condition.masked_fill(dropped.unsqueeze(1), 0.0)
        return self.directions(condition)

    def forward(self, rows: Tensor, noise: Tensor, memory: Tensor) -> Tensor:
        """Return F (B, k, d), whatever the rows and the noise."""
        return self.dim**0.5 * memory
