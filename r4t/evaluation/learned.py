"""A run's models → methods to compare: fan-outs by a language model or by the diffusion retriever."""

from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.retriever import FanOut
from r4t.reward import Reward
from r4t.seeds import query_seed
from r4t.sets import SetBatch


@dataclass
class FanOutMethod:
    """The sets of one fan-out a query.

    Attributes:
        name: In the tables.
        fan_out: Writes the directions.
        pool_size: Distinct items P retrieved a query.
        draw: Which of a query's random draws to take.
    """

    name: str
    fan_out: FanOut
    pool_size: int = 150
    draw: int = 0

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        texts = [query.text for query in queries]
        seeds = [query_seed(query.id, self.draw) for query in queries]
        return self.fan_out(texts, z, seeds, pool_size=self.pool_size)


@dataclass
class BestOf:
    """The best of N fan-outs a query, chosen by a reward (paper, §7: N = 5, the training reward).

    Attributes:
        name: In the tables.
        fan_out: Writes the directions.
        reward: Chooses; it must not read references, which are the answers.
        samples: N.
        pool_size: Distinct items P retrieved a query.

    Raises:
        InputError: The reward reads references.
    """

    name: str
    fan_out: FanOut
    reward: Reward
    samples: int = 5
    pool_size: int = 150

    def __post_init__(self) -> None:
        if "references" in self.reward.needs:
            raise InputError(
                f"Best-of-{self.samples} must choose without the references, which are the answers "
                f"— found the objectives {sorted(self.reward.weights)}; choose by others."
            )

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        texts = [query.text for query in queries for _ in range(self.samples)]
        seeds = [query_seed(q.id, draw) for q in queries for draw in range(self.samples)]
        repeated = z.repeat_interleave(self.samples, 0)
        sets = self.fan_out(texts, repeated, seeds, pool_size=self.pool_size)
        scores, _ = self.reward(sets)
        best = scores.view(len(queries), self.samples).argmax(1)
        return sets.select(torch.arange(len(queries)) * self.samples + best)
