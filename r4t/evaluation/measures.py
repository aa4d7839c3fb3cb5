"""``SetBatch`` → one number per query, measured on the items returned, alike for all methods.

Only ``vendi_across_runs`` looks at directions; by all others, methods that pick items without one
(re-ranking) compare with methods that generate directions. Higher is better, unless the reader
wants closeness or diversity alone: mean cosine and Vendi pull against each other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import distinct_first, vendi
from r4t.sets import SetBatch


def item_vendi(sets: SetBatch) -> Tensor:
    """Vendi score (B,) of the returned items: 1 (all alike) … k; 0 where nothing was returned."""
    return vendi(sets.item_embeddings, sets.mask)


def mean_cosine(sets: SetBatch) -> Tensor:
    """Mean cosine (B,) of the returned items with the query, −1 … 1; 0 where there is none."""
    cosine = torch.cosine_similarity(sets.item_embeddings, sets.query.unsqueeze(1), dim=-1)
    return (cosine * sets.mask).sum(-1) / sets.mask.sum(-1).clamp(min=1)


def _found(sets: SetBatch) -> tuple[Tensor, Tensor]:
    """Which references (B, R) exist, and which of them the pool holds."""
    references, pool = sets.references, sets.pool
    if references is None or pool is None:
        raise TypeError("recall and hit read 'references' and 'pool' of the SetBatch")
    known = references >= 0
    found = torch.zeros_like(known)
    for column, reference in enumerate(references.T):  # (B, R, P) at once could be large
        found[:, column] = (pool == reference.unsqueeze(1)).any(-1)
    return known, found & known


def pool_recall(sets: SetBatch) -> Tensor:
    """Share (B,) of the reference items that the pool holds (eq. 5); NaN without references."""
    known, found = _found(sets)
    return found.sum(-1).double() / known.sum(-1)  # in float64, equal shares differ by nothing


def pool_hit(sets: SetBatch) -> Tensor:
    """1 where the pool holds at least one reference item, else 0 (B,); NaN without references."""
    known, found = _found(sets)
    return torch.where(known.any(-1), found.any(-1).float(), torch.nan)


def vendi_across_runs(runs: Sequence[SetBatch]) -> Tensor:
    """How differently a method answers the same query again (paper, §7; N = 5).

    The directions of each run are averaged to one vector; the score is the Vendi score of these N
    vectors, divided by N. A run without members has no vector and adds nothing.

    Args:
        runs: N sets with directions, of the same B queries.

    Returns:
        (B,) from 1/N (all runs alike) to 1; NaN where no run has a member.

    Raises:
        InputError: A set has no directions.
    """
    means = torch.stack([_mean_direction(sets) for sets in runs], dim=1)  # (B, N, d)
    present = torch.stack([sets.mask.any(-1) for sets in runs], dim=1)
    scores = vendi(means, present) / len(runs)
    return torch.where(present.any(-1), scores, torch.nan)


def _mean_direction(sets: SetBatch) -> Tensor:
    if sets.directions is None:
        raise InputError(
            "Vendi across runs compares directions — found sets without them — measure it of "
            "methods that generate directions."
        )
    total = (sets.directions * sets.mask.unsqueeze(-1)).sum(1)
    return total / sets.mask.sum(1, keepdim=True).clamp(min=1)


def of_items(sets: SetBatch) -> dict[str, Tensor]:
    """All measures that need no more than the sets; recall and hit where there are references."""
    found = {"vendi": item_vendi(sets), "cosine": mean_cosine(sets)}
    if sets.references is not None and sets.pool is not None:
        found |= {"recall": pool_recall(sets), "hit": pool_hit(sets)}
    return found


def of_facets(sets: SetBatch, fits: Tensor, slots: Tensor) -> dict[str, Tensor]:
    """All measures by the latent truth: of the k items and, where there is one, of the pool.

    Args:
        sets: B sets.
        fits: (B, N) bool, from `FacetTruth.fits`.
        slots: (N,) long, the slot of each item.
    """
    found = {}
    for name, rows in (("", sets.items), ("pool ", sets.pool)):
        if rows is not None:
            found[f"{name}facet recall"] = facet_recall(rows, fits, slots)
            found[f"{name}fit precision"] = fit_precision(rows, fits)
    return found


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

    Examples:
        Items 0 and 1 are tops, 2 shoes, 3 a bag; the bag does not fit.

        >>> fits = torch.tensor([[True, True, True, False]])
        >>> facet_recall(torch.tensor([[1, 0, 3]]), fits, torch.tensor([0, 0, 1, 2]))
        tensor([0.5000], dtype=torch.float64)
    """
    kinds = torch.nn.functional.one_hot(slots)  # (N, S)
    listed = _listed(rows, fits)
    answerable = (fits.float() @ kinds.float()) > 0
    answered = (listed.float() @ kinds.float()) > 0
    return answered.sum(-1).double() / answerable.sum(-1)


def fit_precision(rows: Tensor, fits: Tensor) -> Tensor:
    """Share (B,) of the distinct listed items that fit the query; NaN for an empty list.

    Args:
        rows: (B, M) catalog rows, −1 where there is none.
        fits: (B, N) bool, from `FacetTruth.fits`.
    """
    distinct = distinct_first(rows, rows.shape[1]) >= 0
    return _listed(rows, fits).sum(-1).double() / distinct.sum(-1)


def _listed(rows: Tensor, fits: Tensor) -> Tensor:
    """(B, N) bool: the fitting items that each list holds."""
    spare = torch.zeros(len(fits), fits.shape[1] + 1, dtype=torch.bool)
    spare.scatter_(1, torch.where(rows >= 0, rows, fits.shape[1]), True)
    return spare[:, :-1] & fits
