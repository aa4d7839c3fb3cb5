"""Surplus rows or sets → the directions that make the best set by an objective."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from r4t.choice.choice import KNOWN, Choice
from r4t.errors import InputError
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import ANSWERS, SetBatch


class ScoredChoice(Choice):
    """A choice by what sets are worth.

    Args:
        by: Scores sets; it may read ``fields`` only and must be cheap.
        draws: Sets M generated per query, at least 1.
        fields: Fields that a set has when directions are chosen.

    Raises:
        InputError: If ``by`` reads other fields or is costly, or ``draws`` is below 1.
    """

    def __init__(self, by: Reward, draws: int, fields: frozenset[str] = KNOWN) -> None:
        super().__init__(draws)
        names = sorted(by.weighted_objectives)
        if by.costly:
            raise InputError(
                expected="objectives that are cheap enough to try dozens of sets per query",
                found=f"{names}, one of which costs money or minutes per set",
                remedy="Choose by others.",
            )
        if not by.deciding_needs <= fields:
            raise InputError(
                expected=f"objectives that read only {sorted(fields)}, as a set has nothing else when "
                "its directions are chosen",
                found=f"{names}, which need {sorted(by.deciding_needs)}",
                remedy="Choose by others.",
            )
        self.by, self.needs = by, frozenset(by.deciding_needs)

    def score(self, sets: SetBatch) -> Tensor:
        """Score (B,) sets with the bank of the saved model, if there is one."""
        return self.by.score(sets if self.bank is None else sets.extended(bank=self.bank))

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        if self.by.given:
            raise InputError(
                expected="installed objectives without arguments, which a saved model can name",
                found=f"objects for {sorted(self.by.given)} in the choice",
                remedy="Remove them from choice.by.",
            )
        return {**super().facts(), "weights": self.by.weights}


class BestRows(ScoredChoice):
    """The k of all M·L rows that make the best set, see ``best_members``.

    Args:
        by: Scores sets; it must read neither pool, references nor texts.
        draws: Sets M generated per query, at least 1.
    """

    pools_rows = True

    def __init__(self, by: Reward, draws: int = 1) -> None:
        super().__init__(by, draws)

    def places(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """See ``Choice``."""
        pooled = rows.flatten(1, 2)  # (B, M · L, d)
        if pooled.shape[1] == size:
            return torch.arange(size, device=rows.device).expand(len(rows), size)
        return best_members(searcher.retrieve(queries, pooled), self.score, size)


class BestSet(ScoredChoice):
    """The best of M sets, each of its first k rows: rows have no order.

    Args:
        by: Scores sets; it must read neither references nor texts.
        draws: Sets M generated per query, at least 1.
        pool_size: Distinct items to retrieve per set if ``by`` needs a pool; none by default.
    """

    pools_rows = False

    def __init__(self, by: Reward, draws: int = 8, pool_size: int | None = None) -> None:
        super().__init__(by, draws, KNOWN if pool_size is None else KNOWN | {"pool"})
        self.pool_size = pool_size

    def places(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """See ``Choice``."""
        first = torch.arange(size, device=rows.device)
        if rows.shape[1] == 1:
            return first.expand(len(rows), size)
        sets = rows[:, :, :size]  # (B, M, k, d)
        owners = queries.repeat_interleave(sets.shape[1], 0)
        tried = searcher.retrieve(owners, sets.flatten(0, 1), pool_size=self.pool_size)
        scores = self.score(tried).view(sets.shape[:2])
        best = scores.nan_to_num(-torch.inf).argmax(1)
        return best.unsqueeze(1) * rows.shape[2] + first

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        return {**super().facts(), "pool_size": self.pool_size}


def best_members(
    sets: SetBatch, score: Callable[[SetBatch], Tensor], size: int, rounds: int = 3
) -> Tensor:
    """Return the ``size`` of M members that a set misses most, by elimination in a few rounds.

    The lower the score without a member, the more it is needed. Each round drops an equal number of
    the least needed. Members with the same item make each other seem needless, so the most needed of
    them stays until the others are gone; missing members go first. If no item repeats, the result is
    optimal for a mean of members (groundedness, alignment). One member per round gives slightly
    better sets in more than twice the time.

    Args:
        sets: B sets of M members with directions.
        score: Scores (B',) of B' sets; higher is better. It must not need the pool.
        size: Number of members to keep, at most M.
        rounds: At least 1.

    Returns:
        (B, size) positions among the members.
    """
    batch, members = sets.items.shape
    device = sets.items.device
    rest = torch.arange(members, device=device).expand(batch, members)
    for left in range(rounds, 0, -1):
        count = rest.shape[1]
        target = size + (count - size) * (left - 1) // left
        if target == count:
            continue
        is_other = ~torch.eye(count, dtype=torch.bool, device=device)
        places = torch.arange(count, device=device).expand(count, count)
        others = places[is_other].view(count, count - 1)
        owner = torch.arange(batch, device=device).repeat_interleave(count)
        alone = score(at_members(sets, owner, rest[:, others].reshape(-1, count - 1)))
        missing = ~sets.mask.gather(1, rest)
        alone = alone.view(batch, count).masked_fill(missing, torch.inf)
        needed = alone.argsort(dim=1, stable=True)  # most needed first
        waits = _waits(sets.items.gather(1, rest).gather(1, needed)) & ~missing.gather(1, needed)
        order = needed.gather(1, waits.int().argsort(dim=1, descending=True, stable=True))
        rest = rest.gather(1, order[:, :target])
    return rest


def _waits(items: Tensor) -> Tensor:
    """Return which of the items (B, M), most needed first, are the first of several equal items."""
    same = items.unsqueeze(2) == items.unsqueeze(1)
    return same.triu(1).any(-1) & ~same.tril(-1).any(-1)


def at_members(sets: SetBatch, owner: Tensor, members: Tensor) -> SetBatch:
    """Return n sets: set i has the members at ``members[i]`` (n, m) of set ``owner[i]`` (n,)."""
    rows = owner.unsqueeze(1)
    return replace(
        sets,
        query=sets.query[owner],
        items=sets.items[rows, members],
        item_embeddings=sets.item_embeddings[rows, members],
        mask=sets.mask[rows, members],
        directions=None if sets.directions is None else sets.directions[rows, members],
        **dict.fromkeys(("texts", "pool", *ANSWERS, "query_texts")),
    )
