"""A diffusion retriever → a method: all directions at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from r4t.choice import QueryTime
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import anchored
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed

if TYPE_CHECKING:
    from r4t.diffusion.generator import DirectionGenerator


@dataclass
class DiffusionMethod:
    """Searches with directions that a diffusion retriever generates together.

    It may generate more directions than it uses: all L rows of several draws, and a choice keeps
    k of them by an objective. Without a choice it uses the first k of one draw: rows have no order.

    Args:
        searcher: The frozen retriever.
        generator: Generates L directions for each query and seed.
        set_size: Number k of directions used.
        pool_size: Number P of distinct items.
        query_time: How to choose among several generated sets, and to anchor directions.

    Raises:
        InputError: If there are fewer directions than ``set_size``.
    """

    searcher: Searcher
    generator: "DirectionGenerator"
    set_size: int = 10
    pool_size: int = 150
    query_time: QueryTime = QueryTime()
    key: str = "diffusion"
    name: str = "R4T-Diffusion"
    draws: int | None = None

    def __post_init__(self) -> None:
        most = _directions(self.generator, self.query_time)
        if self.set_size > most:
            raise InputError(
                expected=f"at most {most} directions, as many as the retriever generates",
                found=f"set_size {self.set_size}",
                remedy="Ask for fewer, or distill with a larger set_size.",
            )

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        choice = self.query_time.choice
        draws = 1 if choice is None else choice.draws
        seeds = [query_seed(query.id, draw) for query in queries]
        seeds = [query_seed(str(seed), number) for seed in seeds for number in range(draws)]
        repeated = vectors.repeat_interleave(draws, 0)
        rows = anchored(repeated, self.generator(repeated, seeds), self.query_time.anchor)
        rows = rows.unflatten(0, (len(vectors), draws))  # (B, M, L, d)
        if choice is None:
            directions = rows[:, 0, : self.set_size]
        else:
            directions = choice(self.searcher, vectors, rows, self.set_size)
        texts = [query.text for query in queries]
        return self.searcher.retrieve(
            vectors, directions, query_texts=texts, pool_size=self.pool_size
        )

    @classmethod
    def load(
        cls, searcher: Searcher, set_size: int, pool_size: int, *, folder: Path, key: str, name: str
    ) -> "DiffusionMethod":
        """Load what step 3 or 4 exported, with at most ``set_size`` directions."""
        from r4t.diffusion.generator import DirectionGenerator

        generator, query_time = DirectionGenerator.load(folder), QueryTime.load(folder)
        size = min(set_size, _directions(generator, query_time))
        return cls(searcher, generator, size, pool_size, query_time, key, name)


def _directions(generator: "DirectionGenerator", query_time: QueryTime) -> int:
    """How many directions there are to choose from."""
    choice = query_time.choice
    draws = choice.draws if choice is not None and choice.pools_rows else 1
    return generator.set_size * draws
