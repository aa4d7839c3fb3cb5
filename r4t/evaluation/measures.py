"""``SetBatch`` → one number per query, measured on the items returned, alike for all methods.

Only ``vendi_across_runs`` reads directions; all other measures also apply to methods that pick items
without them (re-ranking). Higher is better, but for exposure; mean cosine and Vendi pull against each
other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import distinct_first, vendi
from r4t.sets import SetBatch


def item_vendi(sets: SetBatch) -> Tensor:
    """Vendi score (B,) of the returned items: 1 (all alike) … k; 0 if nothing was returned."""
    return vendi(sets.item_embeddings, sets.mask)


def mean_cosine(sets: SetBatch) -> Tensor:
    """Mean cosine (B,) of the returned items with the query, −1 … 1; 0 if nothing was returned."""
    cosine = torch.cosine_similarity(sets.item_embeddings, sets.query.unsqueeze(1), dim=-1)
    return (cosine * sets.mask).sum(-1) / sets.mask.sum(-1).clamp(min=1)


def pool_recall(sets: SetBatch) -> Tensor:
    """Share (B,) of the reference items that are in the pool (eq. 5); NaN without references."""
    present, pooled = _pooled_references(sets)
    return pooled.sum(-1).double() / present.sum(-1)  # float64, so that equal shares are equal


def set_recall(sets: SetBatch) -> Tensor:
    """Share (B,) of the reference items that are among the members; NaN without references.

    A set of k items cannot hold more than k of R reference items, so the most is min(1, k/R).
    """
    present, found = _found_references(sets, sets.items)
    return found.sum(-1).double() / present.sum(-1)


def pool_hit(sets: SetBatch) -> Tensor:
    """1 if at least one reference item is in the pool, else 0 (B,); NaN without references."""
    present, pooled = _pooled_references(sets)
    return torch.where(present.any(-1), pooled.any(-1).float(), torch.nan)


def _pooled_references(sets: SetBatch) -> tuple[Tensor, Tensor]:
    """Which references (B, R) exist, and which of them are in the pool."""
    if sets.pool is None:
        raise TypeError("recall and hit read 'references' and 'pool' of the SetBatch")
    return _found_references(sets, sets.pool)


def _found_references(sets: SetBatch, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Which references (B, R) exist, and which of them are among the catalog rows (B, M)."""
    references = sets.references
    if references is None:
        raise TypeError("recall, set recall and hit read 'references' of the SetBatch")
    return references >= 0, _found(references, rows)


def _found(references: Tensor, rows: Tensor) -> Tensor:
    """(B, R) bool: which references are among the listed rows (B, M)."""
    found = torch.zeros_like(references, dtype=torch.bool)
    for column, reference in enumerate(references.T):  # (B, R, M) at once could be large
        found[:, column] = (rows == reference.unsqueeze(1)).any(-1)
    return found & (references >= 0)


def vendi_across_runs(runs: Sequence[SetBatch]) -> Tensor:
    """How much a method's answers to the same query differ from run to run (paper, §7; N = 5).

    The directions of each of the N runs over B queries are averaged to one vector; the score (B,) is
    the Vendi score of these vectors, divided by N: from 1/N (all runs alike) to 1. A run without
    members has no vector and adds nothing; if no run has a member, the score is NaN.

    Raises:
        InputError: If a set has no directions.
    """
    means = torch.stack([_mean_direction(sets) for sets in runs], dim=1)  # (B, N, d)
    present = torch.stack([sets.mask.any(-1) for sets in runs], dim=1)
    scores = vendi(means, present) / len(runs)
    return torch.where(present.any(-1), scores, torch.nan)


def _mean_direction(sets: SetBatch) -> Tensor:
    if sets.directions is None:
        raise InputError(
            expected="sets with directions for Vendi across runs",
            found="sets without them",
            remedy="Measure it for methods that generate directions.",
        )
    total = (sets.directions * sets.mask.unsqueeze(-1)).sum(1)
    return total / sets.mask.sum(1, keepdim=True).clamp(min=1)


def exposure(items: Tensor) -> Tensor:
    """Share (n,) of each query's items that more than a tenth of all n queries get; lower is better.

    It shows a method that gives everybody the same: 0 if no item is returned that often, 1 if all
    are.

    Args:
        items: (n, k) catalog rows that one method returns for all queries of an evaluation, distinct
            within a query, −1 for padding. NaN for a query without items. With fewer than ten
            queries every item would count, so all are NaN.

    Examples:
        Item 7 is returned for two of ten queries, all others for one.

        >>> items = torch.tensor([[7, 0], [7, 1], *([n, n + 20] for n in range(10, 18))])
        >>> exposure(items)[:3].tolist()
        [0.5, 0.5, 0.0]
    """
    present = items >= 0
    if len(items) < 10:
        return torch.full((len(items),), torch.nan, dtype=torch.float64)
    counts = torch.bincount(items[present], minlength=1)
    often = 10 * counts > len(items)
    return (often[items.clamp(min=0)] & present).sum(-1).double() / present.sum(-1)


