"""Vectors (…, d) → unit vectors, Vendi scores, distinct ids: pure tensor maths."""

import torch
from torch import Tensor


def normalize(x: Tensor) -> Tensor:
    """Scale each row of ``x`` (…, d) to length 1; a zero row stays zero.

    Example:
        >>> normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = x.norm(dim=-1, keepdim=True)
    return x / torch.where(length > 0, length, 1.0)


def vendi(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Vendi score of the rows of ``x``: the effective number of distinct members.

    With ``K`` the cosine kernel of the n rows, ``exp(−Σ λ log λ)`` over the eigenvalues of ``K/n``
    (Friedman & Dieng 2022; paper, eq. 2), computed in float64.

    Args:
        x: Vectors (…, k, d); they need not be unit length.
        mask: (…, k), True for the rows that count; all by default.

    Returns:
        (…) from 1 (all rows equal) to n (orthogonal); 0 where no row counts.

    Example:
        >>> vendi(torch.eye(3)).item(), vendi(torch.ones(3, 2)).item()
        (3.0, 1.0)
    """
    rows = normalize(x.double())
    if mask is None:
        mask = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
    # A masked row becomes a zero row: it adds a zero eigenvalue, which adds nothing to the entropy.
    rows = rows * mask.unsqueeze(-1)
    members = mask.sum(-1)
    scale = members.clamp(min=1)[..., None, None]
    kernel = rows @ rows.mT / scale
    eigenvalues = torch.linalg.eigvalsh(kernel).clamp(min=0)
    # Round-off eigenvalues (≤ 1e-12) carry < 3e-11 nats; dropping them makes equal rows give 1.
    entropy = -torch.special.xlogy(eigenvalues, eigenvalues.clamp(min=1e-12)).sum(-1)
    score = torch.where(members > 0, entropy.exp(), torch.zeros_like(entropy))
    return score.to(x.dtype)


def distinct_first(ids: Tensor, size: int) -> Tensor:
    """Keep the first ``size`` distinct ids of each row, in order.

    Args:
        ids: (B, M) ids ≥ 0; −1 means no id.
        size: How many to keep.

    Returns:
        (B, size), filled up with −1.

    Example:
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

    Example:
        >>> distinct_count(torch.tensor([[7, 7, 2, -1]])).tolist()
        [2]
    """
    ordered = ids.sort(dim=1).values
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return (is_first & (ordered >= 0)).sum(1)
