"""Directions → a pool by reciprocal-rank fusion, where a plain search takes them in turn."""

from copy import copy
from typing import Any

import torch
from torch import Tensor

from r4t.geometry import distinct_first
from r4t.index import Index
from r4t.search import Searcher
from r4t.sets import SetBatch


class RankFusion(Searcher):
    """A searcher whose pools are fused (Cormack, Clarke & Büttcher 2009).

    Each direction ranks the catalog; an item's score is ``Σ 1/(constant + rank)`` over the
    directions that rank it among their first ``depth``. The pool holds the items of highest score;
    set and directions stay those of the plain search, so that directions can be judged (of the items
    a user gets, the first of the pool count). One search serves both.

    Args:
        searcher: Encodes and searches.
        depth: Items ranked by each direction, up to the pool size, the default. Where too few are
            ranked, the plain pool follows.
        constant: 60 in the source; a smaller one favors first places.
    """

    def __init__(
        self, searcher: Searcher, depth: int | None = None, constant: float = 60.0
    ) -> None:
        super().__init__(searcher.catalog, searcher.encoder, searcher.index, searcher.popularity)
        self._searcher = searcher
        self.depth, self.constant = depth, constant

    def encode(self, texts: list[str]) -> Tensor:
        """As the searcher within."""
        return self._searcher.encode(texts)

    def retrieve(self, *args: Any, **kwargs: Any) -> SetBatch:
        """As ``Searcher.retrieve``, but for the pool."""
        kwargs.pop("keys", None)  # every direction's ranking is needed, in its place
        plain = copy(self._searcher)
        plain.index = seen = _Seen(plain.index)
        sets = plain.retrieve(*args, **kwargs)
        if sets.pool is None:
            return sets
        found = seen.rows.view(*sets.mask.shape, -1)[..., : self.depth]
        found = found.masked_fill(~sets.mask.unsqueeze(-1), -1)
        fused = torch.cat([fused_ranking(found, self.constant), sets.pool], dim=1)
        return sets.extended(pool=distinct_first(fused, sets.pool.shape[1]))


class _Seen:
    """An index that keeps the rows it found last."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.rows = torch.empty(0, 0, dtype=torch.long)

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        scores, self.rows = self._index.search(directions, top_k)
        return scores, self.rows


def fused_ranking(rankings: Tensor, constant: float = 60.0) -> Tensor:
    """Fuse several rankings by ``Σ 1/(constant + rank)``, ranks from 1.

    Args:
        rankings: (B, k, D) ids ≥ 0, best first; −1 where there is none.
        constant: Above −1.

    Returns:
        (B, k·D) distinct ids, the highest sum first, −1 padded; ties in the order in which the
        rankings, taken in turn, name them.

    Examples:
        Id 7 is second twice, 2/62; the others are named once: 1/61, 1/61.

        >>> fused_ranking(torch.tensor([[[3, 7], [5, 7]]])).tolist()
        [[7, 3, 5, -1]]
    """
    batch, members, depth = rankings.shape
    ids = rankings.transpose(1, 2).reshape(batch, -1)  # in turn
    share = 1 / (constant + torch.arange(1, depth + 1, dtype=torch.float64))
    shares = share.repeat_interleave(members).expand(batch, -1)
    values, order = ids.sort(dim=1, stable=True)  # equal ids together, in turn
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    group = begins.cumsum(1) - 1
    totals = torch.zeros_like(shares).scatter_add(1, group, shares.gather(1, order))
    own = torch.zeros_like(shares).scatter(1, order, totals.gather(1, group))  # back in turn
    ranked = own.masked_fill(ids < 0, -1).argsort(dim=1, descending=True, stable=True)
    return distinct_first(ids.gather(1, ranked), members * depth)
