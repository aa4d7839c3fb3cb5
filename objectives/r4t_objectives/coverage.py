"""Retrieved items and reference set → share of the references found."""

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.objective import Objective
from r4t.sets import SetBatch

ROUND_OFF = 1e-5  # an item's cosine with itself is 1 only up to float32


class Coverage(Objective):
    """Share of the reference set Y that was retrieved (paper, eq. 5).

    By default it is exact: ``|Y ∩ R(Q)| / |Y|`` by ids, with R(Q) the pool. With a ``cosine`` it is
    soft: the share of reference items within that cosine of a *member* (not of any item in the
    pool), so that an item nearly equal to a reference counts like the reference itself.

    From 0 (no reference item was retrieved) to 1 (all were). The reference set is *one* plausible
    answer, so this is a proxy: a low value need not mean a bad set.

    Args:
        cosine: Least cosine between a reference item and a member; None for exact ids.

    Raises:
        InputError: If ``cosine`` is outside (0, 1].
    """

    bounds = (0.0, 1.0)

    def __init__(self, cosine: float | None = None) -> None:
        if cosine is not None and not 0 < cosine <= 1:
            raise InputError(
                expected="a cosine of soft coverage within (0, 1]",
                found=str(cosine),
                remedy="Use 0.8 for nearly equal items, or leave it out to compare ids.",
            )
        self.cosine = cosine

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """References, and the pool or, for the soft form, the catalog."""
        return frozenset({"references", "pool" if self.cosine is None else "catalog"})

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) coverage.

        Raises:
            InputError: If a query has no reference item.
        """
        references, known = self._known(sets)
        if self.cosine is None:
            assert sets.pool is not None
            # (B, R, P) would be large for deep pools; references are few, so loop over them.
            columns = references.unsqueeze(1).unbind(2)
            covered = torch.stack([(sets.pool == column).any(-1) for column in columns], dim=1)
        else:
            covered = self._near(sets, references).any(-1)
        return (covered & known).sum(-1) / known.sum(-1)

    def marginals(self, sets: SetBatch) -> Tensor | None:
        """See ``Objective.marginals``; none for a pool without the rankings that it was made of."""
        references, known = self._known(sets)
        count = known.sum(-1, keepdim=True)
        if self.cosine is not None:
            near = self._near(sets, references) & known.unsqueeze(-1)
            alone = near & (near.sum(-1, keepdim=True) == 1)
            return alone.sum(1) / count
        if sets.rankings is None or sets.pool is None:
            return None
        without = found_without(sets.rankings, sets.pool.shape[1], references)
        return self.score(sets).unsqueeze(1) - without / count

    def _known(self, sets: SetBatch) -> tuple[Tensor, Tensor]:
        """Return the references (B, R) and which of them exist; refuse a query without any."""
        references = sets.references
        assert references is not None  # __call__ checked `needs`
        known = references >= 0  # (B, R)
        empty = ~known.any(-1)
        if empty.any():
            raise InputError(
                expected="at least one reference item per query, for coverage",
                found=f"none for {sets.query_name(int(empty.nonzero()[0]))}",
                remedy="Leave such queries out, or use an objective without references.",
            )
        return references, known

    def _near(self, sets: SetBatch, references: Tensor) -> Tensor:
        """Return (B, R, k), whether a member is within the cosine of a reference."""
        assert sets.catalog is not None
        assert self.cosine is not None
        wanted = sets.catalog.embeddings[references.clamp(min=0).cpu()].to(sets.item_embeddings)
        cosines = normalize(wanted) @ normalize(sets.item_embeddings).mT  # (B, R, k)
        return (cosines >= self.cosine - ROUND_OFF) & sets.mask.unsqueeze(1)


def found_without(rankings: Tensor, size: int, references: Tensor) -> Tensor:
    """Return how many references the pool of all but one direction holds, for each direction: (B, k).

    The pool takes the best item of each direction, then the second of each, and so on, until it has
    ``size`` distinct ones. Without direction i an item enters it where it first occurs in another
    direction: where it first occurs at all, or else at its first occurrence in a second direction.
    So one sort serves all k pools.

    Args:
        rankings: (B, k, D) catalog rows, best first, −1 for none.
        size: Distinct items of a pool.
        references: (B, R) catalog rows, −1 for none.

    Examples:
        In turn these are 3, 3, 7, 5; without the first direction 3 and 5, without the second 3 and 7.

        >>> rankings = torch.tensor([[[3, 7], [3, 5]]])
        >>> found_without(rankings, 2, torch.tensor([[7, 3]]))
        tensor([[1, 2]])
    """
    width, most = rankings.shape[1:]
    depth = min(2 * size // width + 1, most)  # enough for most sets
    found = torch.zeros_like(rankings[..., 0])
    rows = torch.arange(len(rankings), device=rankings.device)  # sets to look at
    while len(rows):
        turns = rankings[rows, :, :depth].transpose(1, 2).flatten(1)  # (B', M)
        wanted = torch.zeros_like(turns)
        for column in references[rows].unsqueeze(1).unbind(2):
            wanted += (turns == column) & (column >= 0)
        direction = torch.arange(turns.shape[1], device=turns.device) % width
        first, second, other = _occurrences(turns, direction)
        is_full = torch.ones_like(rows, dtype=torch.bool)
        for left_out in range(width):
            enters = (first & (direction != left_out)) | (second & (other == left_out))
            count = enters.cumsum(1)
            found[rows, left_out] = (wanted * (enters & (count <= size))).sum(1)
            is_full &= count[:, -1] >= size
        rows = rows[~is_full] if depth < most else rows[:0]
        depth = min(2 * depth, most)
    return found


def _occurrences(turns: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mark where ids (B, M) first occur, and where they first do in a second direction.

    Also returns the direction (B, M) of the first occurrence of each id. −1 is never marked.
    """
    values, order = turns.sort(dim=1, stable=True)
    is_start = values >= 0
    is_start[:, 1:] &= values[:, 1:] != values[:, :-1]
    places = torch.arange(turns.shape[1], device=turns.device)
    start = torch.where(is_start, places, 0).cummax(1).values  # of the run of equal ids
    own = direction[order]
    of_first = own.gather(1, start)
    differs = (own != of_first) & (values >= 0)
    count = differs.cumsum(1)
    is_second = differs & (count - count.gather(1, start) == 1)
    first, second = (
        torch.zeros_like(each).scatter(1, order, each) for each in (is_start, is_second)
    )
    return first, second, torch.zeros_like(of_first).scatter(1, order, of_first)
