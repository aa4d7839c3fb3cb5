"""Retrieved sets → tables on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from r4t.data.queries import Query
    from r4t.retriever import RetrievedSet


def print_set(answer: "RetrievedSet", title: str | None = None) -> None:
    """Print one set: rank, title, both scores and, where there is one, the sub-query."""
    named = any(item.subquery for item in answer)
    heading = Text(title if title is not None else answer.query)  # as it is: [red] is no color
    table = Table(title=heading, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("item", overflow="fold", min_width=40)
    table.add_column("direction", justify="right")
    table.add_column("query", justify="right")
    if named:
        table.add_column("sub-query", overflow="fold")
    for rank, item in enumerate(answer, 1):
        cells = [str(rank), item.text, f"{item.score:.3f}", f"{item.query_score:.3f}"]
        table.add_row(*map(Text, cells), *([Text(item.subquery)] if named else []))
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    console.print("direction, query: cosine with the direction that found the item, and the query")


def print_examples(run: str, queries: Sequence["Query"]) -> None:
    """Print the sets of a few queries, as the best model that the run has answers them."""
    from r4t.retriever import Retriever
    from r4t.run import MODELS, Run

    folder = Run.open(run).folder
    names = [name for name, place in MODELS.items() if (folder / place).is_dir()]
    if not names:
        return
    retriever = Retriever.load(run, names[0])
    for query in retriever.searcher.searchable(list(queries))[0]:
        print_set(retriever(query.text), f"{query.text}   (answered by {names[0]})")
