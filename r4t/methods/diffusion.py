"""A diffusion retriever → a method: all directions at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from r4t.choice import QueryTime
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.search import Searcher
from r4t.sets import SetBatch

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
        most = self.query_time.most(self.generator.set_size)
        if self.set_size > most:
            raise InputError(
                expected=f"at most {most} directions, as many as the retriever generates",
                found=f"set_size {self.set_size}",
                remedy="Ask for fewer, or distill with a larger set_size.",
            )

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        sizes = (self.set_size, self.pool_size, draw)
        return self.query_time.answer(self.generator, self.searcher, queries, vectors, *sizes)

    def draw_directions(
        self, queries: Sequence[Query], vectors: Tensor, draws: Sequence[int]
    ) -> tuple[Tensor, list[list[str]] | None]:
        """See ``DrawsDirections``; the first k rows of each draw, without the method's own choice."""
        plain = replace(self.query_time, choice=None)
        return plain.rows(self.generator, queries, vectors, draws)[:, :, : self.set_size], None

    @classmethod
    def load(
        cls,
        searcher: Searcher,
        set_size: int,
        pool_size: int,
        *,
        folder: Path,
        key: str,
        name: str,
        query_time: QueryTime | None = None,
    ) -> "DiffusionMethod":
        """Load what step 3, 4 or 5 exported, with at most ``set_size`` directions.

        ``query_time`` replaces the exported one.
        """
        from r4t.diffusion.generator import DirectionGenerator

        generator = DirectionGenerator.load(folder)
        query_time = QueryTime.load(folder) if query_time is None else query_time
        size = min(set_size, query_time.most(generator.set_size))
        draws = 1 if generator.noises == 1 else None
        return cls(searcher, generator, size, pool_size, query_time, key, name, draws)