def of_items(sets: SetBatch) -> dict[str, Tensor]:
    """All measures that need only the sets; recalls and hit if these carry references."""
    scores = {"vendi": item_vendi(sets), "cosine": mean_cosine(sets)}
    if sets.references is not None and sets.pool is not None:
        scores |= {"recall": pool_recall(sets), "set recall": set_recall(sets)}
        scores["hit"] = pool_hit(sets)
    return scores


def of_facets(sets: SetBatch, fits: Tensor, slots: Tensor) -> dict[str, Tensor]:
    """``facet_recall`` and ``fit_precision`` of the k items and, if there is one, of the pool."""
    scores = {}
    for name, rows in (("", sets.items), ("pool ", sets.pool)):
        if rows is not None:
            scores[f"{name}facet recall"] = facet_recall(rows, fits, slots)
            scores[f"{name}fit precision"] = fit_precision(rows, fits)
    return scores


def of_gold_facets(sets: SetBatch) -> dict[str, Tensor]:
    """``gold_facet_recall`` of the k items and, if there is one, of the pool."""
    scores = {"facet recall": gold_facet_recall(sets)}
    if sets.pool is not None:
        scores["pool facet recall"] = gold_facet_recall(sets, sets.pool)
    return scores


def gold_facet_recall(sets: SetBatch, rows: Tensor | None = None) -> Tensor:
    """Share (B,) of the query's gold facets of which a list holds a reference item.

    This is subtopic recall with the facets of the reference set as subtopics. References in no facet
    do not count. NaN for queries without facets.

    Args:
        sets: With ``references`` (B, R) and their ``facets`` (B, R, F).
        rows: (B, M) catalog rows, −1 for padding; by default the items of the sets.

    Examples:
        Items 3 and 4 say the same, 5 something else; 4 says that, too.

        >>> sets = SetBatch(
        ...     query=torch.ones(2, 1),
        ...     items=torch.tensor([[3, 9], [4, 9]]),
        ...     item_embeddings=torch.ones(2, 2, 1),
        ...     mask=torch.ones(2, 2, dtype=torch.bool),
        ...     references=torch.tensor([[3, 4, 5]] * 2),
        ...     facets=torch.tensor([[[1, 0], [1, 1], [0, 1]]] * 2).bool(),
        ... )
        >>> gold_facet_recall(sets).tolist()
        [0.5, 1.0]
    """
    if sets.references is None or sets.facets is None:
        raise TypeError("gold facet recall reads 'references' and 'facets' of the SetBatch")
    found = _found(sets.references, sets.items if rows is None else rows)
    hit = (sets.facets & found.unsqueeze(-1)).any(1)  # (B, F)
    return hit.sum(-1).double() / sets.facets.any(1).sum(-1)


def facet_recall(rows: Tensor, fits: Tensor, slots: Tensor) -> Tensor:
    """True-facet recall: share of the answerable slots for which a list holds a fitting item.

    A slot is answerable if some item of the catalog in it fits the query. This is subtopic recall
    with slots as subtopics and the latent truth as relevance: it rewards a set that completes the
    outfit and ignores a second pair of fitting shoes.

    Args:
        rows: (B, M) catalog rows, −1 for padding: the k items or the pool.
        fits: (B, N) bool, from `FacetTruth.fits`; if no item fits, the result is NaN.
        slots: (N,) long, the slot of each item.

    Examples:
        Items 0 and 1 are tops, 2 shoes, 3 a bag; the bag does not fit.

        >>> fits = torch.tensor([[True, True, True, False]])
        >>> facet_recall(torch.tensor([[1, 0, 3]]), fits, torch.tensor([0, 0, 1, 2]))
        tensor([0.5000], dtype=torch.float64)
    """
    kinds = torch.nn.functional.one_hot(slots).float()  # (N, S)
    answerable = (fits.float() @ kinds) > 0
    answered = (_listed(rows, fits).float() @ kinds) > 0
    return answered.sum(-1).double() / answerable.sum(-1)


def fit_precision(rows: Tensor, fits: Tensor) -> Tensor:
    """Share (B,) of the distinct listed items that fit the query; NaN for an empty list.

    Arguments are those of ``facet_recall``.
    """
    distinct = distinct_first(rows, rows.shape[1]) >= 0
    return _listed(rows, fits).sum(-1).double() / distinct.sum(-1)


def _listed(rows: Tensor, fits: Tensor) -> Tensor:
    """(B, N) bool: the fitting items in each list."""
    spare = torch.zeros(len(fits), fits.shape[1] + 1, dtype=torch.bool)
    spare.scatter_(1, torch.where(rows >= 0, rows, fits.shape[1]), True)
    return spare[:, :-1] & fits
