"""A reward → tried on a few sets before any model writes, so that a fit fails early or not at all."""

from collections.abc import Sequence

from r4t.data.queries import Query
from r4t.fanout.formats import FanoutFormat
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.training.rollouts import unnoticed


def try_reward(
    reward: Reward,
    searcher: Searcher,
    queries: Sequence[Query],
    form: FanoutFormat,
    pool_size: int | None,
) -> None:
    """Score sets retrieved by the texts of nearby items: k sub-queries, one, and none per query.

    All objectives are tried, audited ones too, but none that costs money or minutes. It goes
    ``unnoticed``.

    Raises:
        InputError: If an objective cannot score these sets, or breaks its contract.
        PluginError: If an objective raises anything else.
    """
    if not queries:
        return
    with unnoticed(searcher):
        vectors = searcher.encode_queries([query.text for query in queries])
        _, rows = searcher.index.search(vectors, min(form.set_size, len(searcher.catalog)))
        texts = searcher.catalog.texts
        nearby = [[texts[row] for row in items] for items in rows.tolist()]
        subqueries = [list(part) for items in nearby for part in (items, items[:1], ())]
        sets = searcher.retrieve_groups(
            list(queries), subqueries, form.set_size, pool_size, form.anchor
        )
        for objective in reward.objectives.values():
            if not objective.costly:
                objective(sets)
