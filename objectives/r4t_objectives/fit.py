"""Retrieved items and a judge of single items → its mean grade of the members."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.grades import BudgetedGrader, Grader
from r4t_objectives.members import is_only
from r4t_objectives.shopper import Shopper


class Fit(Objective):
    """Mean grade of the members by a judge of single items.

    From 0 (nothing fits the query) to 1 (everything does). It judges each item alone, so it does not
    hear whether the items differ; combine it with an objective that does. Because grades belong to
    pairs of a query and an item, a set whose items have been graded before costs nothing.

    With a ``budget`` at most that many answers of the judge are paid for, a few in each call; ``facts``
    tell how many were. Until they are spent, other members have no grade. Then a small model of the
    grades answers for every other pair, and ``facts`` and a warning tell how well it agrees with the
    judge on queries that it has not seen.

    Members without a grade are left out of the mean; a set without any grade scores NaN.

    Args:
        by: The judge, such as ``Judge(rubric="fit")`` for a language model; by default the simulated
            judge ``Shopper``, for the embedded wardrobe alone.
        budget: Answers that may be paid for; None for no limit.
        book: JSONL file of the bought grades, with a ``budget``. It belongs to one run: resumed or
            started again, the run finds its grades and what it has spent there. None for memory
            alone.
        spread: Calls over which the budget is spent at least, so that it reaches many queries.

    Raises:
        InputError: If ``budget`` or ``spread`` is below 1, or a ``book`` comes without a budget; or,
            when called, if the judge refuses the sets, or the book belongs to another catalog or judge.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog", "query_texts"})
    averages = True
    example: ClassVar[dict[str, Any]] = {  # `r4t objectives fit` prints it
        "by": {
            "class_path": "r4t_objectives.judge.Judge",
            "init_args": {"rubric": "fit", "model": "qwen3-4b"},
        },
        "budget": 5000,
        "book": "runs/mine/grades.jsonl",
    }

    def __init__(
        self,
        by: Grader | None = None,
        budget: int | None = None,
        book: str | None = None,
        spread: int = 50,
    ) -> None:
        if book is not None and budget is None:
            raise InputError(
                expected="a budget with a book of grades",
                found=f"the book {book} alone",
                remedy="Add a budget; without one, the judge's own cache keeps its answers.",
            )
        self.by: Grader = Shopper() if by is None else by
        self.partial = self.by.partial or budget is not None
        self.costly = self.by.costly and budget is None
        self._grader = None if budget is None else BudgetedGrader(self.by, budget, book, spread)

    def accepts(self, sets: SetBatch) -> bool:
        """Whether ``sets`` carries the fields, and the judge can grade its items."""
        return super().accepts(sets) and self.by.accepts(sets)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) mean grades."""
        return self._grades(sets).nanmean(-1).to(sets.item_embeddings)

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``; members without a grade change nothing."""
        grades = self._grades(sets)
        count = (~grades.isnan()).sum(-1, keepdim=True)
        without = (grades.nansum(-1, keepdim=True) - grades) / (count - 1)
        # 0 / 0, for the only grade, is NaN, as a set without any grade scores.
        mean = grades.nanmean(-1, keepdim=True)
        losses = torch.where(grades.isnan(), torch.where(count > 0, 0.0, torch.nan), mean - without)
        losses = torch.where(is_only(sets.mask), mean - self.bounds[0], losses)
        return losses.to(sets.item_embeddings)

    def _grades(self, sets: SetBatch) -> Tensor:
        """Return the grades (B, k) of the members, NaN where there is none."""
        assert sets.catalog is not None  # __call__ checked `needs`
        assert sets.query_texts is not None
        grader = self.by if self._grader is None else self._grader
        rows = torch.where(sets.mask, sets.items, -1)
        return grader.grades(sets.query_texts, sets.catalog, rows)

    def facts(self) -> dict[str, Any]:
        """Return what the judge tells, and the budget, the answers paid for, and the model."""
        return self.by.facts() | ({} if self._grader is None else self._grader.facts())
