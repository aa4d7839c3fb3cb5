"""Several draws of a method → the directions that a choice keeps of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from r4t.choice import Choice, QueryTime
from r4t.data.queries import Query
from r4t.methods.method import DrawsDirections, Method
from r4t.run import MODELS, Run
from r4t.sets import SetBatch


@dataclass
class Chosen:
    """The directions that a choice keeps of M draws of a method, k of M · k.

    Draw d takes draws d · M to d · M + M − 1 of the method. Every method is offered as many directions
    as it searches with, so that rows with a choice compare methods, not numbers of candidates.

    Args:
        method: Has no limit of draws.
        choice: Keeps directions; its number of draws is M.
    """

    method: DrawsDirections
    choice: Choice
    key: str = field(init=False)
    name: str = field(init=False)
    draws: int | None = None

    def __post_init__(self) -> None:
        label = self.choice.label
        self.key, self.name = f"{self.method.key}+{label}", f"{self.method.name} + {label}"

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        count, searcher = self.choice.draws, self.method.searcher
        draws = range(draw * count, (draw + 1) * count)
        rows, texts = self.method.draw_directions(queries, vectors, draws)
        return self.choice.retrieve(
            searcher,
            vectors,
            rows,
            rows.shape[2],
            texts=texts,
            query_texts=[query.text for query in queries],
            pool_size=self.method.pool_size,
        )


def unused_choices(run: Run, methods: Sequence[Method]) -> list[str]:
    """Return a sentence if retrievers choose when they answer users, but not among ``methods``."""
    names = [
        method.name
        for method in methods
        if method.key in MODELS
        and QueryTime.load(run.folder / MODELS[method.key]).choice is not None
    ]
    if not names:
        return []
    return [
        f"For users (r4t retrieve), {' and '.join(names)} choose the best directions of several "
        "draws; here they answer with one draw, as the other methods do."
    ]
