"""Queries → sets at the ends of the scale: random items, oracles, and a greedy upper bound."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r4t.choice import at_members
from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import distinct_first, normalize
from r4t.methods.nearest import ranked_sets
from r4t.search import Searcher
from r4t.sets import SetBatch, pad_rows


@dataclass
class RandomItems:
    """Any items of the catalog: the low end of the scale.

    Raises:
        InputError: ``pool_size`` exceeds the catalog.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    seed: int = 0
    name: str = "Random"

    def __post_init__(self) -> None:
        if self.pool_size > len(self.searcher.catalog):
            raise InputError(
                f"A pool cannot be larger than the catalog — asked for {self.pool_size} of "
                f"{len(self.searcher.catalog)} items in {self.searcher.catalog.folder} — ask for "
                "fewer."
            )

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        count = range(len(self.searcher.catalog))
        rows = [
            random.Random(f"{self.seed}/{query.id}").sample(count, self.pool_size)
            for query in queries
        ]
        return ranked_sets(self.searcher, z, torch.tensor(rows), self.set_size, queries)


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
        return ranked_sets(self.searcher, z, ranking.gather(1, order), self.set_size, queries)


@dataclass
class ReferenceOracle:
    """Knows the reference sets: their items first, then the items nearest to their mean.

    Raises:
        InputError: When called: a query has no references.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    name: str = "References (oracle)"

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        bare = [query for query in queries if not query.references]
        if bare:
            raise InputError(
                f"{self.name} answers queries that have references — found none for "
                f"{bare[0].text!r} (id {bare[0].id!r}) — leave it out for such queries."
            )
        rows = pad_rows([self.searcher.catalog.rows(query.references) for query in queries])
        mean = normalize(self.searcher.embeddings(rows).sum(1))
        _, near = self.searcher.index.search(mean, self.pool_size)
        ranking = distinct_first(torch.cat([rows, near], dim=1), self.pool_size)
        return ranked_sets(self.searcher, z, ranking, self.set_size, queries)


def as_directions(sets: SetBatch) -> SetBatch:
    """Return sets whose items are their own directions, as a fan-out that copies items would search.

    So every objective can be scored on methods that only pick items. Groundedness is then 1 by
    construction: report it apart.
    """
    return replace(sets, directions=sets.item_embeddings)


@dataclass
class GreedyBound:
    """What a label-free objective can reach: directions added one by one, each the best for it.

    Candidate directions are the query's ``candidates`` nearest items and, for each a of ``blends``,
    ``normalize(a·z_q + (1 − a)·z_item)``. Of these it greedily adds the one with which the set so
    far scores highest. It is a lower bound of the best there is, and far above what methods reach.

    Args:
        searcher: The retriever.
        score: Scores (n,) of n sets, higher is better: an objective or a composite that reads
            nothing but items, directions and what belongs to the query or catalog (no sub-query
            texts, pool or references). NaN is never chosen.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
        candidates: Items to choose from, C. The time is about
            ``queries · k · C · (1 + len(blends))`` scores of sets.
        blends: Each in [0, 1]: 0 is the item, 1 the query.
        sets_per_call: Sets scored at once; more leave the caches of a processor.
        name: In the tables.

    Raises:
        InputError: There are fewer candidates than ``set_size``.
    """

    searcher: Searcher
    score: Callable[[SetBatch], Tensor]
    set_size: int = 10
    pool_size: int = 150
    candidates: int = 200
    blends: tuple[float, ...] = (0.5,)
    sets_per_call: int = 512
    name: str = "Greedy bound"

    def __post_init__(self) -> None:
        count = min(self.candidates, len(self.searcher.catalog)) * (1 + len(self.blends))
        if count < self.set_size:
            raise InputError(
                f"A greedy bound needs at least {self.set_size} candidate directions, as many as the "
                f"set has — found {count} — raise candidates or blends, or lower the set size."
            )

    @torch.no_grad()
    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        texts = [query.text for query in queries]
        candidates = self._directions(z)
        found = self.searcher.retrieve(z, candidates)
        chosen = torch.empty(len(z), 0, dtype=torch.long)
        while chosen.shape[1] < self.set_size:
            scores = self._scores(found, texts, chosen).scatter(1, chosen, -torch.inf)
            chosen = torch.cat([chosen, scores.argmax(1, keepdim=True)], dim=1)
        directions = candidates.take_along_dim(chosen.unsqueeze(-1), 1)
        return self.searcher.retrieve(z, directions, query_texts=texts, pool_size=self.pool_size)

    def _directions(self, z: Tensor) -> Tensor:
        """Candidates (B, M, d), M = C · (1 + blends)."""
        count = min(self.candidates, len(self.searcher.catalog))
        _, rows = self.searcher.index.search(z, count)
        items = self.searcher.embeddings(rows)
        blended = [normalize(a * z.unsqueeze(1) + (1 - a) * items) for a in self.blends]
        return torch.cat([items, *blended], dim=1)

    def _scores(self, found: SetBatch, texts: list[str], chosen: Tensor) -> Tensor:
        """Scores (B, M) of the chosen members (B, t) with each of the candidates."""
        batch, count = found.items.shape
        owner = torch.arange(batch).repeat_interleave(count)
        fresh = torch.arange(count).repeat(batch).unsqueeze(1)
        members = torch.cat([chosen[owner], fresh], dim=1)
        scores = []
        for part, rows in zip(owner.split(self.sets_per_call), members.split(self.sets_per_call)):
            tried = at_members(found, part, rows)
            tried = tried.extended(query_texts=[texts[row] for row in part.tolist()])
            scores.append(self.score(tried))
        return torch.cat(scores).nan_to_num(nan=-torch.inf).view(batch, count)
