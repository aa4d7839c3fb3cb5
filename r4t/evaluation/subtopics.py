"""Lists of items, and the relevant items with their subtopics → α-nDCG and subtopic recall.

Both come from ``ir-measures`` with ``pyndeval`` (TREC's own ndeval), in the extra ``eval``.
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


class Subtopics:
    """The relevant items of B queries with their subtopics, ready to judge lists of k items.

    * α-nDCG@k (Clarke et al. 2008): the gain of an item is ``(1 − α)^r``, if r items before it have
      its subtopic, divided by ``log2(1 + rank)``; for an item with several subtopics, the sum over
      these. The sum of gains is divided by that of the best list, found greedily.
    * Subtopic recall@k (Zhai et al. 2003): share of the query's subtopics for which the list holds
      a relevant item.

    Args:
        relevant: For each of B queries, catalog row → subtopic of its relevant items, or a tuple of
            subtopics.
        depth: k, 1 … 20.
        alpha: α, 0 … 1: the share of its gain that an item loses if its subtopic was answered before.

    Raises:
        InputError: If ``depth`` is out of range, or the packages are not installed.

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
                expected=f"lists of 1 to {DEEPEST} items for α-nDCG and subtopic recall",
                found=f"set_size {depth}",
                remedy="Evaluate with a smaller set_size to include them.",
            )
        if not all(importlib.util.find_spec(name) for name in ("ir_measures", "pyndeval")):
            raise InputError(
                expected="the packages ir-measures and pyndeval for α-nDCG and subtopic recall",
                found="them not installed",
                remedy="Install them with pip install 'r4t[eval]'.",
            )
        import ir_measures

        measures = {
            ALPHA_NDCG: ir_measures.alpha_nDCG(alpha=alpha) @ depth,
            SUBTOPIC_RECALL: ir_measures.StRecall @ depth,
        }
        self._answerable = [len(items) > 0 for items in relevant]
        judged = [
            ir_measures.Qrel(str(query), str(row), 1, str(subtopic))
            for query, items in enumerate(relevant)
            for row, of_row in items.items()
            for subtopic in (of_row if isinstance(of_row, tuple) else (of_row,))
        ]
        # ir-measures warns on stderr about queries with one subtopic each, as if by mistake.
        with contextlib.redirect_stderr(io.StringIO()):
            # One evaluator per measure: several measures share one pass over the lists, and those
            # of another α than the first would find them consumed and return 0.
            self._judges = {
                name: ir_measures.evaluator([measure], judged) for name, measure in measures.items()
            }

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        """Judge B lists of distinct catalog rows (B, M), best first, −1 for padding.

        Returns:
            "alpha nDCG" and "subtopic recall", each (B,) from 0 to 1, float64; NaN if no item is
            relevant to the query.
        """
        from ir_measures import ScoredDoc

        lists = [
            ScoredDoc(str(query), str(row), -float(rank))
            for query, items in enumerate(rows.tolist())
            for rank, row in enumerate(items)
            if row >= 0
        ]
        start = [0.0 if answerable else torch.nan for answerable in self._answerable]
        scores = {name: torch.tensor(start, dtype=torch.float64) for name in self._judges}
        for name, judge in self._judges.items():
            for metric in judge.iter_calc(lists):
                scores[name][int(metric.query_id)] = metric.value
        return scores


def of_references(references: Tensor, codes: Tensor) -> list[dict[int, str]]:
    """Reference items with the value of a metadata column as subtopic.

    An item without a value is its own subtopic.

    Takes (B, R) catalog rows, −1 for padding, and the (N,) codes of ``Catalog.codes``.

    Examples:
        >>> of_references(torch.tensor([[0, 2, -1]]), torch.tensor([7, 7, -1]))
        [{0: 'value 7', 2: 'item 2'}]
    """
    code = codes.tolist()
    return [
        {row: f"value {code[row]}" if code[row] >= 0 else f"item {row}" for row in rows if row >= 0}
        for rows in references.tolist()
    ]


def of_fits(fits: Tensor, slots: Tensor) -> list[dict[int, str]]:
    """Fitting items (B, N) bool with their slots (N,) as subtopics."""
    kinds = slots.tolist()
    rows = [fit.nonzero().flatten().tolist() for fit in fits]
    return [{row: f"slot {kinds[row]}" for row in fitting} for fitting in rows]


def of_gold(references: Tensor, facets: Tensor) -> list[dict[int, tuple[int, ...]]]:
    """Reference items with their gold facets as subtopics; those in no facet are not relevant.

    Takes (B, R) catalog rows, −1 for padding, and (B, R, F) bool, which are in which facet.

    Examples:
        >>> of_gold(torch.tensor([[8, 9]]), torch.tensor([[[True, True], [False, False]]]))
        [{8: (0, 1)}]
    """
    members: list[dict[int, tuple[int, ...]]] = [{} for _ in range(len(references))]
    for query, place, facet in facets.nonzero().tolist():
        row = int(references[query, place])
        members[query][row] = (*members[query].get(row, ()), facet)
    return members
