"""A rollout → whether its sets tell their queries apart, and whether the reward asks for it."""

import math

from r4t.data.queries import Query
from r4t.fanout.exchange import exchanged
from r4t.fanout.formats import FanoutFormat
from r4t.grpo.rollout import Rollout
from r4t.objective import load_objective
from r4t.reward import Reward, query_free_share
from r4t.search import Searcher
from r4t.sets import SetBatch

SPECIFICITY, QUERY_FREE = "train/specificity/mean", "train/query_free/share"
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
    searcher: Searcher,
    form: FanoutFormat,
    pool_size: int | None,
    step: int,
) -> dict[str, float]:
    """Return the reward's ``query_free_share`` over lists of a rollout.

    Each of at most ``LISTS`` distinct queries is given the first readable list of each of them.

    Args:
        rollout: Whose lists are exchanged.
        reward: Scores them, with the weights at ``step``.
        searcher: Retrieves for them.
        form: Reads the completions.
        pool_size: As in training.
        step: Optimizer step.

    Returns:
        Nothing if the reward costs money or minutes, fewer than two queries have a list, or the
        reward is the same for all lists.
    """
    group = len(rollout.items) // len(rollout.queries)
    chosen: dict[str, tuple[Query, str]] = {}
    fanouts = zip(rollout.fanouts.subqueries, rollout.fanouts.texts)
    for place, (subqueries, completion) in enumerate(fanouts):
        query = rollout.queries[place // group]
        if subqueries and len(chosen) < LISTS:
            chosen.setdefault(query.text, (query, completion))
    if reward.costly or len(chosen) < 2:
        return {}
    queries, completions = zip(*chosen.values())
    sets = exchanged(queries, completions, form, searcher, pool_size)
    scores = {name: objective(sets) for name, objective in reward.weighted_objectives.items()}
    rewards = reward.total(scores, step).view(len(chosen), -1)
    share = query_free_share(rewards)
    return {} if math.isnan(share) else {QUERY_FREE: share}
