"""Lists of items and the subtopics of the relevant ones → α-nDCG and subtopic recall.

Both come from ``ir-measures`` with ``pyndeval`` (TREC's own ndeval), of the extra ``eval``.
"""

import contextlib
import importlib.util
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError

ALPHA_NDCG, SUBTOPIC_RECALL = "alpha nDCG", "subtopic recall"
DEEPEST = 20  # the longest list that ndeval reads
ABSENT = (
    "α-nDCG and subtopic recall need the packages ir-measures and pyndeval — found them not "
    "installed — install them with pip install 'r4t[eval]'."
)


def available() -> bool:
    """Whether the packages that compute these measures are installed."""
    return all(importlib.util.find_spec(name) for name in ("ir_measures", "pyndeval"))


class Subtopics:
    """The relevant items of B queries, each with its subtopic, ready to judge lists of k.

    * α-nDCG@k (Clarke et al. 2008): an item's gain is ``(1 − α)^r`` where r items before it have
      its subtopic, divided by ``log2(1 + rank)``, and their sum by that of the best list, found
      greedily.
    * Subtopic recall@k (Zhai et al. 2003): share of the query's subtopics of which the list holds
      a relevant item.

    Args:
        relevant: For each of B queries, catalog row → subtopic of its relevant items.
        depth: k, 1 … 20.
        alpha: α, 0 … 1: how much of its worth a subtopic that was answered before loses.

    Raises:
        InputError: ``depth`` is out of range, or the packages are not installed.

    Examples:
        Two tops (1, 2) and a pair of shoes (3) fit. The second top adds no subtopic.

        >>> subtopics = Subtopics([{1: "top", 2: "top", 3: "shoes"}], depth=2)
        >>> subtopics(torch.tensor([[1, 2]]))["subtopic recall"].tolist()
        [0.5]
    """

    def __init__(
        self, relevant: Sequence[Mapping[int, Any]], depth: int, alpha: float = 0.5
    ) -> None:
        if not 1 <= depth <= DEEPEST:
            raise InputError(
                f"α-nDCG and subtopic recall read lists of 1 to {DEEPEST} items — found {depth} "
                "— evaluate with a smaller set_size to have them."
            )
        if not available():
            raise InputError(ABSENT)
        import ir_measures

        wanted = {
            ALPHA_NDCG: ir_measures.alpha_nDCG(alpha=alpha) @ depth,
            SUBTOPIC_RECALL: ir_measures.StRecall @ depth,
        }
        self._answerable = [len(items) > 0 for items in relevant]
        judged = [
            ir_measures.Qrel(str(query), str(row), 1, str(subtopic))
            for query, items in enumerate(relevant)
            for row, subtopic in items.items()
        ]
        # A warning on stderr takes queries that have one subtopic each for a mistake.
        with contextlib.redirect_stderr(io.StringIO()):
            # One evaluator a measure: several would share one pass over the lists, and measures of
            # another α than that of the first would find them read already and return 0.
            self._judges = {
                name: ir_measures.evaluator([measure], judged) for name, measure in wanted.items()
            }

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        """Judge B lists.

        Args:
            rows: (B, M) distinct catalog rows, best first, −1 where there is none.

        Returns:
            "alpha nDCG" and "subtopic recall", each (B,) from 0 to 1, float64; NaN where no item
            is relevant to the query.
        """
        from ir_measures import ScoredDoc

        listed = [
            ScoredDoc(str(query), str(row), -float(rank))
            for query, items in enumerate(rows.tolist())
            for rank, row in enumerate(items)
            if row >= 0
        ]
        start = [0.0 if is_known else torch.nan for is_known in self._answerable]
        found = {name: torch.tensor(start, dtype=torch.float64) for name in self._judges}
        for name, judge in self._judges.items():
            for metric in judge.iter_calc(listed):
                found[name][int(metric.query_id)] = metric.value
        return found


def of_references(references: Tensor, codes: Tensor) -> list[dict[int, str]]:
    """Reference items with their subtopics: the value of a metadata column.

    An item without a value is a subtopic of its own.

    Args:
        references: (B, R) catalog rows, −1 padded.
        codes: (N,) numbers of the values, −1 for none (``Catalog.codes``).

    Examples:
        >>> of_references(torch.tensor([[0, 2, -1]]), torch.tensor([7, 7, -1]))
        [{0: 'value 7', 2: 'item 2'}]
    """
    kinds = codes.tolist()

    def subtopic(row: int) -> str:
        return f"value {kinds[row]}" if kinds[row] >= 0 else f"item {row}"

    return [{row: subtopic(row) for row in rows if row >= 0} for rows in references.tolist()]


def of_fits(fits: Tensor, slots: Tensor) -> list[dict[int, str]]:
    """Fitting items (B, N) bool with their slots (N,) as subtopics."""
    kinds = slots.tolist()
    rows = [fit.nonzero().flatten().tolist() for fit in fits]
    return [{row: f"slot {kinds[row]}" for row in of} for of in rows]
