"""Queries and completions → the sets of every query with every completion."""

from collections.abc import Sequence

from r4t.data.queries import Query
from r4t.fanout.formats import FanoutFormat
from r4t.search import Searcher
from r4t.sets import SetBatch


def exchanged(
    queries: Sequence[Query],
    completions: Sequence[str],
    form: FanoutFormat,
    searcher: Searcher,
    pool_size: int | None = None,
) -> SetBatch:
    """Read each of m completions as the answer to each of n queries, and retrieve.

    Row i·m + j of the n·m sets is query i with completion j: with ``Expand``, the words of list j
    added to query i. The encoder must know a word of each query.
    """
    lists = [form.parse(query.text, text) for query in queries for text in completions]
    return searcher.retrieve_groups(list(queries), lists, form.set_size, pool_size, form.anchor)
