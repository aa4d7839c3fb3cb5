"""More members than asked for → the ones that make the best set by an objective."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.sets import SetBatch

CHOICE_FILE = "choice.json"  # how to choose among directions, saved beside a diffusion retriever
KNOWN = frozenset({"directions", "catalog", "popularity"})  # of a set before its pool is retrieved


def check_choice(needs: frozenset[str], names: Iterable[str], costly: bool = False) -> None:
    """Refuse to choose among directions by what is not known, or costs too much, at query time.

    Args:
        needs: Fields that the choosing objectives read.
        names: Of those objectives, for the message.
        costly: Whether one of them costs money or minutes a call.

    Raises:
        InputError: They need a pool, references or texts, or are costly.
    """
    if costly:
        raise InputError(
            f"Directions are chosen by trying dozens of sets a query, found {sorted(names)}, of "
            "which one costs money or minutes a set; choose by others."
        )
    if not needs <= KNOWN:
        raise InputError(
            f"Directions are chosen before their pool, references or texts are known, by objectives "
            f"that need no more than {sorted(KNOWN)} — found {sorted(names)}, which need "
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
