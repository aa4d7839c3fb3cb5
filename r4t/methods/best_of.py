"""Several draws of a language model → the best by a reward (paper, §7: N = 5)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.methods.language import LanguageMethod
from r4t.reward import Reward
from r4t.sets import SetBatch


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

    draws: int | None = None

    def __init__(
        self,
        method: LanguageMethod,
        reward: Reward,
        samples: int = 5,
        oracle: bool = False,
        key: str = "best-of",
        name: str = "Best-of-5",
    ) -> None:
        if "references" in reward.deciding_needs and not oracle:
            raise InputError(
                expected=f"objectives that choose for {name} without the references, which are the "
                "answers",
                found=f"{sorted(reward.weights)}",
                remedy="Choose by other objectives, or mark the method as an oracle (oracle=True).",
            )
        self.key, self.name = key, name
        self.method, self.reward = method, reward
        self.samples, self.oracle = samples, oracle

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        draws = range(draw * self.samples, (draw + 1) * self.samples)
        sets = self.method.sets(queries, vectors, draws)
        scores = self.reward.score(self._with_references(sets, queries) if self.oracle else sets)
        scores = scores.nan_to_num(nan=-torch.inf).view(len(queries), self.samples)
        return sets.select(torch.arange(len(queries)) * self.samples + scores.argmax(1))

    def _with_references(self, sets: SetBatch, queries: Sequence[Query]) -> SetBatch:
        bare = next((query for query in queries if not query.references), None)
        if bare is not None:
            raise InputError(
                expected=f"references for every query, by which {self.name} chooses",
                found=f"none for {bare.text!r} (id {bare.id!r})",
                remedy="Leave the method out for such queries.",
            )
        rows = self.method.searcher.references(queries)
        assert rows is not None  # each query has some
        return sets.extended(references=rows.repeat_interleave(self.samples, 0))
