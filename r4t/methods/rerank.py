"""A query's own nearest items → an order that differs more: MMR and greedy DPP.

The orders are pure functions of the candidates' relevance (cosine with the query) and similarity
(cosine with each other); the methods search, order and take the first P as pool, of which the
first k are the set.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.geometry import distinct_first
from r4t.methods.nearest import ranked_sets
from r4t.search import Searcher
from r4t.sets import SetBatch

# What is left of a candidate (its squared distance from the span of those chosen) counts as
# nothing below this; float32 cosines are exact to about 1e-7, a Cholesky factor to about 1e-5.
VANISHED = 1e-4
LIMIT = 1000  # items of a pool that are picked greedily; the rest follows by relevance
NEAREST = 4000  # items of the catalog among which they are picked
CELLS = (
    1 << 25
)  # numbers held at once, 128 MiB: similarities, embeddings and factors of a few queries

Order = Callable[[Tensor, Tensor, int, float], Tensor]  # as mmr_order, dpp_order


def mmr_order(relevance: Tensor, similarity: Tensor, size: int, trade_off: float) -> Tensor:
    """Order candidates by maximal marginal relevance (Carbonell & Goldstein 1998).

    Greedily ``argmax_c λ·cos(q, c) − (1 − λ)·max_{s chosen} cos(s, c)``; the first pick is the
    candidate nearest to the query.

    Args:
        relevance: (B, C) cosines with the query.
        similarity: (B, C, C) cosines among the candidates.
        size: How many to pick, at most C.
        trade_off: λ in [0, 1]: 1 ranks by closeness alone, 0 by difference alone.

    Returns:
        (B, size) positions among the candidates, in the order they were picked.

    Examples:
        Candidates 0 and 1 are alike; 2 differs and is less relevant.

        >>> relevance = torch.tensor([[0.9, 0.8, 0.5]])
        >>> similarity = torch.tensor([[[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> mmr_order(relevance, similarity, 2, trade_off=0.5).tolist()
        [[0, 2]]
        >>> mmr_order(relevance, similarity, 2, trade_off=1.0).tolist()
        [[0, 1]]
    """
    batch = torch.arange(len(relevance))
    left = trade_off * relevance
    closest = torch.full_like(relevance, -1.0)
    picks = [relevance.argmax(-1)]
    while len(picks) < size:
        left = left.scatter(1, picks[-1].unsqueeze(-1), -torch.inf)
        closest = torch.maximum(closest, similarity[batch, picks[-1]])
        picks.append((left - (1 - trade_off) * closest).argmax(-1))
    return torch.stack(picks, dim=1)


def dpp_order(relevance: Tensor, similarity: Tensor, size: int, trade_off: float) -> Tensor:
    """Order candidates by greedy MAP inference of a determinantal point process.

    Greedily maximizes ``λ·Σ r_c + (1 − λ)·log det S_Y`` over the chosen Y, with r the relevance and
    S the similarity (Chen, Zhang & Zhou 2018, eq. 10; algorithm 1). It is (1 − λ) times ``log det``
    of the kernel ``Diag(e^{αr}) S Diag(e^{αr})`` with ``α = λ / (2(1 − λ))``; written as a sum it
    holds at λ = 1 as well. A candidate's gain is ``λ·r_c + (1 − λ)·log d²_c``, where ``d²_c`` is its
    squared distance from the span of those chosen, kept up by an incremental Cholesky factor.

    Once nothing is left of a candidate (more picks than dimensions, or its twin was picked) its
    ``d²`` counts as a small constant, so what has vanished follows by relevance. Ties go to the
    more relevant.

    Args:
        relevance: (B, C) cosines with the query.
        similarity: (B, C, C) cosines among the candidates, 1 on the diagonal.
        size: How many to pick, at most C.
        trade_off: λ in [0, 1]: 1 ranks by relevance alone, 0 by difference alone.

    Returns:
        (B, size) positions among the candidates, in the order they were picked.

    Examples:
        Candidates 0 and 1 are alike; 2 differs and is less relevant.

        >>> relevance = torch.tensor([[0.9, 0.8, 0.5]])
        >>> similarity = torch.tensor([[[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> dpp_order(relevance, similarity, 2, trade_off=0.5).tolist()
        [[0, 2]]
        >>> dpp_order(relevance, similarity, 2, trade_off=1.0).tolist()
        [[0, 1]]
    """
    batch = torch.arange(len(relevance))
    left = torch.ones_like(relevance)  # d²
    factor = relevance.new_zeros(len(relevance), size, relevance.shape[1])  # row i: e of pick i
    gain = trade_off * relevance
    picks: list[Tensor] = []
    while True:
        value = gain + (1 - trade_off) * left.clamp(min=VANISHED).log()
        best = value == value.amax(-1, keepdim=True)
        pick = relevance.where(best, -torch.inf).argmax(-1)
        picks.append(pick)
        if len(picks) == size:
            return torch.stack(picks, dim=1)
        gain = gain.scatter(1, pick.unsqueeze(-1), -torch.inf)
        own = left[batch, pick].unsqueeze(-1)
        rows = factor[:, : len(picks) - 1]
        known = (rows[batch, :, pick].unsqueeze(1) @ rows).squeeze(1)
        row = (similarity[batch, pick] - known) / own.clamp(min=VANISHED).sqrt()
        row = row.where(own > VANISHED, 0.0)  # what has vanished adds nothing to the span
        factor[:, len(picks) - 1] = row
        left = left - row.square()
        if not (left > VANISHED).any():
            rest = relevance.where(gain > -torch.inf, -torch.inf)
            rest = rest.argsort(dim=1, descending=True, stable=True)[:, : size - len(picks)]
            return torch.cat([torch.stack(picks, dim=1), rest], dim=1)


@dataclass
class Reranked(ABC):
    """The query's own nearest items in another order; what ``Mmr`` and ``Dpp`` have in common.

    The items picked greedily come first; where they are fewer than the pool, the nearest of the
    others follow by relevance. At depth 1 the pool is that of the plain search, and so its recall.

    Attributes:
        searcher: The retriever.
        set_size: Number k of items.
        pool_size: Number P of distinct items.
        trade_off: λ in [0, 1]: 1 ranks by relevance alone, 0 by difference alone.
        depth: Items are picked among the ``depth * pool_size`` nearest, at most ``NEAREST``; of a
            pool beyond ``LIMIT``, among the ``depth * LIMIT`` nearest. Time and memory of a query
            grow with the square of their number.
        ordered: How many of the pool are picked greedily; the whole pool by default, at most
            ``LIMIT``.
        name: In the tables.

    Raises:
        InputError: ``trade_off`` is outside [0, 1], or ``ordered`` or ``depth`` is below 1.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    trade_off: float = 0.5
    depth: int = 4
    ordered: int | None = None
    name: str = "Re-ranked"

    def __post_init__(self) -> None:
        _check_trade_off(self.name, self.trade_off)
        least = {"depth": (self.depth, 1)}
        if self.ordered is not None:
            least["ordered"] = (self.ordered, 1)
        check_least({f"{name} of {self.name}": found for name, found in least.items()})

    @property
    @abstractmethod
    def order(self) -> Order:
        """How the items are picked."""

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        (ranking,) = self.rankings([self.trade_off], z)
        return ranked_sets(self.searcher, z, ranking, self.set_size, queries)

    def rankings(self, trade_offs: Sequence[float], z: Tensor) -> list[Tensor]:
        """Rank for B queries (B, d) at each of several trade-offs: as many rankings (B, P).

        The candidates and their similarities, which take most of the time, are shared.
        """
        limit = min(self.pool_size, LIMIT)
        count = min(self.depth * limit, NEAREST, len(self.searcher.catalog))
        picked = min(limit if self.ordered is None else self.ordered, limit, count)
        relevance, rows = self.searcher.index.search(z, max(self.pool_size, count))
        cells = count * (count + z.shape[1] + picked)
        size = max(1, CELLS // cells)
        parts = [
            self._ranked(trade_offs, near, found, count, picked)
            for near, found in zip(relevance.split(size), rows.split(size), strict=True)
        ]
        return [torch.cat(of_one) for of_one in zip(*parts, strict=True)]

    def _ranked(
        self, trade_offs: Sequence[float], relevance: Tensor, rows: Tensor, count: int, picked: int
    ) -> list[Tensor]:
        """A ranking (B, P) of the rows (B, M), best first, for each trade-off."""
        relevance = relevance[:, :count].float()
        items = self.searcher.embeddings(rows[:, :count]).float()
        similarity = items @ items.mT
        picks = [self.order(relevance, similarity, picked, trade_off) for trade_off in trade_offs]
        chosen = [torch.cat([rows.gather(1, places), rows], dim=1) for places in picks]
        return [distinct_first(ranking, self.pool_size) for ranking in chosen]


def _check_trade_off(name: str, trade_off: float) -> None:
    if not 0 <= trade_off <= 1:
        raise InputError(
            f"The trade-off of {name} must lie between 0 (difference alone) and 1 (relevance alone) "
            f"— found {trade_off} — choose a number in between."
        )


@dataclass
class Mmr(Reranked):
    """The query's own nearest items, re-ranked by maximal marginal relevance; so is the pool."""

    trade_off: float = 0.7
    name: str = "MMR"

    @property
    def order(self) -> Order:
        """Maximal marginal relevance."""
        return mmr_order


@dataclass
class Dpp(Reranked):
    """The query's own nearest items, re-ranked by a greedy determinantal point process.

    Logarithms of determinants are larger than cosines, so the same difference needs a λ nearer to 1
    than MMR's.
    """

    trade_off: float = 0.9
    name: str = "DPP"

    @property
    def order(self) -> Order:
        """Greedy MAP inference."""
        return dpp_order


class Curve:
    """A re-ranking at several trade-offs: one method for each, which share the work.

    Whichever is asked first ranks the batch for all; the others read it. Only the rankings of the
    last batch are kept.

    Args:
        method: Its own trade-off is not used.
        trade_offs: Each in [0, 1]; twice the same counts once.

    Attributes:
        points: The methods, named "MMR λ=0.3".

    Raises:
        InputError: A trade-off is outside [0, 1].
    """

    def __init__(self, method: Reranked, trade_offs: Sequence[float]) -> None:
        for trade_off in trade_offs:
            _check_trade_off(method.name, trade_off)
        self.method = method
        named = {f"{method.name} λ={trade_off:g}": trade_off for trade_off in trade_offs}
        self.points = [Point(self, trade_off, name) for name, trade_off in named.items()]
        self._asked: Tensor | None = None
        self._rankings: dict[float, Tensor] = {}

    def ranking(self, trade_off: float, z: Tensor) -> Tensor:
        """The ranking (B, P) of one of the trade-offs for B queries (B, d)."""
        if self._asked is None or not torch.equal(z, self._asked):
            trade_offs = [point.trade_off for point in self.points]
            found = self.method.rankings(trade_offs, z)
            self._rankings = dict(zip(trade_offs, found, strict=True))
            self._asked = z.clone()
        return self._rankings[trade_off]


@dataclass
class Point:
    """A re-ranking at one of a curve's trade-offs."""

    curve: Curve
    trade_off: float
    name: str

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        method = self.curve.method
        ranking = self.curve.ranking(self.trade_off, z)
        return ranked_sets(method.searcher, z, ranking, method.set_size, queries)
