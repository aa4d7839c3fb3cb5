"""Directions as a mixture that draws items → the items it most probably draws, each unlike the others."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from r4t.errors import check_least
from r4t.geometry import distinct_first
from r4t.search import Searcher
from r4t.sets import SetBatch

LEAST_DEPTH = 100  # items of each direction that are considered


@dataclass(frozen=True)
class Likely:
    """Ranks items by the probability that one of the directions, at random, draws them.

    ``log p(y) = log (1/k) Σ_j softmax_y(d_j·e_y / τ)``, as in ``LikelihoodStudent``. Each softmax goes over
    the items nearest to its direction, the pool size or 100 of them, which hold nearly all of it.
    Members are taken one after another: the item with the highest ``log p(y) − apart · max cos(y, c)``
    over the members c so far. The pool goes on with all other items by probability.

    Args:
        temperature: τ, above 0; that of the training.
        apart: At least 0. One unit forgives a factor e of probability for a cosine of 0 in place of 1.

    Raises:
        InputError: If a number is too small.
    """

    temperature: float = 0.03
    apart: float = 2.0

    def __post_init__(self) -> None:
        check_least({"temperature": (self.temperature, 1e-6), "apart": (self.apart, 0)})

    def retrieve(
        self,
        searcher: Searcher,
        queries: Tensor,
        directions: Tensor,
        size: int,
        *,
        query_texts: list[str] | None = None,
        pool_size: int | None = None,
    ) -> SetBatch:
        """Answer B queries (B, d) with k = ``size`` items; a member's direction draws it best.

        Directions are (B, R, d) unit vectors; zero rows, missing ones, draw nothing. A pool has at
        least k items.
        """
        count = len(searcher.catalog)
        wanted = max(size, 0 if pool_size is None else searcher.check_pool(pool_size))
        depth = min(count, max(wanted, LEAST_DEPTH))
        items, logs = self._candidates(searcher, directions, depth)
        total = logs.logsumexp(1) - math.log(directions.shape[1])  # (B, C)
        members = self._members(searcher.embeddings(items), total, min(size, items.shape[1]))
        rows = directions.take_along_dim(
            logs.argmax(1).gather(1, members).unsqueeze(-1), 1
        )  # the direction that draws each member best
        chosen = items.gather(1, members)
        pool = None
        if pool_size is not None:
            ranked = items.gather(1, total.argsort(dim=1, descending=True, stable=True))
            pool = distinct_first(torch.cat([chosen, ranked], dim=1), pool_size)
        return searcher.gathered(queries, chosen, rows, query_texts=query_texts, pool=pool)

    def _candidates(
        self, searcher: Searcher, directions: Tensor, depth: int
    ) -> tuple[Tensor, Tensor]:
        """Return distinct candidates (B, C), −1 padded, and log p(y | d_j) (B, R, C), −inf for padding."""
        batch, rows = directions.shape[:2]
        cosines, nearest = searcher.nearest(directions.flatten(0, 1), depth)
        there = directions.abs().sum(-1) > 0  # (B, R)
        ranked = nearest.view(batch, rows, depth).masked_fill(~there.unsqueeze(-1), -1)
        items = distinct_first(ranked.transpose(1, 2).flatten(1), rows * depth)
        items = items[:, : max(1, int((items >= 0).sum(1).max()))]
        drawn = directions @ searcher.embeddings(items).mT / self.temperature
        scale = (cosines.to(drawn) / self.temperature).logsumexp(-1).view(batch, rows, 1)
        known = there.unsqueeze(-1) & (items >= 0).unsqueeze(1)
        return items, (drawn - scale).masked_fill(~known, -math.inf)

    def _members(self, embeddings: Tensor, logs: Tensor, size: int) -> Tensor:
        """Return the places (B, k) of the members, taken greedily."""
        left, nearest = logs.clone(), torch.zeros_like(logs)
        places = []
        for _ in range(size):
            place = (left - self.apart * nearest).argmax(1, keepdim=True)
            places.append(place)
            left = left.scatter(1, place, -math.inf)
            member = embeddings.take_along_dim(place.unsqueeze(-1), 1)
            cosines = rearrange(embeddings @ member.mT, "b c 1 -> b c")
            nearest = cosines if len(places) == 1 else torch.maximum(nearest, cosines)
        return torch.cat(places, dim=1)
