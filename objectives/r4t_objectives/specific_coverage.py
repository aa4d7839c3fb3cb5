"""Retrieved items, query and catalog → how much of the query's own neighborhood they cover."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from r4t.errors import InputError, check_least
from r4t.geometry import normalize
from r4t.objective import Objective
from r4t.sets import SetBatch

CACHED = 4096  # queries whose neighbors are kept, 2 kB each
ROOM = 1 << 18  # cosines held at a time: what fits a processor's cache takes half the time
COLUMNS = 256  # of a band, at a time
SEARCHED = 1 << 22  # cosines held at a time in a search of the catalog


class Band(NamedTuple):
    """P items that a set should cover."""

    rows: Tensor  # (P,) rows of the catalog
    weights: Tensor  # (P,) ≥ 0


class SpecificCoverage(Objective):
    """The set covers what is near its query, more than what is near random items of the catalog.

    With N_x the ``depth`` items nearest to x, weighted by their closeness w_p = max(0, cos(x, p)),

        cov(x, S) = Σ_{p in N_x} w_p · max_{i in S} max(0, cos(p, c_i))^power / Σ_p w_p,
        score     = cov(q, S) − mean over anchors a of cov(a, S),

    where the anchors are fixed random items of the catalog. 1 means that the set is near all that is
    near the query and unrelated to the anchors' neighborhoods, 0 that it suits the query no better
    than any other (random items, or one list for all queries), −1 the opposite.

    It needs no label, and nothing in it depends on the batch, so it also works at query time. An
    item that repeats another adds nothing. If the query is near many copies of one item, that item
    covers them all: raise ``depth``. If the catalog has fewer items than ``depth`` or ``anchors``, all
    are used. If no item has a positive cosine with the query, cov(q, S) is 0.

    Args:
        depth: Items of a neighborhood, at least 1.
        power: Above 0; a higher one counts only what is very close.
        anchors: Random items to compare with, at least 1.
        seed: Of their choice.

    Raises:
        InputError: If a number is out of its range.
    """

    bounds = (-1.0, 1.0)
    needs = frozenset({"catalog"})
    name = "specific_coverage"

    def __init__(
        self, depth: int = 150, power: float = 2.0, anchors: int = 16, seed: int = 0
    ) -> None:
        check_least({"depth": (depth, 1), "anchors": (anchors, 1)})
        if not power > 0:
            raise InputError(
                expected="a power above 0", found=f"{power}", remedy="Use 2, for example."
            )
        self.depth, self.power, self.anchors, self.seed = depth, power, anchors, seed
        self._catalog: Any = None  # whose bands are kept

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) specific coverage."""
        return self._compared(sets, covered)

    def marginals(self, sets: SetBatch) -> Tensor:
        """Return what each member adds, f(S) − f(S without member i): (B, k).

        A missing member adds 0. Without its only member a set has the lower bound.
        """
        shares = self._compared(sets, added)
        is_only = sets.mask.sum(-1, keepdim=True) == 1
        return torch.where(sets.mask, shares - self.bounds[0] * is_only, 0.0)

    @torch.no_grad()
    def _compared(self, sets: SetBatch, measure: "Measure") -> Tensor:
        """Measure the queries' bands, less the anchors'."""
        catalog = sets.catalog
        assert catalog is not None  # __call__ checked `needs`
        if self._catalog is not catalog:
            self._prepare(catalog)
        vectors, members = distinct_members(sets)

        def of(band: Band, vectors: Tensor, members: Tensor) -> Tensor:
            points = catalog.embeddings[band.rows].to(vectors)
            return measure(vectors, members, points, band.weights.to(vectors), self.power)

        result = -of(self._anchors, vectors, members)
        for band, rows in self._bands(catalog, sets.query):
            mine = members[rows.to(members.device)]
            result[rows] += of(band, vectors[mine.flatten()], _numbered(mine))
        return result

    def _prepare(self, catalog: Any) -> None:
        """Merge the anchors' neighborhoods into one band; forget the queries of another catalog."""
        draws = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(catalog), generator=draws)[: self.anchors]
        total = torch.zeros(len(catalog))
        for band in neighborhoods(catalog.embeddings, catalog.embeddings[chosen], self.depth):
            total[band.rows] += band.weights / len(chosen)
        rows = total.nonzero().flatten()
        self._anchors = Band(rows, total[rows])
        self._queries: dict[bytes, Band] = {}
        self._catalog = catalog

    def _bands(self, catalog: Any, query: Tensor) -> Iterator[tuple[Band, Tensor]]:
        """Yield the band of each distinct query (of B, d) and the rows of the batch that ask it."""
        vectors = query.detach().cpu().float()
        places: dict[bytes, list[int]] = {}
        for place, vector in enumerate(vectors.numpy()):
            places.setdefault(vector.tobytes(), []).append(place)
        new = [key for key in places if key not in self._queries]
        if new and len(self._queries) + len(new) > CACHED:
            self._queries, new = {}, list(places)
        for (
            key
        ) in new:  # alone: products round differently beside others, and a resumed fit has others
            point = vectors[places[key][0]].unsqueeze(0)
            (self._queries[key],) = neighborhoods(catalog.embeddings, point, self.depth)
        for key, rows in places.items():
            yield self._queries[key], torch.tensor(rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the catalog and its bands out of copies, which prepare their own."""
        kept = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {**kept, "_catalog": None}


Measure = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]  # as `covered`


def distinct_members(sets: SetBatch) -> tuple[Tensor, Tensor]:
    """Return the unit vectors (U, d) of the distinct items of all sets, and each member's row (B, k).

    A missing member's row is zero. Sets of a training step have few distinct items, whose cosines
    need to be computed only once.
    """
    ids = torch.where(sets.mask, sets.items, -1)
    distinct, members = ids.unique(return_inverse=True)
    one = torch.empty_like(distinct)  # a place at which each item occurs
    one[members.flatten()] = _numbered(members).flatten()
    vectors = normalize(sets.item_embeddings.flatten(0, 1)[one])
    return vectors * (distinct >= 0).unsqueeze(1), members


def _numbered(table: Tensor) -> Tensor:
    """Number the entries of a table (B, k), row after row."""
    return torch.arange(table.numel(), device=table.device).view_as(table)


def neighborhoods(embeddings: Tensor, points: Tensor, depth: int) -> list[Band]:
    """Return the ``depth`` items nearest to each of n points, weighted by closeness.

    Args:
        embeddings: (N, d) unit rows, read in parts: they may be larger than memory.
        points: (n, d) unit vectors.
        depth: Number of items; all N if there are fewer.

    Returns:
        n bands whose weights sum to 1, or are all 0 if no item has a positive cosine.

    Examples:
        >>> neighborhoods(torch.tensor([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]]), torch.eye(2)[:1], 2)
        [Band(rows=tensor([2, 1]), weights=tensor([0.6250, 0.3750]))]
    """
    size = max(SEARCHED // len(points), depth)
    best, rows = torch.empty(len(points), 0), torch.empty(len(points), 0, dtype=torch.long)
    for start in range(0, len(embeddings), size):
        cosines = points @ embeddings[start : start + size].T
        near, place = cosines.topk(min(depth, cosines.shape[1]))
        best, order = torch.cat([best, near], 1).topk(min(depth, start + cosines.shape[1]))
        rows = torch.cat([rows, start + place], 1).gather(1, order)
    weights = best.clamp(min=0)
    weights /= weights.sum(1, keepdim=True).clamp(min=1e-12)
    return [Band(*pair) for pair in zip(rows, weights)]


def covered(
    vectors: Tensor, members: Tensor, band: Tensor, weights: Tensor, power: float
) -> Tensor:
    """Return how much of a band each of n sets covers: Σ_p w_p · max_i max(0, cos(p, c_i))^power.

    Args:
        vectors: (U, d) unit vectors; zero rows cover nothing.
        members: (n, k) rows of ``vectors``.
        band: (P, d) unit vectors.
        weights: (P,).
        power: Above 0.

    Examples:
        >>> both = torch.tensor([[0, 1]])
        >>> covered(torch.eye(2), both, torch.tensor([[0.6, 0.8]]), torch.ones(1), 2.0)
        tensor([0.6400])
    """
    sums = vectors.new_zeros(len(members))
    for rows, part, values in _by_member(vectors, members, band, power):
        sums[rows] += values.amax(0) @ weights[part]
    return sums


def added(vectors: Tensor, members: Tensor, band: Tensor, weights: Tensor, power: float) -> Tensor:
    """Return how much less of a band is covered without each member: (n, k).

    Only the best member at an item of the band adds to it: its value less that of the second best.
    Arguments are those of ``covered``.

    Examples:
        >>> both = torch.tensor([[0, 1]])
        >>> added(torch.eye(2), both, torch.tensor([[0.6, 0.8]]), torch.ones(1), 2.0)
        tensor([[0.0000, 0.2800]])
    """
    sums = vectors.new_zeros(members.shape)
    for rows, part, values in _by_member(vectors, members, band, power):
        best, second, lower = values[0].clone(), torch.zeros_like(values[0]), values[0].clone()
        for own in values[1:]:
            torch.minimum(best, own, out=lower)
            torch.maximum(second, lower, out=second)
            torch.maximum(best, own, out=best)
        # Only the best exceeds the second best, and none does where two members are the best.
        sums[rows] += (values.sub_(second).clamp_(min=0) @ weights[part]).T
    return sums


def _by_member(
    vectors: Tensor, members: Tensor, band: Tensor, power: float
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield max(0, cos)^power (k, n', P') of some sets with a part of a band, and which they are."""
    size = max(ROOM // (members.shape[1] * min(len(band), COLUMNS)), 1)
    for column in range(0, len(band), COLUMNS):
        part = slice(column, column + COLUMNS)
        values = (vectors @ band[part].T).clamp_(min=0).pow_(power)  # (U, P')
        for row in range(0, len(members), size):
            rows = slice(row, row + size)
            yield rows, part, F.embedding(members[rows].T, values)
