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

LEAST = 0.003  # temperature: exp(−2/τ) is a number above 0 in float64
DEPTH = 100  # items of each direction that are considered
AT_ONCE = 2**26  # numbers in the table of candidates of the queries answered together


@dataclass(frozen=True)
class Likely:
    """Ranks items by the probability that one of the directions, at random, draws them.

    ``log p(y) = log (1/k) Σ_j softmax_y(d_j·e_y / τ)``, as in ``LikelihoodStudent``, but each direction draws
    only the 100 items nearest to it. Members are taken one after another: the item with the
    highest ``log p(y) − apart · max cos(y, c)`` over the members c so far. The pool goes on with all
    other items by probability, then as the directions rank them in turn.

    With a memory of target sets, ``p(y) = memory · p_memory(y) + (1 − memory) · p_directions(y)``, and the
    items that it recalls are candidates too.

    Args:
        temperature: τ, at least 0.003: that of the training, or a higher one, which listens to more
            directions.
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
        check_least({"temperature": (self.temperature, LEAST), "apart": (self.apart, 0)})
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
        cosines, ranked = _rankings(searcher, directions, depth)
        energies = cosines.double() / self.temperature
        scale = energies.logsumexp(-1, keepdim=True)  # (B, R, 1)
        draws = (energies - scale).exp().masked_fill(ranked < 0, 0.0)
        share = (1 - self.memory) / directions.shape[1]
        ids = torch.cat([ranked.transpose(1, 2).flatten(1), recalled[0]], dim=1)
        parts = torch.cat([share * draws.transpose(1, 2).flatten(1), recalled[1].to(draws)], dim=1)
        items, probabilities = by_probability(ids, parts)
        chosen, embeddings = self._members(searcher, items, probabilities.log(), size)
        drawn = (directions @ embeddings.mT / self.temperature - scale.to(directions)).masked_fill(
            ranked[..., :1] < 0, -math.inf
        )  # (B, R, k)
        rows = directions.take_along_dim(drawn.argmax(1).unsqueeze(-1), 1)
        rows = rows.masked_fill(chosen.unsqueeze(-1) < 0, 0.0)
        missing = size - chosen.shape[1]
        rows, chosen = pad(rows, (0, 0, 0, missing)), pad(chosen, (0, missing), value=-1)
        if pool_size is None:
            return chosen, rows, chosen[:, :0]
        pooled = [chosen, items]
        if int((items >= 0).sum(1).min()) < pool_size:
            pooled.append(take_turns(_rankings(searcher, directions, pool_size)[1], pool_size))
        return chosen, rows, distinct_first(torch.cat(pooled, dim=1), pool_size)

    def _members(
        self, searcher: Searcher, items: Tensor, logs: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        """Return the members (B, k), taken greedily, −1 where none is left, and their embeddings (B, k, d).

        k items have at least the k-th log p minus ``apart``, and none has more than its own plus
        ``apart``, so items further than twice that below the k-th need no look.
        """
        size = min(size, items.shape[1])
        within = logs >= logs[:, size - 1 : size] - 2 * self.apart
        most = max(size, int((within & (items >= 0)).sum(1).max()))
        embeddings, left = searcher.embeddings(items[:, :most]), logs[:, :most].clone()
        nearest = torch.zeros_like(left)
        chosen: list[Tensor] = []
        members: list[Tensor] = []
        for _ in range(size):
            place = (left - self.apart * nearest).argmax(1, keepdim=True)
            taken = left.gather(1, place) == -math.inf
            members.append(embeddings.take_along_dim(place.unsqueeze(-1), 1))
            left.scatter_(1, place, -math.inf)
            cosines = rearrange(embeddings @ members[-1].mT, "b c 1 -> b c")
            nearest = torch.maximum(nearest, cosines) if chosen else cosines
            chosen.append(items.gather(1, place).masked_fill(taken, -1))
        return torch.cat(chosen, dim=1), torch.cat(members, dim=1)


def by_probability(ids: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Add up what each id has; return ids (B, C), the most probable first, −1 padded, and their sums.

    Ids (B, M) may repeat, −1 for none, which has 0; equally probable ones keep the order of ids.

    Examples:
        >>> ids, sums = by_probability(torch.tensor([[7, 3, 7, -1]]), torch.tensor([[0.2, 0.3, 0.2, 0]]))
        >>> ids.tolist(), sums.tolist()
        ([[7, 3]], [[0.4000000059604645, 0.30000001192092896]])
    """
    values, order = ids.sort(dim=1, stable=True)
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    group = begins.cumsum(1) - 1
    zeros = torch.zeros_like(parts)
    sums = zeros.scatter_add(1, group, parts.gather(1, order))
    found = torch.full_like(ids, -1).scatter_(1, group, values)
    sums, ranked = sums.masked_fill(found < 0, 0.0).sort(dim=1, descending=True, stable=True)
    most = max(1, int((sums > 0).sum(1).max()))
    return found.gather(1, ranked)[:, :most].masked_fill(sums[:, :most] == 0, -1), sums[:, :most]


def _rankings(searcher: Searcher, directions: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Return cosines and items (B, R, depth) of directions (B, R, d); −1 for those of a zero row."""
    cosines, nearest = searcher.nearest(directions.flatten(0, 1), depth)
    shape = (*directions.shape[:2], depth)
    there = directions.abs().sum(-1, keepdim=True) > 0
    return cosines.view(shape), nearest.view(shape).masked_fill(~there, -1)
