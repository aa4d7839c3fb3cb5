"""Test queries → their references, facets and subtopics, and the measures that need these."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query, cluster_queries
from r4t.errors import InputError
from r4t.evaluation import measures, subtopics
from r4t.evaluation.results import ITEMS, Values, listed
from r4t.search import Searcher
from r4t.sets import SetBatch, facet_members, pad_rows

SUBTOPIC_FIELD = "category"


class GroundTruth:
    """References, facets and subtopics of queries.

    Facets are latent ones, or the gold facets of the queries' references.

    Args:
        searcher: Whose catalog holds the reference items.
        queries: All queries of an evaluation.
        facets: Latent facets, if the data has them.
        subtopic_field: Metadata column whose values are the subtopics of the reference items;
            "category" by default, if the catalog has it. Facets take precedence.

    Attributes:
        left_out: Measure → why it cannot be measured.

    Raises:
        InputError: If the catalog has no column ``subtopic_field``.
    """

    def __init__(
        self,
        searcher: Searcher,
        queries: Sequence[Query],
        facets: FacetTruth | None = None,
        subtopic_field: str | None = None,
    ) -> None:
        self.left_out: dict[str, str] = {}
        self._searcher, self._facets = searcher, facets
        self._referenced = any(query.references for query in queries)
        self._is_gold = facets is None and any(query.facets for query in queries)
        self._codes: Tensor | None = None
        if self._referenced and facets is None and not self._is_gold:
            try:
                self._codes = searcher.catalog.codes(subtopic_field or SUBTOPIC_FIELD)[0]  # (N,)
            except InputError as error:
                if subtopic_field is not None:
                    raise
                self._leave_out(str(error))

    def _leave_out(self, reason: str) -> None:
        self.left_out |= {subtopics.ALPHA_NDCG: reason, subtopics.SUBTOPIC_RECALL: reason}

    def fields(self, queries: list[Query]) -> dict[str, Any]:
        """Return the fields that every method's sets for these queries carry."""
        catalog = self._searcher.catalog
        rows = [catalog.rows(query.references) for query in queries]
        members = [query.references for query in queries]
        facets = [query.facets for query in queries]
        return {
            "query_texts": [query.text for query in queries],
            "references": pad_rows(rows) if self._referenced else None,
            "facets": facet_members(members, facets) if self._is_gold else None,
            "catalog": catalog,
            "popularity": self._searcher.popularity,
            "bank": self._searcher.bank,
        }

    def clusters(self, queries: Sequence[Query]) -> list[str | int]:
        """Return the cluster of each query: intervals and tests count a cluster as one observation.

        Queries that name the same latent facets are one cluster. Without facets, it is those of
        ``cluster_queries``.
        """
        if self._facets is not None:
            return [*self._facets.combinations([query.id for query in queries])]
        return [*cluster_queries(queries)]

    def judge(
        self, queries: list[Query], items: SetBatch
    ) -> Callable[[SetBatch], dict[str, Values]]:
        """Return a function that measures the ``returned`` sets of any method for these queries."""
        facets = self._facets
        fits = None if facets is None else facets.fits([query.id for query in queries])
        by_subtopics = self._subtopics(items, fits)

        def measured(sets: SetBatch) -> dict[str, Values]:
            scores = measures.of_items(sets)
            if fits is not None and facets is not None:
                scores |= measures.of_facets(sets, fits, facets.slots)
            if self._is_gold:
                scores |= measures.of_gold_facets(sets)
            if by_subtopics is not None:
                scores |= by_subtopics(sets.items)
            if fits is not None or self._is_gold:  # subtopic recall is facet recall
                scores.pop(subtopics.SUBTOPIC_RECALL, None)
            return {ITEMS + name: listed(values) for name, values in scores.items()}

        return measured

    def _subtopics(self, items: SetBatch, fits: Tensor | None) -> subtopics.Subtopics | None:
        """Return the judge of lists by subtopics, if these are known."""
        if fits is not None and self._facets is not None:
            relevant: Sequence[Mapping[int, Any]] = subtopics.of_fits(fits, self._facets.slots)
        elif items.facets is not None and items.references is not None:
            relevant = subtopics.of_gold(items.references, items.facets)
        elif self._codes is not None and items.references is not None:
            relevant = subtopics.of_references(items.references, self._codes)
        else:
            return None
        try:
            return subtopics.Subtopics(relevant, items.set_size)
        except InputError as error:
            self._leave_out(str(error))
            return None
