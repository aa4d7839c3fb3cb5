"""Queries and a function that answers them → composite, its parts and Vendi score of each answer."""

from collections.abc import Callable

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.evaluation.measures import item_vendi
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import SetBatch

SIZE, BATCH = 10, 64
WEIGHTS = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}  # eq. (1)
AUDITED = {**WEIGHTS, "distinctness": 0.0}


@torch.no_grad()
def scored(
    answer: Callable[[list[Query], Tensor], SetBatch],
    searcher: Searcher,
    queries: list[Query],
    reward: Reward,
) -> dict[str, Tensor]:
    """Answer the queries in batches.

    Args:
        answer: Queries and their vectors (B, d) → their sets.
        searcher: Encodes the queries.
        queries: n queries.
        reward: Its total is the composite; each of its objectives is a further measure.

    Returns:
        Measure → (n,) values in float64.
    """
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(queries), BATCH):
        part = queries[start : start + BATCH]
        sets = answer(part, searcher.encode_queries([query.text for query in part]))
        total, components = reward(sets)
        measures = {"composite": total, "vendi": item_vendi(sets), **components}
        for name, scores in measures.items():
            parts.setdefault(name, []).append(scores.double())
    return {name: torch.cat(scores) for name, scores in parts.items()}
