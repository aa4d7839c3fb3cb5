"""Queries → the sets that a run answers them with, on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r4t.data.queries import Query


def print_examples(run: str, queries: Sequence["Query"]) -> None:
    """Print the sets of a few queries, as the best model that the run has answers them."""
    from r4t.report.terminal import print_set
    from r4t.retriever import Retriever
    from r4t.run import MODELS, Run

    folder = Run.open(run).folder
    names = [name for name, place in MODELS.items() if (folder / place).is_dir()]
    if not names:
        return
    retriever = Retriever.load(run, names[0])
    for query in retriever.searcher.searchable(list(queries))[0]:
        print_set(retriever(query.text), f"{query.text}   (answered by {names[0]})")
