"""A query's nearest items → a more diverse order of them: MMR and greedy DPP.

The orders are pure functions of the candidates' relevance (cosine with the query) and similarity
(cosine with each other). The methods search, order, and return the first P items as pool and the
first k of those as set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError, check_least
from r4t.geometry import distinct_first
from r4t.methods.method import Ranking

# A candidate's squared distance from the span of the picks counts as zero below this; float32
# cosines are exact to about 1e-7, a Cholesky factor to about 1e-5.
VANISHED = 1e-4
LIMIT = 1000  # items of a pool that are picked greedily; the rest follows by relevance
NEAREST = 4000  # items of the catalog among which they are picked
CELLS = 1 << 25  # numbers in memory at once (128 MiB): similarities, embeddings, factors

Order = Callable[[Tensor, Tensor, int, float], Tensor]  # as mmr_order, dpp_order


def mmr_order(relevance: Tensor, similarity: Tensor, size: int, trade_off: float) -> Tensor:
    """Order candidates by maximal marginal relevance (Carbonell & Goldstein 1998).

    Greedily ``argmax_c λ·cos(q, c) − (1 − λ)·max_{s chosen} cos(s, c)``; the first pick is the
    candidate nearest to the query.

    Args:
        relevance: (B, C) cosines with the query.
        similarity: (B, C, C) cosines among the candidates.
        size: How many to pick, at most C.
        trade_off: λ in [0, 1]: 1 ranks by relevance alone, 0 by difference alone.

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
    squared distance from the span of the picks, updated by an incremental Cholesky factor.

    Once a candidate's ``d²`` vanishes (more picks than dimensions, or its twin was picked) it counts
    as a small constant, so that vanished candidates follow by relevance. Ties go to the more
    relevant. Arguments and result are those of ``mmr_order``, with similarity 1 on the diagonal.

    Examples:
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
        distance = left[batch, pick].unsqueeze(-1)
        rows = factor[:, : len(picks) - 1]
        explained = (rows[batch, :, pick].unsqueeze(1) @ rows).squeeze(1)
        row = (similarity[batch, pick] - explained) / distance.clamp(min=VANISHED).sqrt()
        row = row.where(distance > VANISHED, 0.0)  # what has vanished adds nothing to the span
        factor[:, len(picks) - 1] = row
        left = left - row.square()
        if not (left > VANISHED).any():
            rest = relevance.where(gain > -torch.inf, -torch.inf)
            rest = rest.argsort(dim=1, descending=True, stable=True)[:, : size - len(picks)]
            return torch.cat([torch.stack(picks, dim=1), rest], dim=1)


