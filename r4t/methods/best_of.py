"""Several draws of a language model → the best by a reward (paper, §7: N = 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.methods.language import LanguageMethod
from r4t.methods.method import references_of
from r4t.reward import Reward
from r4t.sets import ANSWERS, SetBatch


@dataclass
class BestOf:
    """The best of N fan-outs of a language model, chosen by a reward.

    Draw d takes the best of the model's draws d · N to d · N + N − 1. A set that the reward cannot
    score is never chosen over one that it can.

    Args:
        method: Draws the fan-outs.
        reward: Chooses. Unless ``oracle``, it must not read references, which are the answers.
        samples: N, at least 1.
        oracle: Whether the reward may read the references.

    Raises:
        InputError: If the reward reads references and ``oracle`` is False; or, when called, if
            ``oracle`` is True and a query has no references.
    """

    method: LanguageMethod
    reward: Reward
    samples: int = 5
    oracle: bool = False
    key: str = "best-of"
    name: str = "Best-of-5"
    draws: int | None = None

    def __post_init__(self) -> None:
        if self.reward.deciding_needs & ANSWERS and not self.oracle:
            raise InputError(
                expected=f"objectives that choose for {self.name} without the references, which are "
                "the answers",
                found=f"{sorted(self.reward.weights)}",
                remedy="Choose by other objectives, or mark the method as an oracle (oracle=True).",
            )

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        draws = range(draw * self.samples, (draw + 1) * self.samples)
        sets = self.method.sets(queries, vectors, draws)
        scored = sets
        if self.oracle:
            references_of(self.name, queries, self.method.searcher)  # refuses queries without
            repeated = [query for query in queries for _ in range(self.samples)]
            scored = sets.extended(**self.method.searcher.reference_fields(repeated))
        scores = self.reward.score(scored).nan_to_num(nan=-torch.inf)
        best = scores.view(len(queries), self.samples).argmax(1)
        return sets.select(torch.arange(len(queries)) * self.samples + best)
