"""Training sets → items ranked by how many of them hold it: of all sets, or of the nearest ones.

Both leave out the sets of training queries with the id or the normalized text of the query.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import check_least
from r4t.geometry import distinct_first
from r4t.methods.method import Method, Ranking
from r4t.methods.training_sets import TrainingSets
from r4t.objective import load_objective
from r4t.search import Searcher

NEIGHBORS = (4, 8, 16, 32)
POWERS = (0.0, 1.0, 4.0)  # 0 counts sets, a higher one listens to the nearest
AT_ONCE = 64  # queries in a call


def mean_recall(
    method: Method, searcher: Searcher, queries: Sequence[Query], vectors: Tensor
) -> float:
    """Return the mean share () of the references of n queries (n, d) that a method's pools hold.

    0 (no reference is found) … 1 (all are). Validation queries choose settings by it.
    """
    coverage = load_objective("coverage")
    total = 0.0
    for start in range(0, len(queries), AT_ONCE):
        part = queries[start : start + AT_ONCE]
        sets = method(part, vectors[start : start + AT_ONCE])
        total += coverage(sets.extended(references=searcher.references(part))).double().sum().item()
    return total / len(queries)


class MostPopular(Ranking):
    """The items that most training sets hold, the same for every query.

    Items in equally many sets keep the order of the catalog. Items in no set follow, the nearest to
    the query first, so a pool depends on the query only if the training sets hold fewer than P items.

    Args:
        searcher: The frozen retriever.
        training: Training queries; those without references are skipped.
        set_size: Number k of items.
        pool_size: Number P of distinct items.

    Raises:
        InputError: If fewer than 2 training queries have references.
    """

    def __init__(
        self,
        searcher: Searcher,
        training: Sequence[Query],
        set_size: int = 10,
        pool_size: int = 150,
        key: str = "popular",
        name: str = "Most popular items",
    ) -> None:
        super().__init__(searcher, set_size, pool_size, key=key, name=name)
        self.memory = TrainingSets(name, searcher, training, 2)
        self._rows = _with_spare(self.memory.rows(), len(searcher.catalog))
        self._counts = torch.bincount(self._rows.flatten(), minlength=len(searcher.catalog) + 1)

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by the number of sets that hold an item."""
        counts = self._counts.repeat(len(queries), 1)
        for row, own in enumerate(self.memory.own(queries)):
            if own:
                counts[row] -= torch.bincount(self._rows[own].flatten(), minlength=counts.shape[1])
        counts = counts[:, :-1]  # the last one counts the padding
        popular = counts.argsort(dim=1, descending=True, stable=True)
        popular = popular.masked_fill(counts.gather(1, popular) == 0, -1)
        nearest = self.searcher.nearest(vectors, self.searcher.check_pool(self.pool_size))[1]
        return distinct_first(torch.cat([popular, nearest], dim=1), self.pool_size)


class NearestSetsByVote(Ranking):
    """The items that most reference sets of the nearest training queries hold.

    The sets of the n nearest training queries vote for their items, each with the weight
    ``max(0, cosine) ** power``. Equal items, and all that have no vote, follow by closeness to the
    query. Given validation queries, n and the power are those of ``NEIGHBORS`` and ``POWERS`` whose
    pools hold most of their references (of equally good ones the first).

    Args:
        searcher: The frozen retriever.
        training: Training queries; those without references are skipped.
        set_size: Number k of items.
        pool_size: Number P of distinct items.
        neighbors: n, at least 1, without validation queries.
        power: At least 0 (every set has one vote), without validation queries.
        validation: Queries with references, which choose.

    Raises:
        InputError: If fewer than 2 training queries have references, or a number is too small.
    """

    def __init__(
        self,
        searcher: Searcher,
        training: Sequence[Query],
        set_size: int = 10,
        pool_size: int = 150,
        neighbors: int = 8,
        power: float = 1.0,
        validation: Sequence[Query] = (),
        key: str = "nearest-sets-by-vote",
        name: str = "Nearest sets by vote",
    ) -> None:
        super().__init__(searcher, set_size, pool_size, key=key, name=name)
        check_least({"neighbors": (neighbors, 1), "power": (power, 0)})
        self.memory = TrainingSets(name, searcher, training, 2)
        self._rows = _with_spare(self.memory.rows(), len(searcher.catalog))
        self.neighbors, self.power = neighbors, power
        if validation:
            asked = searcher.encode([query.text for query in validation])
            recalls = {}
            for pair in product(NEIGHBORS, POWERS):
                self.neighbors, self.power = pair
                recalls[pair] = mean_recall(self, searcher, validation, asked)
            self.neighbors, self.power = max(recalls, key=lambda pair: recalls[pair])

    def votes(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Return the sum of the votes (B, N) for each item, float64."""
        closeness = self.memory.closeness(queries, vectors)
        cosines, nearest = closeness.topk(min(self.neighbors, closeness.shape[1]), dim=1)
        weights = cosines.double().clamp(min=0) ** self.power
        weights = torch.where(cosines > -torch.inf, weights, 0.0)  # a query has no vote for itself
        rows = self._rows[nearest]  # (B, n, R)
        count = len(self.searcher.catalog)
        votes = torch.zeros(len(queries), count + 1, dtype=torch.float64)
        votes.scatter_add_(1, rows.flatten(1), weights.unsqueeze(2).expand(rows.shape).flatten(1))
        return votes[:, :count]

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by votes, then by closeness."""
        self.searcher.check_pool(self.pool_size)
        order = self.searcher.nearest(vectors, len(self.searcher.catalog))[1]
        votes = self.votes(queries, vectors).gather(1, order)
        return order.gather(1, votes.argsort(dim=1, descending=True, stable=True))[
            :, : self.pool_size
        ]


def _with_spare(rows: Tensor, spare: int) -> Tensor:
    """Return rows with the padding −1 replaced by a spare row after the last item."""
    return rows.masked_fill(rows < 0, spare)
