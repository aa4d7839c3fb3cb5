"""More rows or sets than asked for → the directions that make the best set by an objective."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, check_least, nearest
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import SetBatch

CHOICE_FILE = "choice.json"  # how to choose among directions, saved beside a diffusion retriever
KNOWN = frozenset({"directions", "catalog", "popularity"})  # of a set before its pool is retrieved


class BestRows:
    """The k rows of all that were generated that make the best set, see ``best_members``.

    Args:
        by: Scores sets; it must need neither pool, references nor texts.
        draws: Sets M generated a query, at least 1; k of their M·L rows are kept.

    Raises:
        InputError: ``by`` needs what is not known yet, or ``draws`` is below 1.
    """

    pools_rows = True

    def __init__(self, by: Reward, draws: int = 1) -> None:
        check_least({"draws": (draws, 1)})
        check_choice(by.deciding_needs, by.weighted_objectives, by.costly)
        self.by, self.draws = by, draws

    def __call__(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """Choose ``size`` directions a query.

        Args:
            searcher: Finds the items that sets consist of.
            queries: (B, d) unit vectors.
            rows: Generated rows (B, M, L, d).
            size: k, at most M·L.

        Returns:
            (B, k, d).
        """
        every = rows.flatten(1, 2)  # (B, M · L, d)
        if every.shape[1] == size:
            return every
        best = best_members(searcher.retrieve(queries, every), self.by.score, size)
        return every.take_along_dim(best.unsqueeze(-1), 1)

    def facts(self) -> dict[str, Any]:
        """What ``load_choice`` builds it from."""
        return {"keep": type(self).__name__, **_named(self.by), "draws": self.draws}


class BestSet:
    """The best of M generated sets, of each of which the first k rows count: rows have no order.

    Args:
        by: Scores sets; it must need neither references nor texts.
        draws: Sets M generated a query, at least 1.
        pool_size: Distinct items to retrieve a set where ``by`` needs a pool; none by default.

    Raises:
        InputError: ``by`` needs what is not known yet, or ``draws`` is below 1.
    """

    pools_rows = False

    def __init__(self, by: Reward, draws: int = 8, pool_size: int | None = None) -> None:
        check_least({"draws": (draws, 1)})
        known = KNOWN if pool_size is None else KNOWN | {"pool"}
        check_choice(by.deciding_needs, by.weighted_objectives, by.costly, known)
        self.by, self.draws, self.pool_size = by, draws, pool_size

    def __call__(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """Choose a set a query; see ``BestRows``, but k is at most L."""
        sets = rows[:, :, :size]  # (B, M, k, d)
        if sets.shape[1] == 1:
            return sets[:, 0]
        asked = queries.repeat_interleave(sets.shape[1], 0)
        found = searcher.retrieve(asked, sets.flatten(0, 1), pool_size=self.pool_size)
        scores = self.by.score(found).view(sets.shape[:2])
        best = scores.nan_to_num(-torch.inf).argmax(1)
        return sets[torch.arange(len(sets), device=sets.device), best]

    def facts(self) -> dict[str, Any]:
        """What ``load_choice`` builds it from."""
        kept = {"keep": type(self).__name__, **_named(self.by), "draws": self.draws}
        return {**kept, "pool_size": self.pool_size}


Choice = BestRows | BestSet
CHOICES: dict[str, Callable[..., Choice]] = {"BestRows": BestRows, "BestSet": BestSet}


def load_choice(facts: dict[str, Any]) -> Choice | None:
    """Build what ``facts`` tells of; None where it names no objective.

    Raises:
        InputError: The kind of choice is unknown, or an objective is not installed.
    """
    arguments = dict(facts)
    weights, name = arguments.pop("weights"), arguments.pop("keep", "BestRows")
    if not weights:
        return None
    if name not in CHOICES:
        known = ", ".join(sorted(CHOICES))
        raise InputError(f"Unknown choice {name!r}. Known: {known}.{nearest(name, CHOICES)}")
    return CHOICES[name](Reward(weights), **arguments)


def _named(by: Reward) -> dict[str, Any]:
    if by.given:
        raise InputError(
            f"A saved model names the objectives it chooses by, so they must be installed and built "
            f"without arguments — found objects for {sorted(by.given)}; leave them out of choice.by."
        )
    return {"weights": by.weights}


def check_choice(
    needs: frozenset[str],
    names: Iterable[str],
    costly: bool = False,
    known: frozenset[str] = KNOWN,
) -> None:
    """Refuse to choose among directions by what is not known, or costs too much, at query time.

    Args:
        needs: Fields that the choosing objectives read.
        names: Of those objectives, for the message.
        costly: Whether one of them costs money or minutes a call.
        known: Fields that are known when the choice is made.

    Raises:
        InputError: They need other fields, or are costly.
    """
    if costly:
        raise InputError(
            f"Directions are chosen by trying dozens of sets a query, found {sorted(names)}, of "
            "which one costs money or minutes a set; choose by others."
        )
    if not needs <= known:
        raise InputError(
            f"Directions are chosen before their pool, references or texts are known, by objectives "
            f"that need no more than {sorted(known)} — found {sorted(names)}, which need "
            f"{sorted(needs)}; choose by others."
        )


def best_members(
    sets: SetBatch, score: Callable[[SetBatch], Tensor], size: int, rounds: int = 3
) -> Tensor:
    """Keep the ``size`` of M members that a set misses most, by elimination in a few rounds.

    A member is needed as much as the score of the others alone is low. Each round drops an equal
    part of those that are needed least. Members with the same item make each other seem needless,
    so the most needed one of them waits until the others are gone. Where no item repeats, the
    result is the best choice there is for a mean of members (groundedness, alignment). One member a
    round gives slightly better sets at more than twice the time.

    Members that are missing go first. ``score`` must not need the pool, which is not known yet.

    Args:
        sets: B sets of M members with directions.
        score: Scores (B',) of B' sets; higher is better.
        size: How many to keep, at most M.
        rounds: At least 1.

    Returns:
        (B, size) positions among the members.
    """
    batch, members = sets.items.shape
    device = sets.items.device
    kept = torch.arange(members, device=device).expand(batch, members)
    for left in range(rounds, 0, -1):
        count = kept.shape[1]
        target = size + (count - size) * (left - 1) // left
        if target == count:
            continue
        others = ~torch.eye(count, dtype=torch.bool, device=device)
        places = torch.arange(count, device=device)
        others = places.expand(count, count)[others].view(count, count - 1)
        owner = torch.arange(batch, device=device).repeat_interleave(count)
        alone = score(at_members(sets, owner, kept[:, others].reshape(-1, count - 1)))
        missing = ~sets.mask.gather(1, kept)
        alone = alone.view(batch, count).masked_fill(missing, torch.inf)
        needed = alone.argsort(dim=1, stable=True)  # most needed first
        waits = _waits(sets.items.gather(1, kept).gather(1, needed)) & ~missing.gather(1, needed)
        order = needed.gather(1, waits.int().argsort(dim=1, descending=True, stable=True))
        kept = kept.gather(1, order[:, :target])
    return kept


def _waits(items: Tensor) -> Tensor:
    """Which members (B, M) wait: the first with its item, where others have it too.

    Args:
        items: (B, M) item of each member, most needed first.
    """
    same = items.unsqueeze(2) == items.unsqueeze(1)
    later = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device)
    return (same & later.triu(1)).any(-1) & ~(same & later.tril(-1)).any(-1)


def at_members(sets: SetBatch, owner: Tensor, members: Tensor) -> SetBatch:
    """Return sets of chosen members: row i has those at ``members[i]`` (n, m) of set ``owner[i]``."""
    rows = owner.unsqueeze(1)
    directions = None if sets.directions is None else sets.directions[rows, members]
    return replace(
        sets,
        query=sets.query[owner],
        items=sets.items[rows, members],
        item_embeddings=sets.item_embeddings[rows, members],
        mask=sets.mask[rows, members],
        directions=directions,
        texts=None,
        pool=None,
        references=None,
        query_texts=None,
    )
