"""Vectors (…, d) → unit vectors, anchored directions, Vendi scores, distinct ids: pure tensor math."""

import math
from dataclasses import dataclass

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
    high one only what dominates.

    Args:
        x: Vectors (…, k, d) of any length.
        mask: (…, k), True for the rows that count; all by default.
        q: Order, above 0; ``math.inf`` is allowed.
        dtype: Type of the arithmetic; float32 is accurate to about 1e-5.

    Returns:
        (…) from 1 (all rows equal) to n (orthogonal); 0 where no row counts.

    Raises:
        InputError: If ``q`` is not above 0.

    Examples:
        >>> vendi(torch.eye(3)).item(), vendi(torch.ones(3, 2)).item()
        (3.0, 1.0)
    """
    if x.shape[-2] == 0:
        _check_order(q)
        return x.new_zeros(x.shape[:-2])
    rows = x.to(dtype)
    mask = x.new_ones(x.shape[:-1], dtype=torch.bool) if mask is None else mask
    if x.shape[-1] < x.shape[-2]:  # the d × d kernel has the same nonzero eigenvalues
        scaled = rows * _inverse_lengths(rows, mask).unsqueeze(-1)
        kernel = scaled.mT @ scaled
    else:
        kernel = cosines(rows, mask)
    return kernel_vendi(kernel, mask.sum(-1), q).to(x.dtype)


def cosines(x: Tensor, mask: Tensor) -> Tensor:
    """Return the cosines (…, k, k) of the rows of ``x`` (…, k, d), 0 where ``mask`` (…, k) is False.

    Examples:
        >>> cosines(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([True, True])).tolist()
        [[1.0, 0.800000011920929], [0.800000011920929, 1.0]]
    """
    weight = _inverse_lengths(x, mask)
    # Scaling (k, k) instead of (k, d) takes half the time.
    return (x @ x.mT) * weight.unsqueeze(-1) * weight.unsqueeze(-2)


def kernel_vendi(kernel: Tensor, members: Tensor, q: float = 1.0) -> Tensor:
    """Return the Vendi scores (…) of kernels (…, m, m) of ``members`` (…) rows, see ``vendi``.

    Rows of zeros beyond the members count nothing.

    Raises:
        InputError: If ``q`` is not above 0.
    """
    _check_order(q)
    eigenvalues = torch.linalg.eigvalsh(kernel / members.clamp(min=1)[..., None, None])
    # Drop round-off eigenvalues: equal rows then give exactly 1, and low orders do not inflate them.
    present = eigenvalues > (1e-12 if kernel.dtype == torch.float64 else 1e-6)
    safe = torch.where(present, eigenvalues, 1.0)  # log and power have no gradient at 0
    if abs(q - 1) < 1e-6:  # the limit; the general formula would divide by almost 0
        entropy = -(safe * safe.log()).sum(-1)
    elif q == math.inf:
        entropy = -safe[..., -1].log()
    else:  # in logarithms, because high powers underflow
        counts = present | (members == 0).unsqueeze(-1)
        powers = torch.where(counts, q * safe.log(), -math.inf)
        entropy = powers.logsumexp(-1) / (1 - q)
    return torch.where(members > 0, entropy.exp(), 0.0)


def vendi_without(kernel: Tensor, members: Tensor, q: float = 1.0) -> Tensor:
    """Return the Vendi scores (…, k) of kernels (…, k, k) without each of their rows.

    For q = 1 one eigendecomposition, K = U diag(λ) Uᵀ, serves all k of them. By the inverse of a
    bordered matrix, the eigenvalues μ of K without row and column i satisfy for every t > 0

        Σ μ/(μ + t) = Σ_j λ_j/(λ_j + t) − r_i(t),
        r_i(t) = Σ_j u_ij² λ_j/(λ_j + t)² / Σ_j u_ij²/(λ_j + t).

    As x log x = ∫ (x/(1 + t) − x/(x + t)) dt over t from 0 to ∞,

        Σ_j λ_j log λ_j − Σ μ log μ = ∫ (K_ii/(1 + t) − r_i(t)) dt,

    which the trapezoid rule in log t gives to about 1e-9. Other orders take k eigendecompositions.

    Args:
        kernel: Cosines, with rows of zeros for missing members; float64.
        members: (…) number of members.
        q: As of ``vendi``.

    Examples:
        >>> vendi_without(torch.eye(3).double(), torch.tensor(3)).round(decimals=6).tolist()
        [2.0, 2.0, 2.0]
    """
    left = (members - 1).clamp(min=0).unsqueeze(-1).expand(kernel.shape[:-1])
    if abs(q - 1) >= 1e-6:
        others = 1 - torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
        return kernel_vendi(
            kernel.unsqueeze(-3) * others.unsqueeze(-1) * others.unsqueeze(-2), left, q
        )
    eigenvalues, vectors = torch.linalg.eigh(kernel)
    eigenvalues, shares = eigenvalues.clamp(min=0), vectors.square()
    places = torch.linspace(-20, 26, 61, dtype=kernel.dtype, device=kernel.device)  # log t
    t, step = places.exp(), places[1] - places[0]
    inverse = 1 / (eigenvalues.unsqueeze(-1) + t)  # (…, k, T)
    ratio = (shares @ (inverse.square() * eigenvalues.unsqueeze(-1))) / (shares @ inverse)
    own = kernel.diagonal(dim1=-2, dim2=-1)  # K_ii
    lost = ((own.unsqueeze(-1) / (1 + t) - ratio) * t).sum(-1) * step
    sums = torch.xlogy(eigenvalues, eigenvalues).sum(-1, keepdim=True) - lost  # Σ μ log μ
    trace, size = own.sum(-1, keepdim=True) - own, left.clamp(min=1).to(own)
    # −Σ μ/n log(μ/n)
    return torch.where(left > 0, ((trace * size.log() - sums) / size).exp(), 0.0)


def _inverse_lengths(x: Tensor, mask: Tensor) -> Tensor:
    """Return 1 / length (…, k) of the rows; 0 for masked and zero rows, which add zero eigenvalues."""
    length = x.norm(dim=-1)
    counted = mask & (length > 0)
    return torch.where(counted, 1 / torch.where(counted, length, 1.0), 0.0)


def _check_order(q: float) -> None:
    if not q > 0:
        raise InputError(
            expected="an order q of the Vendi score above 0",
            found=str(q),
            remedy="Use 1 for the usual score, or infinity to look at the largest group only.",
        )


def distinct_first(ids: Tensor, size: int) -> Tensor:
    """Return the first ``size`` distinct ids (B, size) of each row (B, M), in order.

    Ids are ≥ 0; −1 means no id, here and in the result.

    Examples:
        >>> distinct_first(torch.tensor([[7, 7, 2, -1, 9]]), 3).tolist()
        [[7, 2, 9]]
    """
    keep = _firsts(ids)
    rank = keep.cumsum(1) - 1
    keep &= rank < size
    target = torch.where(keep, rank, size)  # a spare last column takes the ids that are dropped
    firsts = ids.new_full((ids.shape[0], size + 1), -1)
    firsts.scatter_(1, target, torch.where(keep, ids, -1))
    return firsts[:, :size]


def one_of_each(ids: Tensor, groups: Tensor) -> Tensor:
    """Move the first id of each group to the front; the other ids follow, and −1 comes last.

    Reorders ids (B, M), distinct ones of 0 … N − 1 or −1 for none, by their groups (N,). Both parts
    keep their order.

    Examples:
        Ids 0, 1 and 2 are one group.

        >>> one_of_each(torch.tensor([[1, 0, 3, -1, 2]]), torch.tensor([0, 0, 0, 3])).tolist()
        [[1, 3, 0, 2, -1]]
    """
    own = torch.where(ids >= 0, groups[ids.clamp(min=0)], -1)
    place = torch.where(_firsts(own), 0, torch.where(ids >= 0, 1, 2))
    return ids.gather(1, place.argsort(dim=1, stable=True))


def take_turns(rankings: Tensor, size: int) -> Tensor:
    """Merge rankings by taking the best item of each direction, then the second of each, and so on.

    Turns (B, k, D) catalog rows, best first, −1 for none, into (B, size) distinct rows, −1 padded.

    Examples:
        >>> take_turns(torch.tensor([[[3, 7], [3, 5]]]), 3).tolist()
        [[3, 7, 5]]
    """
    return distinct_first(rankings.transpose(1, 2).flatten(1), size)


@dataclass(frozen=True)
class RankFusion:
    """Merges rankings into a pool by reciprocal ranks (Cormack, Clarke & Büttcher 2009).

    An item's score is ``Σ 1/(constant + rank)`` over the directions that rank it among their first
    ``depth``. The pool holds the items with the highest scores; items in turn (``take_turns``)
    follow if too few are ranked.

    Args:
        depth: Items ranked by each direction, up to the pool size, the default.
        constant: 60 in the source; a smaller one favors first places.
        members_first: Whether the pool begins with the nearest items of the k directions, which
            are the set, and fusion orders what follows.
    """

    depth: int | None = None
    constant: float = 60.0
    members_first: bool = False

    def __call__(self, rankings: Tensor, size: int) -> Tensor:
        """Merge (B, k, D) catalog rows, −1 for none, into (B, size) distinct rows."""
        ranked = [fused_ranking(rankings[..., : self.depth], self.constant)]
        if self.members_first:
            ranked.insert(0, take_turns(rankings, rankings.shape[1]))
        return distinct_first(torch.cat([*ranked, take_turns(rankings, size)], dim=1), size)


def fused_ranking(rankings: Tensor, constant: float = 60.0) -> Tensor:
    """Fuse several rankings by ``Σ 1/(constant + rank)``, ranks from 1.

    Turns (B, k, D) ids ≥ 0, best first, −1 for none, into (B, k·D) distinct ids, the highest sum
    first, −1 padded. Ties keep the order in which the rankings, taken in turn, name them.

    Examples:
        Id 7 is second twice, 2/62; the others are named once: 1/61, 1/61.

        >>> fused_ranking(torch.tensor([[[3, 7], [5, 7]]])).tolist()
        [[7, 3, 5, -1]]
    """
    batch, members, depth = rankings.shape
    ids = rankings.transpose(1, 2).reshape(batch, -1)  # in turn
    share = 1 / (constant + torch.arange(1, depth + 1, dtype=torch.float64))
    shares = share.repeat_interleave(members).expand(batch, -1)
    values, order = ids.sort(dim=1, stable=True)  # equal ids together, in turn
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    group = begins.cumsum(1) - 1
    totals = torch.zeros_like(shares).scatter_add(1, group, shares.gather(1, order))
    scores = torch.zeros_like(shares).scatter(1, order, totals.gather(1, group))  # back in turn
    ranked = scores.masked_fill(ids < 0, -1).argsort(dim=1, descending=True, stable=True)
    return distinct_first(ids.gather(1, ranked), members * depth)


def distinct_count(ids: Tensor) -> Tensor:
    """Return the number (B,) of distinct ids of each row (B, M); −1 means no id.

    Examples:
        >>> distinct_count(torch.tensor([[7, 7, 2, -1]])).tolist()
        [2]
    """
    return _is_first(ids.sort(dim=1).values).sum(1)


def _firsts(ids: Tensor) -> Tensor:
    """Mark the first of equal ids in each row (B, M); −1 is never marked."""
    values, order = ids.sort(dim=1, stable=True)
    return torch.zeros_like(ids, dtype=torch.bool).scatter(1, order, _is_first(values))


def _is_first(values: Tensor) -> Tensor:
    """Mark the first of each run of equal ids in sorted rows (B, M); −1 is never marked."""
    is_first = values >= 0
    is_first[:, 1:] &= values[:, 1:] != values[:, :-1]
    return is_first


def anchored(query: Tensor, directions: Tensor, anchor: float) -> Tensor:
    """Pull directions toward their query: ``normalize(a·query + (1 − a)·direction)``.

    Args:
        query: (B, d) unit vectors.
        directions: (B, k, d) unit vectors; a zero row, which is no direction, stays zero.
        anchor: a in [0, 1): 0 leaves the directions unchanged bit for bit; near 1 each of them is
            almost the query.

    Raises:
        InputError: If ``anchor`` is outside [0, 1).

    Examples:
        >>> east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
        >>> anchored(east, north, 0.5)
        tensor([[[0.7071, 0.7071],
                 [0.0000, 0.0000]]])
    """
    check_anchor(anchor)
    if anchor == 0:
        return directions
    is_direction = (directions != 0).any(-1, keepdim=True)
    return normalize(anchor * query.unsqueeze(1) + (1 - anchor) * directions) * is_direction


def check_anchor(anchor: float) -> None:
    """Raise an InputError if a share of the query is outside [0, 1)."""
    if not 0 <= anchor < 1:
        raise InputError(
            expected="anchor to be at least 0 (the direction alone) and below 1 (the query alone)",
            found=f"{anchor}",
            remedy="Use 0, as the paper does, or a number below 1.",
        )
