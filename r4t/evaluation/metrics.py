"""``SetBatch`` → the measures as torchmetrics metrics, reduced across ranks."""

from functools import partial

from torch import Tensor
from torchmetrics import MetricCollection

from r4t.errors import InputError
from r4t.evaluation import measures
from r4t.evaluation.subtopics import ALPHA_NDCG, SUBTOPIC_RECALL, Subtopics, of_references
from r4t.metrics import Score, objective_metrics
from r4t.sets import SetBatch


def subtopic_score(sets: SetBatch, measure: str, field: str) -> Tensor:
    """α-nDCG@k or subtopic recall@k of the k items, (B,) from 0 to 1; NaN without references.

    ``measure`` names it, as ``subtopics`` does; ``field`` is the metadata column whose values are the
    subtopics of the reference items.

    Raises:
        InputError: If the sets carry no references or no catalog, or there is no such column.
    """
    if sets.references is None or sets.catalog is None:
        raise InputError(
            expected=f"sets with ['catalog', 'references'] for {measure}",
            found=f"sets with {sorted(sets.present)}",
            remedy="Retrieve them with a Searcher, for queries with references.",
        )
    relevant = of_references(sets.references, sets.catalog.codes(field)[0])
    return Subtopics(relevant, sets.set_size)(sets.items.cpu())[measure]


def measure_metrics(
    prefix: str = "", references: bool = False, subtopic_field: str | None = None
) -> MetricCollection:
    """Return the measures of returned items, for a LightningModule to update and log.

    For Vendi across runs, update ``ObjectiveMetric(measures.vendi_across_runs)`` with N runs.

    Args:
        prefix: Before each name, such as "val/": they are logged as ``val/vendi/mean``.
        references: Adds recall, set recall and hit, for sets that carry ``references`` and ``pool``; queries
            without references are left out.
        subtopic_field: Adds α-nDCG and subtopic recall by this metadata column; needs the extra
            ``eval``.

    Examples:
        ``self.measures = measure_metrics("val/")``, then ``self.measures.update(sets)`` in each
        validation step and ``self.log_dict(self.measures.compute())`` at its end.
    """
    scores: dict[str, Score] = {"vendi": measures.item_vendi, "cosine": measures.mean_cosine}
    if references:
        scores |= {"recall": measures.pool_recall, "set_recall": measures.set_recall}
        scores["hit"] = measures.pool_hit
    if subtopic_field is not None:
        for name, measure in (("alpha_ndcg", ALPHA_NDCG), ("subtopic_recall", SUBTOPIC_RECALL)):
            scores[name] = partial(subtopic_score, measure=measure, field=subtopic_field)
    return objective_metrics(scores, prefix)