@dataclass(kw_only=True)
class Reranked(Ranking):
    """The query's nearest items in another order; the base of ``Mmr`` and ``Dpp``.

    Greedy picks come first. If there are fewer of them than the pool holds, the nearest of the
    other items follow. At depth 1 the pool, and so its recall, is that of the plain search.

    Args:
        trade_off: λ in [0, 1]: 1 ranks by relevance alone, 0 by difference alone.
        depth: Picks come from the ``depth * pool_size`` nearest items, at most ``NEAREST``; for a
            pool beyond ``LIMIT``, from the ``depth * LIMIT`` nearest. Time and memory grow with the
            square of their number.
        ordered: How many items of the pool are picked greedily; all by default, at most ``LIMIT``.

    Raises:
        InputError: If ``trade_off`` is outside [0, 1], or ``ordered`` or ``depth`` is below 1.
    """

    trade_off: float = 0.5
    depth: int = 4
    ordered: int | None = None

    order: ClassVar[Order]

    def __post_init__(self) -> None:
        _check_trade_off(self.name, self.trade_off)
        ordered = 1 if self.ordered is None else self.ordered
        check_least(
            {f"depth of {self.name}": (self.depth, 1), f"ordered of {self.name}": (ordered, 1)}
        )

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank at the method's trade-off."""
        return self.rankings([self.trade_off], vectors)[0]

    def rankings(self, trade_offs: Sequence[float], vectors: Tensor) -> list[Tensor]:
        """Rank for B queries (B, d) at each of several trade-offs: as many rankings (B, P).

        The candidates and their similarities, which take most of the time, are shared.
        """
        limit = min(self.pool_size, LIMIT)
        count = min(self.depth * limit, NEAREST, len(self.searcher.catalog))
        picked = min(limit if self.ordered is None else self.ordered, limit, count)
        relevance, rows = self.searcher.nearest(vectors, max(self.pool_size, count))
        size = max(1, CELLS // (count * (count + vectors.shape[1] + picked)))
        parts = [
            self._ranked(trade_offs, near[:, :count].float(), nearest, picked)
            for near, nearest in zip(relevance.split(size), rows.split(size), strict=True)
        ]
        return [torch.cat(of_one) for of_one in zip(*parts, strict=True)]

    def _ranked(
        self, trade_offs: Sequence[float], relevance: Tensor, rows: Tensor, picked: int
    ) -> list[Tensor]:
        """Rank rows (B, M), the first of which are the candidates, for each trade-off."""
        items = self.searcher.embeddings(rows[:, : relevance.shape[1]]).float()
        similarity = items @ items.mT
        order = type(self).order
        picks = [order(relevance, similarity, picked, trade_off) for trade_off in trade_offs]
        ranked = [torch.cat([rows.gather(1, places), rows], dim=1) for places in picks]
        return [distinct_first(ranking, self.pool_size) for ranking in ranked]


def _check_trade_off(name: str, trade_off: float) -> None:
    if not 0 <= trade_off <= 1:
        raise InputError(
            expected=f"a trade-off of {name} between 0 (difference alone) and 1 (relevance alone)",
            found=f"{trade_off}",
            remedy="Choose a number in between.",
        )


@dataclass(kw_only=True)
class Mmr(Reranked):
    """The query's nearest items, re-ranked by maximal marginal relevance; so is the pool."""

    trade_off: float = 0.7
    key: str = "mmr"
    name: str = "MMR"
    order: ClassVar[Order] = staticmethod(mmr_order)


@dataclass(kw_only=True)
class Dpp(Reranked):
    """The query's nearest items, re-ranked by a greedy determinantal point process.

    Logarithms of determinants are larger than cosines, so the same difference needs a λ nearer to 1
    than MMR's.
    """

    trade_off: float = 0.9
    key: str = "dpp"
    name: str = "DPP"
    order: ClassVar[Order] = staticmethod(dpp_order)


@dataclass(kw_only=True)
class CurvePoint(Ranking):
    """A re-ranking at one of a curve's trade-offs.

    Args:
        trade_off: λ in [0, 1].
        rankings: Queries (B, d) and their version → their rankings (B, P) by trade-off.
    """

    trade_off: float
    rankings: Callable[[Tensor, int], dict[float, Tensor]]

    def __post_init__(self) -> None:
        _check_trade_off(self.name, self.trade_off)

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank at the point's trade-off."""
        return self.rankings(vectors, vectors._version)[self.trade_off]


def curve(method: Reranked, trade_offs: Sequence[float]) -> list[CurvePoint]:
    """Return a re-ranking at several trade-offs: one method for each, named "MMR λ=0.3".

    The first point that is asked about a tensor of queries ranks them for all points.

    Args:
        method: Its own trade-off is not used.
        trade_offs: Each in [0, 1]; a repeated one counts once.

    Raises:
        InputError: If a trade-off is outside [0, 1].
    """
    distinct = list(dict.fromkeys(trade_offs))

    @lru_cache(maxsize=1)
    def rankings(vectors: Tensor, version: int) -> dict[float, Tensor]:  # of an in-place change
        return dict(zip(distinct, method.rankings(distinct, vectors), strict=True))

    return [
        CurvePoint(
            method.searcher,
            method.set_size,
            method.pool_size,
            key=f"{method.key}-{value:g}",
            name=f"{method.name} λ={value:g}",
            trade_off=value,
            rankings=rankings,
        )
        for value in distinct
    ]
