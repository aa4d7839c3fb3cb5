"""``SetBatch`` → one number per query, measured on the items returned, alike for all methods.

None of these looks at directions, so methods that pick items without one (re-ranking) compare
with methods that generate directions. Higher is better, unless the reader wants closeness or
diversity alone: mean cosine and Vendi pull against each other.
"""

import torch
from torch import Tensor

from r4t.geometry import distinct_count, distinct_first, vendi
from r4t.sets import SetBatch


def item_vendi(sets: SetBatch) -> Tensor:
    """Vendi score (B,) of the returned items: 1 (all alike) … k; 0 where nothing was returned."""
    return vendi(sets.item_embeddings, sets.mask)


def mean_cosine(sets: SetBatch) -> Tensor:
    """Mean cosine (B,) of the returned items with the query, −1 … 1; 0 where there is none."""
    cosine = torch.cosine_similarity(sets.item_embeddings, sets.query.unsqueeze(1), dim=-1)
    return (cosine * sets.mask).sum(-1) / sets.mask.sum(-1).clamp(min=1)


def distinct_items(sets: SetBatch) -> Tensor:
    """Number (B,) of different items among the k returned, 0 … k."""
    return distinct_count(sets.items).to(sets.query.dtype)


def _found(sets: SetBatch) -> tuple[Tensor, Tensor]:
    """Which references (B, R) exist, and which of them the pool holds."""
    references, pool = sets.references, sets.pool
    if references is None or pool is None:
        raise TypeError("recall and hit read 'references' and 'pool' of the SetBatch")
    known = references >= 0
    found = torch.stack([(pool == ref.unsqueeze(1)).any(-1) for ref in references.T], dim=1)
    return known, found & known


def pool_recall(sets: SetBatch) -> Tensor:
    """Share (B,) of the reference items that the pool holds (eq. 5); NaN without references."""
    known, found = _found(sets)
    return found.sum(-1) / known.sum(-1)


def pool_hit(sets: SetBatch) -> Tensor:
    """1 where the pool holds at least one reference item, else 0 (B,); NaN without references."""
    known, found = _found(sets)
    return torch.where(known.any(-1), found.any(-1).float(), torch.nan)


def facet_recall(rows: Tensor, fits: Tensor, slots: Tensor) -> Tensor:
    """True-facet recall: share of the answerable slots for which a list holds a fitting item.

    A slot is answerable when some item of it in the catalog fits the query. This is subtopic
    recall with the slots as subtopics and the latent truth as relevance: it rewards a set that
    completes the outfit and ignores the second pair of fitting shoes.

    Args:
        rows: (B, M) catalog rows, −1 where there is none: the k items or the pool.
        fits: (B, N) bool, from `FacetTruth.fits`.
        slots: (N,) long, the slot of each item.

    Returns:
        (B,) from 0 to 1; NaN where no item of the catalog fits.

    Example:
        Items 0 and 1 are tops, 2 shoes, 3 a bag; the bag does not fit.

        >>> fits = torch.tensor([[True, True, True, False]])
        >>> facet_recall(torch.tensor([[1, 0, 3]]), fits, torch.tensor([0, 0, 1, 2]))
        tensor([0.5000])
    """
    kinds = torch.nn.functional.one_hot(slots)  # (N, S)
    listed = _listed(rows, fits)
    answerable = (fits.float() @ kinds.float()) > 0
    answered = (listed.float() @ kinds.float()) > 0
    return answered.sum(-1) / answerable.sum(-1)


def fit_precision(rows: Tensor, fits: Tensor) -> Tensor:
    """Share (B,) of the distinct listed items that fit the query; NaN for an empty list.

    Args:
        rows: (B, M) catalog rows, −1 where there is none.
        fits: (B, N) bool, from `FacetTruth.fits`.
    """
    distinct = distinct_first(rows, rows.shape[1]) >= 0
    return _listed(rows, fits).sum(-1) / distinct.sum(-1)


def _listed(rows: Tensor, fits: Tensor) -> Tensor:
    """(B, N) bool: the fitting items that each list holds."""
    spare = torch.zeros(len(fits), fits.shape[1] + 1, dtype=torch.bool)
    spare.scatter_(1, torch.where(rows >= 0, rows, fits.shape[1]), True)
    return spare[:, :-1] & fits
