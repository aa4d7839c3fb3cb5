"""Queries → sets at the ends of the scale: random items, oracles, and a greedy bound."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r4t.choice import at_members
from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import distinct_first, normalize
from r4t.search import Searcher
from r4t.sets import SetBatch, pad_rows


@dataclass
class RandomItems:
    """Random items of the catalog: the low end of the scale.

    Raises:
        InputError: If ``pool_size`` exceeds the catalog.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    seed: int = 0
    key: str = "random"
    name: str = "Random"
    draws: int | None = 1

    def __post_init__(self) -> None:
        self.searcher.check_pool(self.pool_size)

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        count = range(len(self.searcher.catalog))
        rows = [
            random.Random(f"{self.seed}/{query.id}").sample(count, self.pool_size)
            for query in queries
        ]
        texts = [query.text for query in queries]
        return self.searcher.ranked_sets(vectors, torch.tensor(rows), self.set_size, texts)


@dataclass
class Oracle:
    """Knows the latent truth: fitting items, one of each slot in turn; the high end of the scale.

    Within a slot the items nearest to the query come first. Items that do not fit come last.
    """

    searcher: Searcher
    truth: FacetTruth
    set_size: int = 10
    pool_size: int = 150
    key: str = "oracle"
    name: str = "Oracle"
    draws: int | None = 1

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        scores, ranking = self.searcher.nearest(vectors, len(self.searcher.catalog))
        fits = self.truth.fits([query.id for query in queries]).gather(1, ranking)
        turn = torch.full_like(scores, torch.inf)
        for slot in self.truth.slots.unique():
            in_slot = fits & (self.truth.slots[ranking] == slot)
            turn = torch.where(in_slot, in_slot.cumsum(-1).to(turn.dtype), turn)
        order = turn.argsort(dim=-1, stable=True)[:, : self.pool_size]
        texts = [query.text for query in queries]
        return self.searcher.ranked_sets(vectors, ranking.gather(1, order), self.set_size, texts)


@dataclass
class ReferenceOracle:
    """Knows the reference sets: their items first, then the items nearest to their mean.

    Raises:
        InputError: If, when called, a query has no references.
    """

    searcher: Searcher
    set_size: int = 10
    pool_size: int = 150
    key: str = "references"
    name: str = "References (oracle)"
    draws: int | None = 1

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        bare = next((query for query in queries if not query.references), None)
        if bare is not None:
            raise InputError(
                expected=f"references for every query that {self.name} answers",
                found=f"none for {bare.text!r} (id {bare.id!r})",
                remedy="Leave the method out for such queries.",
            )
        rows = pad_rows([self.searcher.catalog.rows(query.references) for query in queries])
        mean = normalize(self.searcher.embeddings(rows).sum(1))
        _, near = self.searcher.nearest(mean, self.pool_size)
        ranking = distinct_first(torch.cat([rows, near], dim=1), self.pool_size)
        texts = [query.text for query in queries]
        return self.searcher.ranked_sets(vectors, ranking, self.set_size, texts)


def as_directions(sets: SetBatch) -> SetBatch:
    """Return sets whose items are their own directions, like a fan-out that copies items.

    So objectives of directions can be scored on methods that only pick items. Groundedness is then
    1 by construction: report it separately.
    """
    return replace(sets, directions=sets.item_embeddings)


@dataclass
class GreedyBound:
    """What a label-free objective can reach: directions added one by one, each the best for it.

    Candidate directions are the query's ``candidates`` nearest items and, for each a of ``blends``,
    ``normalize(a·z_q + (1 − a)·z_item)``. It adds greedily the one that makes the set score highest:
    a lower bound of the best set, far above what methods reach.

    Args:
        searcher: The retriever.
        score: Scores (n,) of n sets, higher is better: an objective or a composite that reads only
            items, directions, the query and the catalog (no sub-query texts, pool or references).
            NaN is never chosen.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
        candidates: Items C to choose from. The time grows with
            ``queries · k · C · (1 + len(blends))`` scored sets.
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
            extended = at_members(sets, part, rows)
            extended = extended.extended(query_texts=[texts[row] for row in part.tolist()])
            scores.append(self.score(extended))
        return torch.cat(scores).nan_to_num(nan=-torch.inf).view(batch, count)
