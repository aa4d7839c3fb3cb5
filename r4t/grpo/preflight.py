"""A reward → tried on a few sets before any model writes, so that one that cannot score is refused."""

from collections.abc import Sequence

import torch

from r4t.data.queries import Query
from r4t.fanout.formats import FanoutFormat
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.support.randomness import random_states, set_random_states


def try_reward(
    reward: Reward,
    searcher: Searcher,
    queries: Sequence[Query],
    form: FanoutFormat,
    pool_size: int | None,
) -> None:
    """Score what the texts of nearby items find, as sub-queries: k of them, one, and none.

    Objectives that cost money or minutes are not tried. Counts, times and random states are left as
    they were.

    Args:
        reward: Each of its objectives scores, those that are only audited too.
        searcher: Retrieves.
        queries: To try it on.
        form: Says how many sub-queries k there are, and how they are searched with.
        pool_size: Distinct items retrieved a set, for objectives that need a pool.

    Raises:
        InputError: An objective cannot score these sets, or breaks its contract.
        PluginError: It raises anything else.
    """
    if not queries:
        return
    states = random_states(torch.device("cpu"))
    vectors = searcher.encode_queries([query.text for query in queries])
    depth = min(form.set_size, len(searcher.catalog))
    _, rows = searcher.index.search(vectors, depth)
    texts = searcher.catalog.texts
    subqueries: list[list[str]] = []
    for nearby in rows.tolist():
        found = [texts[row] for row in nearby]
        subqueries += [found, found[:1], []]
    sets = searcher.retrieve_groups(
        list(queries), subqueries, form.set_size, pool_size, form.anchor
    )
    for objective in reward.objectives.values():
        if not objective.costly:
            objective(sets)
    set_random_states(states, torch.device("cpu"))
    for counting in (searcher.watch, searcher.vectors, searcher.found):
        if counting is not None:
            counting.take()
