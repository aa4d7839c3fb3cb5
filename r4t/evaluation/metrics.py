"""``SetBatch`` → the measures as torchmetrics metrics, reduced across ranks."""

from collections.abc import Callable, Sequence

from torch import Tensor
from torchmetrics import MetricCollection

from r4t.errors import InputError
from r4t.evaluation import measures
from r4t.evaluation.subtopics import ALPHA_NDCG, SUBTOPIC_RECALL, Subtopics, of_references
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.sets import SetBatch


class AcrossRunVendi(ObjectiveMetric):
    """Mean over all queries, on every rank, of how differently a method answers them again.

    See ``measures.vendi_across_runs``; queries of which no run has a member are left out.
    """

    def __init__(self, name: str = "vendi_across_runs") -> None:
        super().__init__(measures.vendi_across_runs, name)  # type: ignore[arg-type]

    def update(self, runs: Sequence[SetBatch] | Tensor) -> None:  # type: ignore[override]
        """Add N sets with directions of the same B queries, or (B,) scores of theirs."""
        super().update(runs)  # type: ignore[arg-type]


class SubtopicScore:
    """Sets with ``references`` and ``catalog`` → α-nDCG@k or subtopic recall@k of their k items.

    Args:
        measure: ``subtopics.ALPHA_NDCG`` or ``subtopics.SUBTOPIC_RECALL``.
        field: Metadata column whose values are the subtopics of the reference items.
    """

    def __init__(self, measure: str, field: str) -> None:
        self.measure = measure
        self.field = field

    def __call__(self, sets: SetBatch) -> Tensor:
        """Return (B,) from 0 to 1; NaN without references.

        Raises:
            InputError: The sets carry no references or no catalog, or the catalog no such column.
        """
        if sets.references is None or sets.catalog is None:
            raise InputError(
                f"{self.measure} needs sets with ['catalog', 'references'], found sets with "
                f"{sorted(sets.present)}; retrieve with a Searcher, for queries with references."
            )
        relevant = of_references(sets.references, sets.catalog.codes(self.field)[0])
        return Subtopics(relevant, sets.set_size)(sets.items.cpu())[self.measure]


def measure_metrics(
    prefix: str = "", references: bool = False, subtopic_field: str | None = None
) -> MetricCollection:
    """Return the measures of returned items, for a LightningModule to update and log.

    Args:
        prefix: Before each name, such as "val/": they are logged as ``val/vendi/mean``.
        references: With recall and hit, of sets that carry ``references`` and ``pool``; queries
            without a reference are left out.
        subtopic_field: With α-nDCG and subtopic recall by this metadata column; needs the extra
            ``eval``.

    Examples:
        ``self.measures = measure_metrics("val/")``, then ``self.measures.update(sets)`` in each
        validation step and ``self.log_dict(self.measures.compute())`` at its end.
    """
    found: dict[str, Callable[[SetBatch], Tensor]] = {
        "vendi": measures.item_vendi,
        "cosine": measures.mean_cosine,
    }
    if references:
        found |= {"recall": measures.pool_recall, "hit": measures.pool_hit}
    if subtopic_field is not None:
        found["alpha_ndcg"] = SubtopicScore(ALPHA_NDCG, subtopic_field)
        found["subtopic_recall"] = SubtopicScore(SUBTOPIC_RECALL, subtopic_field)
    return objective_metrics(found, prefix)
