"""Test queries → what is known of their answers, and what that lets us measure of any method's sets."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.evaluation import measures, subtopics
from r4t.evaluation.results import ITEMS, Values, listed
from r4t.search import Searcher
from r4t.sets import SetBatch, pad_rows

SUBTOPIC_FIELD = "category"


class GroundTruth:
    """What is known of the queries besides their texts: references, latent facets, subtopics."""

    def __init__(
        self,
        searcher: Searcher,
        queries: Sequence[Query],
        truth: FacetTruth | None,
        subtopic_field: str | None,
    ) -> None:
        self.left_out: dict[str, str] = {}
        self._searcher = searcher
        self._truth = truth
        self._referenced = any(query.references for query in queries)
        self._codes: Tensor | None = None
        if self._referenced and truth is None:
            self._codes = self._read(subtopic_field)

    def _read(self, subtopic_field: str | None) -> Tensor | None:
        """The N items' subtopics; None where nobody named a column and the usual one will not do."""
        catalog = self._searcher.catalog
        if subtopic_field is not None:
            return catalog.codes(subtopic_field)[0]
        try:
            return catalog.codes(SUBTOPIC_FIELD)[0]
        except InputError as error:
            self._leave_out(str(error))
            return None

    def _leave_out(self, reason: str) -> None:
        self.left_out |= {subtopics.ALPHA_NDCG: reason, subtopics.SUBTOPIC_RECALL: reason}

    def fields(self, queries: list[Query]) -> dict[str, Any]:
        """What every method's sets for these queries carry."""
        rows = [self._searcher.catalog.rows(query.references) for query in queries]
        return {
            "query_texts": [query.text for query in queries],
            "references": pad_rows(rows) if self._referenced else None,
            "catalog": self._searcher.catalog,
            "popularity": self._searcher.popularity,
        }

    def judge(self, queries: list[Query], got: SetBatch) -> Callable[[SetBatch], dict[str, Values]]:
        """Return what measures the ``returned`` sets of any method for these queries."""
        fits = None if self._truth is None else self._truth.fits([query.id for query in queries])
        listing = self._listing(got, fits)

        def measured(sets: SetBatch) -> dict[str, Values]:
            found = measures.of_items(sets)
            if fits is not None and self._truth is not None:
                found |= measures.of_facets(sets, fits, self._truth.slots)
            if listing is not None:
                found |= listing(sets.items)
            if fits is not None:  # slots are the subtopics: facet recall says the same
                found.pop(subtopics.SUBTOPIC_RECALL, None)
            return {ITEMS + name: listed(scores) for name, scores in found.items()}

        return measured

    def _listing(self, got: SetBatch, fits: Tensor | None) -> subtopics.Subtopics | None:
        """What judges lists by subtopics, where they are known."""
        if fits is not None and self._truth is not None:
            relevant = subtopics.of_fits(fits, self._truth.slots)
        elif self._codes is not None and got.references is not None:
            relevant = subtopics.of_references(got.references, self._codes)
        else:
            return None
        try:
            return subtopics.Subtopics(relevant, got.set_size)
        except InputError as error:
            self._leave_out(str(error))
            return None
