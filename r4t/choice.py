"""More members than asked for → the ones that make the best set by an objective."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from r4t.sets import SetBatch

CHOICE_FILE = "choice.json"  # how to choose among directions, saved beside a diffusion retriever


def best_members(sets: SetBatch, score: Callable[[SetBatch], Tensor], size: int) -> Tensor:
    """Choose ``size`` of M members greedily: each time the one with which the set scores highest.

    Members that are missing come last. The pool of a set does not follow its members here, so
    ``score`` must not need one.

    Args:
        sets: B sets of M members with directions.
        score: Scores (B',) of B' sets; higher is better.
        size: How many to keep, at most M.

    Returns:
        (B, size) positions among the members, in the order of the choice.
    """
    batch, members = sets.items.shape
    chosen = torch.empty(batch, 0, dtype=torch.long)
    taken = torch.zeros(batch, members, dtype=torch.bool)
    every = torch.arange(members).expand(batch, members)
    owner = torch.arange(batch).repeat_interleave(members)
    for _ in range(size):
        tried = torch.cat([chosen.repeat_interleave(members, 0), every.reshape(-1, 1)], 1)
        scores = score(at_members(sets, owner, tried)).view(batch, members)
        scores = scores.masked_fill(~sets.mask, torch.finfo(scores.dtype).min)
        best = scores.masked_fill(taken, -torch.inf).argmax(1, keepdim=True)
        taken.scatter_(1, best, True)
        chosen = torch.cat([chosen, best], 1)
    return chosen


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
    )
