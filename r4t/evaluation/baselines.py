"""Queries → sets without learning: what a user would pick instead, and the two ends of the scale.

A *method* is a callable with a ``name``: queries and their embeddings (B, d) → ``SetBatch`` of k
items and a pool of P distinct items. Methods that rank items have no directions (``None``).
All take their random choices from the seed and the query's id: a query's answer does not depend
on the batch it is in.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation.truth import FacetTruth
from r4t.geometry import normalize
from r4t.search import Searcher
from r4t.sets import SetBatch


class Method(Protocol):
    """What the evaluation compares."""

    name: str

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries, given their embeddings (B, d)."""
        ...


def ranked_sets(searcher: Searcher, z: Tensor, ranking: Tensor, set_size: int) -> SetBatch:
    """The set of a ranking (B, P): its first k items; all of it is the pool; no directions."""
    items = ranking[:, :set_size]
    return SetBatch(
        query=z,
        items=items,
        item_embeddings=searcher.embeddings(items),
        mask=items >= 0,
        pool=ranking,
    )


@dataclass
class NoFanout:
    """The query itself retrieves: its k nearest items, and its P nearest as pool."""

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    name: str = "No fan-out"

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        _, ranking = self.searcher.index.search(z, self.pool_size)
        return ranked_sets(self.searcher, z, ranking, self.set_size)


def mmr_order(z: Tensor, candidates: Tensor, size: int, trade_off: float) -> Tensor:
    """Order candidates by maximal marginal relevance (Carbonell & Goldstein 1998).

    Greedily ``argmax_c λ·cos(q, c) − (1 − λ)·max_{s chosen} cos(s, c)``; the first pick is the
    candidate nearest to the query.

    Args:
        z: (B, d) unit query vectors.
        candidates: (B, C, d) unit vectors.
        size: How many to pick, at most C.
        trade_off: λ in [0, 1]: 1 ranks by closeness alone, 0 by difference alone.

    Returns:
        (B, size) positions among the candidates, in the order they were picked.
    """
    relevance = (candidates @ z.unsqueeze(-1)).squeeze(-1)
    closest = torch.full_like(relevance, -1.0)
    barred = torch.zeros_like(relevance)
    picks = [relevance.argmax(-1)]
    while True:
        last = picks[-1].unsqueeze(-1)
        barred.scatter_(1, last, -torch.inf)
        if len(picks) == size:
            return torch.stack(picks, dim=1)
        chosen = candidates.gather(1, last.unsqueeze(-1).expand(-1, -1, candidates.shape[-1]))
        closest = torch.maximum(closest, (candidates @ chosen.mT).squeeze(-1))
        picks.append((trade_off * relevance - (1 - trade_off) * closest + barred).argmax(-1))


@dataclass
class Mmr:
    """The query's own nearest items, re-ranked for difference; the pool is re-ranked as well.

    ``trade_off`` is λ; it chooses among the ``depth * pool_size`` nearest items.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    trade_off: float = 0.7
    depth: int = 4
    name: str = "MMR"

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        depth = max(self.pool_size, min(self.depth * self.pool_size, len(self.searcher.catalog)))
        _, rows = self.searcher.index.search(z, depth)
        candidates = self.searcher.embeddings(rows)
        order = mmr_order(z, candidates, self.pool_size, self.trade_off)
        return ranked_sets(self.searcher, z, rows.gather(1, order), self.set_size)


class NearestSets:
    """Memory of the training references: directions toward items of the nearest queries' sets.

    Direction i is ``normalize(0.6·z_q + 0.4·z_item)``, with one item drawn from the reference set
    of the i-th nearest training query.

    Args:
        searcher: The retriever.
        training: Training queries; those without references are passed over.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
        weight: Weight of the query in [0, 1], against the item's.
        seed: Of the drawn items.

    Raises:
        InputError: Fewer than k training queries have references.
    """

    def __init__(
        self,
        searcher: Searcher,
        training: Sequence[Query],
        set_size: int = 10,
        pool_size: int = 150,
        weight: float = 0.6,
        seed: int = 0,
    ) -> None:
        self.name = "Nearest sets"
        self.searcher = searcher
        self.training = [query for query in training if query.references]
        if len(self.training) < set_size:
            raise InputError(
                f"Nearest sets needs at least {set_size} training queries with references — found "
                f"{len(self.training)} — leave it out for queries without references."
            )
        self.set_size, self.pool_size, self.weight, self.seed = set_size, pool_size, weight, seed
        self._known = searcher.encode([query.text for query in self.training])

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        nearest = (z @ self._known.T).topk(self.set_size, dim=-1).indices.tolist()
        drawn = [
            self._draw(query, [self.training[row] for row in rows])
            for query, rows in zip(queries, nearest)
        ]
        rows = torch.tensor([self.searcher.catalog.rows(ids) for ids in drawn])
        mixed = self.weight * z.unsqueeze(1) + (1 - self.weight) * self.searcher.embeddings(rows)
        return self.searcher.fan_out(z, normalize(mixed), pool_size=self.pool_size)

    def _draw(self, query: Query, neighbors: Sequence[Query]) -> list[str]:
        rng = random.Random(f"{self.seed}/{query.id}")
        return [rng.choice(neighbor.references) for neighbor in neighbors]


@dataclass
class RandomItems:
    """Any items of the catalog: the low end of the scale."""

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    seed: int = 0
    name: str = "Random"

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        count = len(self.searcher.catalog)
        rows = [
            random.Random(f"{self.seed}/{query.id}").sample(range(count), self.pool_size)
            for query in queries
        ]
        return ranked_sets(self.searcher, z, torch.tensor(rows), self.set_size)


@dataclass
class Oracle:
    """Knows the latent truth: all fitting items, slot by slot in turn; the high end of the scale.

    Within a slot the items nearest to the query come first; items that do not fit come last.
    """

    searcher: Searcher
    truth: FacetTruth
    set_size: int = 10
    pool_size: int = 150
    name: str = "Oracle"

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        scores, ranking = self.searcher.index.search(z, len(self.searcher.catalog))
        fits = self.truth.fits([query.id for query in queries]).gather(1, ranking)
        turn = torch.full_like(scores, torch.inf)
        for slot in self.truth.slots.unique():
            mine = fits & (self.truth.slots[ranking] == slot)
            turn = torch.where(mine, mine.cumsum(-1).to(turn.dtype), turn)
        order = turn.argsort(dim=-1, stable=True)[:, : self.pool_size]
        return ranked_sets(self.searcher, z, ranking.gather(1, order), self.set_size)
