"""A query's own nearest items → an order that differs more: MMR, greedy DPP, k-means facets.

The orders are pure functions of the candidates' relevance (cosine with the query) and similarity
(cosine with each other); the methods search, order and take the first P as pool, of which the
first k are the set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.baselines import ranked_sets
from r4t.search import Searcher
from r4t.seeds import query_seed
from r4t.sets import SetBatch

# What is left of a candidate (its squared distance from the span of those chosen) counts as
# nothing below this; float32 cosines are exact to about 1e-7, a Cholesky factor to about 1e-5.
VANISHED = 1e-4


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

    Example:
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

    Example:
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


def facet_order(labels: Tensor, size: int) -> Tensor:
    """Take the best of each facet, then the second of each, and so on.

    Args:
        labels: (B, C) facet of each candidate, the candidates best first.
        size: How many to take, at most C.

    Returns:
        (B, size) positions among the candidates; facets in the order of their best.

    Example:
        >>> facet_order(torch.tensor([[2, 2, 0, 2, 0, 1]]), 6).tolist()
        [[0, 2, 5, 1, 4, 3]]
    """
    member = torch.nn.functional.one_hot(labels)  # (B, C, facets)
    turn = member.cumsum(1).gather(2, labels.unsqueeze(-1)).squeeze(-1)
    first = torch.where(member.any(1), member.argmax(1), labels.shape[1])
    place = first.argsort(dim=1, stable=True).argsort(dim=1).gather(1, labels)
    return (turn * member.shape[2] + place).argsort(dim=1)[:, :size]


Order = Callable[[Tensor, Tensor, int, float], Tensor]  # as mmr_order, dpp_order


class Reranks(Protocol):
    """What re-ranking needs to know: how many items, out of how many."""

    searcher: Searcher
    set_size: int
    pool_size: int
    depth: int


def rerank_curve(
    method: Reranks, order: Order, trade_offs: Sequence[float], queries: list[Query], z: Tensor
) -> list[SetBatch]:
    """Re-rank the nearest items of B queries once for each trade-off.

    The candidates and their similarities, which take most of the time, are shared.

    Args:
        method: Its searcher, sizes and depth are used, its own trade-off is not.
        order: ``mmr_order`` or ``dpp_order``.
        trade_offs: Each in [0, 1].
        queries: B queries.
        z: (B, d) their unit vectors.

    Returns:
        One batch of B sets for each trade-off.
    """
    relevance, rows = _nearest(method, z)
    candidates = method.searcher.embeddings(rows)
    similarity = candidates @ candidates.mT
    return [
        ranked_sets(
            method.searcher,
            z,
            rows.gather(1, order(relevance, similarity, method.pool_size, trade_off)),
            method.set_size,
            queries,
        )
        for trade_off in trade_offs
    ]


def _nearest(method: Reranks, z: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance and rows (B, C) of the ``depth · P`` items nearest to each query, best first."""
    most = min(method.depth * method.pool_size, len(method.searcher.catalog))
    return method.searcher.index.search(z, max(method.pool_size, most))


def _check_trade_off(name: str, trade_off: float) -> None:
    if not 0 <= trade_off <= 1:
        raise InputError(
            f"The trade-off of {name} must lie between 0 (difference alone) and 1 (relevance alone) "
            f"— found {trade_off} — choose a number in between."
        )


@dataclass
class Mmr:
    """The query's own nearest items, re-ranked for difference; the pool is re-ranked as well.

    ``trade_off`` is λ; it chooses among the ``depth * pool_size`` nearest items.

    Raises:
        InputError: ``trade_off`` is outside [0, 1].
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    trade_off: float = 0.7
    depth: int = 4
    name: str = "MMR"

    def __post_init__(self) -> None:
        _check_trade_off(self.name, self.trade_off)

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        return rerank_curve(self, mmr_order, [self.trade_off], queries, z)[0]


@dataclass
class Dpp:
    """The query's own nearest items, re-ranked by a greedy determinantal point process.

    ``trade_off`` is λ; it chooses among the ``depth * pool_size`` nearest items. Logarithms of
    determinants are larger than cosines, so the same difference needs a λ nearer to 1 than MMR's.

    Raises:
        InputError: ``trade_off`` is outside [0, 1].
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    trade_off: float = 0.9
    depth: int = 4
    name: str = "DPP"

    def __post_init__(self) -> None:
        _check_trade_off(self.name, self.trade_off)

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        return rerank_curve(self, dpp_order, [self.trade_off], queries, z)[0]


@dataclass
class KMeansFacets:
    """The query's own nearest items, clustered into k facets; of each facet its nearest in turn.

    Clusters the ``depth * pool_size`` nearest items (k-means++ start, seeded by the query's id). At
    depth 1 the pool is that of the plain search in another order; deeper, the far items of every
    facet enter it and recall falls. Where fewer than k candidates differ there are as many facets as
    differ, and the second items of the facets fill the set.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    depth: int = 1
    seed: int = 0
    name: str = "k-means facets"

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        from threadpoolctl import threadpool_limits

        _, rows = _nearest(self, z)
        # One thread, so that sums, and with them the facets, come out the same on every machine.
        with threadpool_limits(1):
            labels = [
                self._cluster(query, vectors)
                for query, vectors in zip(queries, self.searcher.embeddings(rows), strict=True)
            ]
        order = facet_order(torch.stack(labels), self.pool_size)
        return ranked_sets(self.searcher, z, rows.gather(1, order), self.set_size, queries)

    def _cluster(self, query: Query, vectors: Tensor) -> Tensor:
        """Facet (C,) of each of a query's candidates (C, d)."""
        from sklearn.cluster import KMeans

        facets = min(self.set_size, len(vectors.unique(dim=0)))
        means = KMeans(facets, n_init=1, random_state=query_seed(query.id, self.seed))
        return torch.from_numpy(means.fit(vectors.numpy()).labels_).long()
