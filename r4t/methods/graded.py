"""A judge and training queries → its verdict on every item, and what baselines learn from that.

A method that was tuned on a judge of single items has the judge's knowledge. These baselines have the
same, so a table can tell knowledge from method.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.objective import load_objective
from r4t.run import Run
from r4t.search import Searcher

FITS = 0.5  # from this grade on an item counts as fitting
AT_ONCE = 64  # queries graded in a call


@dataclass(frozen=True)
class GradedQueries:
    """Training queries and the items that a judge likes for each."""

    queries: list[Query]  # n of them
    vectors: Tensor  # (n, d) unit vectors
    fits: Tensor  # (n, N) bool, whether the judge finds that the item fits
    slots: Tensor  # (N,) long, the slot of each item

    def facts(self) -> dict[str, Any]:
        """Return plain values of all that is known but the vectors: queries, verdicts and slots."""
        tables = {"fits": self.fits, "slots": self.slots}
        digests = {
            name: hashlib.sha256(table.contiguous().numpy().tobytes()).hexdigest()
            for name, table in tables.items()
        }
        return {"queries": [(query.id, query.text) for query in self.queries], **digests}

    def with_references(self, searcher: Searcher) -> list[Query]:
        """Return the queries with references: of each slot the fitting item nearest to the query."""
        return [
            Query(query.id, query.text, "graded", tuple(searcher.catalog.ids[row] for row in rows))
            for query, rows in zip(self.queries, self._nearest_by_slot(searcher))
        ]

    def centers(self, embeddings: Tensor) -> Tensor:
        """Return (n, d) unit vectors: the mean of the fitting items less that of all (N, d) items.

        So wrong verdicts, which fall on items of all kinds, cancel. Zero where no item fits.
        """
        counts = self.fits.sum(-1, keepdim=True).clamp(min=1)
        means = torch.cat([part.float() @ embeddings for part in self.fits.split(AT_ONCE)]) / counts
        return normalize((means - embeddings.mean(0)) * self.fits.any(-1, keepdim=True))

    def _nearest_by_slot(self, searcher: Searcher) -> list[list[int]]:
        """Return the catalog rows for each query, the nearest first."""
        nearest: list[list[int]] = []
        for vectors, fits in zip(self.vectors.split(AT_ONCE), self.fits.split(AT_ONCE)):
            cosines = (vectors @ searcher.catalog.embeddings.T).masked_fill(~fits, -torch.inf)
            best = [
                cosines.masked_fill(self.slots != slot, -torch.inf).max(-1)
                for slot in self.slots.unique()
            ]
            scores, rows = torch.stack([b.values for b in best], 1), [b.indices for b in best]
            order = scores.argsort(-1, descending=True)
            ranked = torch.stack(rows, 1).gather(1, order).tolist()
            counts = (scores > -torch.inf).sum(-1).tolist()
            nearest += [row[:count] for row, count in zip(ranked, counts)]
        return nearest


def grade_queries(
    judge: Any, searcher: Searcher, queries: Sequence[Query], slots: Tensor
) -> GradedQueries:
    """Ask a judge about every item of the catalog for each query.

    Args:
        judge: An objective with ``grades``, such as ``shopper``.
        searcher: The frozen retriever.
        queries: Training queries; those that no item fits are left out.
        slots: (N,) long, the slot of each item.

    Raises:
        InputError: If the judge grades no single items, costs money, or refuses a query.
    """
    if not hasattr(judge, "grades") or judge.costly:
        raise InputError(
            expected="a judge of single items whose grades cost nothing, because every item is graded "
            "for every training query",
            found=f"{type(judge).__name__}{', which is costly' if judge.costly else ''}",
            remedy="Use shopper, on the embedded wardrobe.",
        )
    texts = [query.text for query in queries]
    every = torch.arange(len(searcher.catalog))
    parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
    fits = torch.cat(
        [
            judge.grades(part, searcher.catalog, every.expand(len(part), -1)) >= FITS
            for part in parts
        ]
    )
    known = fits.any(-1)
    kept = [query for query, is_known in zip(queries, known.tolist()) if is_known]
    vectors = searcher.encode([query.text for query in kept])
    return GradedQueries(kept, vectors, fits[known], slots)


def judge_of(run: Run) -> Any:
    """Return the simulated judge that a model of the run was tuned on; None if there is none."""
    for path in sorted(run.folder.glob("*/model/objectives.json")):
        for facts in json.loads(path.read_text(encoding="utf-8")).values():
            if facts.get("simulated"):
                return load_objective("shopper", error=facts["error"], seed=facts["seed"])
    return None
