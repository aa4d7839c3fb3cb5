"""A rollout → whether its sets tell their queries apart, and whether the reward asks for it."""

import math
from collections.abc import Callable, Sequence

from r4t.objective import load_objective
from r4t.reward import Reward, query_free_share
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.training.collapse import QUERY_FREE, SPECIFICITY
from r4t.training.rollouts import Rollout

LISTS = 12  # queries that exchange one list each: 144 sets to score


def specificity_statistics(rollout: Rollout, searcher: Searcher) -> dict[str, float]:
    """Return the mean specificity of a rollout's sets; nothing if the run has no bank of queries."""
    queries = searcher.encode_queries([query.text for query in rollout.queries])
    group = len(rollout.items) // len(queries)
    sets = SetBatch(
        query=queries.repeat_interleave(group, 0),
        items=rollout.items,
        item_embeddings=searcher.embeddings(rollout.items),
        mask=rollout.items >= 0,
        bank=searcher.bank,
    )
    objective = load_objective("specificity")
    return {SPECIFICITY: float(objective(sets).mean())} if objective.accepts(sets) else {}


def query_free_statistics(
    rollout: Rollout,
    reward: Reward,
    exchange: Callable[[Sequence[int]], SetBatch],
    step: int,
) -> dict[str, float]:
    """Return the reward's ``query_free_share`` over lists of a rollout.

    Each of at most ``LISTS`` distinct queries is given the first list with an item of each of them.

    Args:
        rollout: Whose lists are exchanged.
        reward: Scores them, with the weights at ``step``.
        exchange: See ``RolloutModule.exchange``.
        step: Optimizer step.

    Returns:
        Nothing if the reward costs money or minutes, fewer than two queries have a list, or the
        reward is the same for all lists.
    """
    group = len(rollout.items) // len(rollout.queries)
    rows: dict[str, int] = {}
    for row in (rollout.items >= 0).any(1).nonzero().flatten().tolist():
        if len(rows) < LISTS:
            rows.setdefault(rollout.queries[row // group].text, row)
    if reward.costly or len(rows) < 2:
        return {}
    sets = exchange(list(rows.values()))
    scores = {name: objective(sets) for name, objective in reward.weighted_objectives.items()}
    share = query_free_share(reward.total(scores, step).view(len(rows), -1))
    return {} if math.isnan(share) else {QUERY_FREE: share}
