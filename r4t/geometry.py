"""Vectors (…, d) → unit vectors, Vendi scores, distinct ids: pure tensor math."""

import math

import torch
from torch import Tensor

from r4t.errors import InputError


def normalize(x: Tensor) -> Tensor:
    """Scale each row of ``x`` (…, d) to length 1; a zero row stays zero.

    Examples:
        >>> normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = x.norm(dim=-1, keepdim=True)
    return x / torch.where(length > 0, length, 1.0)


def vendi(
    x: Tensor, mask: Tensor | None = None, q: float = 1.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Vendi score of the rows of ``x``: the effective number of distinct members.

    With λ the eigenvalues of ``K/n``, K the cosine kernel of the n rows: ``exp(−Σ λ log λ)`` for
    q = 1 (Friedman & Dieng 2022; paper, eq. 2), ``(Σ λ^q)^(1/(1−q))`` for another order of the Hill
    number, ``1/max λ`` for q = ∞ (Pasarkar & Dieng 2024). A low order counts rare members fully, a
    high one only what dominates. Where d < k the d × d kernel of the columns is used: it has the
    same eigenvalues but for zeros.

    Args:
        x: Vectors (…, k, d); they need not be unit length.
        mask: (…, k), True for the rows that count; all by default.
        q: Order, above 0; ``math.inf`` is allowed.
        dtype: Of the arithmetic; float32 is about 1e-5 exact.

    Returns:
        (…) from 1 (all rows equal) to n (orthogonal); 0 where no row counts.

    Raises:
        InputError: ``q`` is not above 0.

    Examples:
        >>> vendi(torch.eye(3)).item(), vendi(torch.ones(3, 2)).item()
        (3.0, 1.0)
    """
    if not q > 0:
        raise InputError(f"The order q of a Vendi score must be above 0, found {q}; 1 is usual.")
    if x.shape[-2] == 0:
        return x.new_zeros(x.shape[:-2])
    rows = x.to(dtype)
    if mask is None:
        mask = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
    members = mask.sum(-1)
    length = rows.norm(dim=-1)
    counted = mask & (length > 0)
    # A masked row becomes a zero row: it adds a zero eigenvalue, which adds nothing to the entropy.
    weight = torch.where(counted, 1 / torch.where(counted, length, 1.0), 0.0)
    if x.shape[-1] < x.shape[-2]:
        scaled = rows * weight.unsqueeze(-1)
        kernel = scaled.mT @ scaled
    else:  # (k, k) is scaled instead of (k, d): half the time
        kernel = (rows @ rows.mT) * weight.unsqueeze(-1) * weight.unsqueeze(-2)
    eigenvalues = torch.linalg.eigvalsh(kernel / members.clamp(min=1)[..., None, None])
    # Round-off eigenvalues carry nothing; dropping them makes equal rows give 1, and the power of
    # a low order blows them up.
    floor = 1e-12 if dtype == torch.float64 else 1e-6
    present = eigenvalues > floor
    safe = torch.where(present, eigenvalues, 1.0)  # no gradient of log or power at 0
    if abs(q - 1) < 1e-6:  # the limit; the other formula would divide by next to nothing
        entropy = -(safe * safe.log()).sum(-1)
    elif q == math.inf:
        entropy = -safe[..., -1].log()
    else:  # in logarithms: the power of a high order underflows
        counts = present | (members == 0).unsqueeze(-1)
        powers = torch.where(counts, q * safe.log(), -math.inf)
        entropy = powers.logsumexp(-1) / (1 - q)
    return torch.where(members > 0, entropy.exp(), 0.0).to(x.dtype)


def distinct_first(ids: Tensor, size: int) -> Tensor:
    """Keep the first ``size`` distinct ids of each row, in order.

    Args:
        ids: (B, M) ids ≥ 0; −1 means no id.
        size: How many to keep.

    Returns:
        (B, size), filled up with −1.

    Examples:
        >>> distinct_first(torch.tensor([[7, 7, 2, -1, 9]]), 3).tolist()
        [[7, 2, 9]]
    """
    values, order = ids.sort(dim=1, stable=True)
    is_first = torch.ones_like(values, dtype=torch.bool)
    is_first[:, 1:] = values[:, 1:] != values[:, :-1]
    keep = torch.zeros_like(is_first).scatter(1, order, is_first) & (ids >= 0)
    rank = keep.cumsum(1) - 1
    keep &= rank < size
    # One spare column takes what is not kept.
    target = torch.where(keep, rank, size)
    found = ids.new_full((ids.shape[0], size + 1), -1)
    found.scatter_(1, target, torch.where(keep, ids, -1))
    return found[:, :size]


def distinct_count(ids: Tensor) -> Tensor:
    """Count the distinct ids of each row.

    Args:
        ids: (B, M) ids ≥ 0; −1 means no id.

    Returns:
        (B,) whole numbers.

    Examples:
        >>> distinct_count(torch.tensor([[7, 7, 2, -1]])).tolist()
        [2]
    """
    ordered = ids.sort(dim=1).values
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return (is_first & (ordered >= 0)).sum(1)
