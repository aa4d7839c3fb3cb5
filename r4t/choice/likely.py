"""Directions as a mixture that draws items → the items it most probably draws, each unlike the others."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from r4t.choice.memory import SetMemory
from r4t.errors import InputError, check_least
from r4t.geometry import distinct_first, take_turns
from r4t.search import Searcher
from r4t.sets import SetBatch

DEPTH = 100  # items of each direction that are considered
AT_ONCE = 2**26  # numbers in the table of candidates of the queries answered together


@dataclass(frozen=True)
class Likely:
    """Ranks items by the probability that one of the directions, at random, draws them.

    ``log p(y) = log (1/k) Σ_j softmax_y(d_j·e_y / τ)``, as in ``LikelihoodStudent``. Each softmax goes over
    the 100 items nearest to its direction. Members are taken one after another: the item with the
    highest ``log p(y) − apart · max cos(y, c)`` over the members c so far. The pool goes on with all
    other items by probability, then as the directions rank them in turn.

    With a memory of target sets, ``p(y) = memory · p_memory(y) + (1 − memory) · p_directions(y)``, and the
    items that it recalls are candidates too.

    Args:
        temperature: τ, above 0: that of the training, or a higher one, which listens to more directions.
        apart: At least 0. One unit forgives a factor e of probability for a cosine of 0 in place of 1.
        memory: Share in [0, 1) of what a memory of target sets recalls (``SetMemory``); 0 for none.
        nearness: τ of the memory, above 0: a lower one listens to fewer training queries.

    Raises:
        InputError: If a number is too small or ``memory`` is outside [0, 1).
    """

    temperature: float = 0.03
    apart: float = 2.0
    memory: float = 0.0
    nearness: float = 0.07

    def __post_init__(self) -> None:
        check_least({"temperature": (self.temperature, 1e-6), "apart": (self.apart, 0)})
        check_least({"memory": (self.memory, 0), "nearness": (self.nearness, 1e-6)})
        if not self.memory < 1:
            raise InputError(
                expected="a memory in [0, 1), a share beside the directions",
                found=f"{self.memory}",
                remedy="Use 0.5, or 0 for none.",
            )

    def retrieve(
        self,
        searcher: Searcher,
        queries: Tensor,
        directions: Tensor,
        size: int,
        *,
        query_texts: list[str] | None = None,
        pool_size: int | None = None,
        memory: SetMemory | None = None,
    ) -> SetBatch:
        """Answer B queries (B, d) with k = ``size`` items; a member's direction draws it best.

        Directions are (B, R, d) unit vectors; zero rows, missing ones, draw nothing. A pool begins with
        the members. If the candidates are fewer than k, the last members are missing.

        Raises:
            InputError: If ``pool_size`` exceeds the catalog, the memory is that of another catalog,
                or there is none for a share of it.
        """
        if pool_size is not None:
            searcher.check_pool(pool_size)
        depth = min(len(searcher.catalog), DEPTH)
        at_once = max(1, AT_ONCE // (directions[0].numel() * depth))
        parts = [
            self._answers(
                searcher, part, self._recall(searcher, asked, memory), depth, size, pool_size
            )
            for asked, part in zip(queries.split(at_once), directions.split(at_once))
        ]
        items, rows, pools = (torch.cat(each) for each in zip(*parts))
        return searcher.gathered(
            queries,
            items,
            rows,
            query_texts=query_texts,
            pool=None if pool_size is None else pools,
        )

    def _recall(
        self, searcher: Searcher, queries: Tensor, memory: SetMemory | None
    ) -> tuple[Tensor, Tensor]:
        """Return items (B, M) and their share in the probability; M = 0 without a memory."""
        if not self.memory:
            return queries.new_zeros((len(queries), 0), dtype=torch.long), queries[:, :0]
        if memory is None:
            raise InputError(
                expected=f"a memory of target sets, for a share of {self.memory}",
                found="none",
                remedy="Train with LikelihoodStudent, which keeps one, or set memory to 0.",
            )
        memory.check(searcher.catalog.fingerprint)
        items, weights = memory.recall(queries, self.nearness)
        return items, self.memory * weights

    def _answers(
        self,
        searcher: Searcher,
        directions: Tensor,
        recalled: tuple[Tensor, Tensor],
        depth: int,
        size: int,
        pool_size: int | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return members (B, k), their directions (B, k, d) and the pool (B, P), of P = 0 without one."""
        items, logs = self._candidates(searcher, directions, recalled[0], depth)
        total = logs.logsumexp(1) - math.log(directions.shape[1])  # (B, C)
        if recalled[0].shape[1]:
            ours = total + math.log(1 - self.memory)
            total = torch.logaddexp(ours, _mass(items, *recalled).log())
        places = self._members(searcher.embeddings(items), total, min(size, items.shape[1]))
        owners = logs.argmax(1).gather(1, places).unsqueeze(-1)
        missing = size - places.shape[1]
        rows = pad(directions.take_along_dim(owners, 1), (0, 0, 0, missing))
        chosen = pad(items.gather(1, places), (0, missing), value=-1)
        if pool_size is None:
            return chosen, rows, chosen[:, :0]
        order = total.argsort(dim=1, descending=True, stable=True)
        ranked = [chosen, items.gather(1, order)]
        if int((items >= 0).sum(1).min()) < pool_size:
            ranked.append(take_turns(_rankings(searcher, directions, pool_size)[1], pool_size))
        return chosen, rows, distinct_first(torch.cat(ranked, dim=1), pool_size)

    def _candidates(
        self, searcher: Searcher, directions: Tensor, recalled: Tensor, depth: int
    ) -> tuple[Tensor, Tensor]:
        """Return distinct candidates (B, C), −1 padded, and log p(y | d_j) (B, R, C), −inf for padding."""
        cosines, ranked = _rankings(searcher, directions, depth)
        listed = torch.cat([ranked.transpose(1, 2).flatten(1), recalled], dim=1)
        items = distinct_first(listed, listed.shape[1])
        items = items[:, : max(1, int((items >= 0).sum(1).max()))]
        drawn = directions @ searcher.embeddings(items).mT / self.temperature
        scale = (cosines.to(drawn) / self.temperature).logsumexp(-1, keepdim=True)
        known = (ranked[..., :1] >= 0) & (items >= 0).unsqueeze(1)
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


def _mass(items: Tensor, recalled: Tensor, shares: Tensor) -> Tensor:
    """Return the sum (B, C) of the shares of each candidate, all recalled items (B, M) being candidates."""
    ordered, places = items.sort(dim=1)
    at = torch.searchsorted(ordered, recalled.contiguous()).clamp(max=items.shape[1] - 1)
    found = torch.zeros_like(items, dtype=shares.dtype).scatter_add(1, at, shares)
    return torch.zeros_like(found).scatter(1, places, found)


def _rankings(searcher: Searcher, directions: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Return cosines and items (B, R, depth) of directions (B, R, d); −1 for those of a zero row."""
    cosines, nearest = searcher.nearest(directions.flatten(0, 1), depth)
    shape = (*directions.shape[:2], depth)
    there = directions.abs().sum(-1, keepdim=True) > 0
    return cosines.view(shape), nearest.view(shape).masked_fill(~there, -1)
