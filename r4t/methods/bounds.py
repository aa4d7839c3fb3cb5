"""Queries → sets at the ends of the scale: random items, oracles, and a greedy bound."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.choice import at_members
from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import distinct_first, normalize
from r4t.methods.method import Ranking, references_of
from r4t.search import Searcher
from r4t.sets import SetBatch


@dataclass(kw_only=True)
class RandomItems(Ranking):
    """Random items of the catalog: the low end of the scale.

    Raises:
        InputError: If ``pool_size`` exceeds the catalog.
    """

    seed: int = 0
    key: str = "random"
    name: str = "Random"

    def __post_init__(self) -> None:
        self.searcher.check_pool(self.pool_size)

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Draw P items, seeded by the query's id."""
        every = range(len(self.searcher.catalog))
        draws = [random.Random(f"{self.seed}/{query.id}") for query in queries]
        return torch.tensor([draw.sample(every, self.pool_size) for draw in draws])


@dataclass(kw_only=True)
class Oracle(Ranking):
    """Knows the latent truth: fitting items, one of each slot in turn; the high end of the scale.

    Within a slot the items nearest to the query come first. Items that do not fit come last.
    """

    truth: FacetTruth
    key: str = "oracle"
    name: str = "Oracle"

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by turn."""
        scores, ranking = self.searcher.nearest(vectors, len(self.searcher.catalog))
        fits = self.truth.fits([query.id for query in queries]).gather(1, ranking)
        turn = torch.full_like(scores, torch.inf)
        for slot in self.truth.slots.unique():
            in_slot = fits & (self.truth.slots[ranking] == slot)
            turn = torch.where(in_slot, in_slot.cumsum(-1).to(turn.dtype), turn)
        order = turn.argsort(dim=-1, stable=True)[:, : self.pool_size]
        return ranking.gather(1, order)


@dataclass(kw_only=True)
class ReferenceOracle(Ranking):
    """Knows the reference sets: their items first, then the items nearest to their mean.

    Raises:
        InputError: If, when called, a query has no references.
    """

    key: str = "references"
    name: str = "References (oracle)"

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by cosine with the mean reference, after the references."""
        rows = references_of(self.name, queries, self.searcher)
        mean = normalize(self.searcher.embeddings(rows).sum(1))
        _, near = self.searcher.nearest(mean, self.pool_size)
        return distinct_first(torch.cat([rows, near], dim=1), self.pool_size)


@dataclass(kw_only=True)
class ReferenceSets(ReferenceOracle):
    """Teaches the reference sets: k of a query's references in a draw, all if there are fewer.

    A query without references gets an empty set, so that another teacher may answer it.
    """

    draws: int | None = None

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries; members that a set lacks are masked, its pool is that of the oracle."""
        known = [row for row, query in enumerate(queries) if query.references]
        items = torch.full((len(queries), self.set_size), -1)
        pools = torch.full((len(queries), self.pool_size), -1)
        if known:
            pools[known] = self.rank([queries[row] for row in known], vectors[known])
        for row in known:
            own = self.searcher.catalog.rows(queries[row].references)
            if len(own) > self.set_size:
                own = random.Random(f"{queries[row].id}/{draw}").sample(own, self.set_size)
            items[row, : len(own)] = torch.tensor(own)
        texts = [query.text for query in queries]
        return self.searcher.gathered(vectors, items, None, pool=pools, query_texts=texts)


@dataclass
class GreedyBound:
    """The score that a label-free objective can reach: directions added one by one, greedily.

    Candidate directions are the query's ``candidates`` nearest items and, for each a of ``blends``,
    ``normalize(a·z_q + (1 − a)·z_item)``. Each step adds the one with which the set scores highest:
    a lower bound of the best set, far above the sets of methods.

    Args:
        searcher: The frozen retriever.
        score: Scores (n,) of n sets, higher is better: an objective or a composite that reads only
            items, directions, the query and the catalog (no sub-query texts, pool or references).
            NaN is never chosen.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
        candidates: Items C to choose from: ``queries · k · C · (1 + len(blends))`` sets are scored.
        blends: Each in [0, 1]: 0 is the item, 1 the query.
        sets_per_call: Sets scored at once; more do not fit the caches of a processor.

    Raises:
        InputError: If there are fewer candidates than ``set_size``.
    """

    searcher: Searcher
    score: Callable[[SetBatch], Tensor]
    set_size: int = 10
    pool_size: int = 150
    candidates: int = 200
    blends: tuple[float, ...] = (0.5,)
    sets_per_call: int = 512
    key: str = "greedy-bound"
    name: str = "Greedy bound"
    draws: int | None = 1

    def __post_init__(self) -> None:
        count = min(self.candidates, len(self.searcher.catalog)) * (1 + len(self.blends))
        if count < self.set_size:
            raise InputError(
                expected=f"at least {self.set_size} candidate directions, as many as the set has",
                found=f"{count}",
                remedy="Raise candidates or blends, or lower the set size.",
            )

    @torch.no_grad()
    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        texts = [query.text for query in queries]
        candidates = self._candidates(vectors)
        sets = self.searcher.retrieve(vectors, candidates)
        chosen = torch.empty(len(vectors), 0, dtype=torch.long)
        while chosen.shape[1] < self.set_size:
            scores = self._scores(sets, texts, chosen).scatter(1, chosen, -torch.inf)
            chosen = torch.cat([chosen, scores.argmax(1, keepdim=True)], dim=1)
        directions = candidates.take_along_dim(chosen.unsqueeze(-1), 1)
        return self.searcher.retrieve(
            vectors, directions, query_texts=texts, pool_size=self.pool_size
        )

    def _candidates(self, vectors: Tensor) -> Tensor:
        """Return candidate directions (B, M, d), M = C · (1 + blends)."""
        count = min(self.candidates, len(self.searcher.catalog))
        _, rows = self.searcher.nearest(vectors, count)
        items = self.searcher.embeddings(rows)
        blended = [normalize(a * vectors.unsqueeze(1) + (1 - a) * items) for a in self.blends]
        return torch.cat([items, *blended], dim=1)

    def _scores(self, sets: SetBatch, texts: list[str], chosen: Tensor) -> Tensor:
        """Score (B, M) the chosen members (B, t) with each of the candidates."""
        batch, count = sets.items.shape
        owner = torch.arange(batch).repeat_interleave(count)
        added = torch.arange(count).repeat(batch).unsqueeze(1)
        members = torch.cat([chosen[owner], added], dim=1)
        scores = []
        for part, rows in zip(owner.split(self.sets_per_call), members.split(self.sets_per_call)):
            query_texts = [texts[row] for row in part.tolist()]
            scores.append(
                self.score(at_members(sets, part, rows).extended(query_texts=query_texts))
            )
        return torch.cat(scores).nan_to_num(nan=-torch.inf).view(batch, count)
