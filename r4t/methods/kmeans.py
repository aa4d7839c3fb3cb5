"""A query's nearest items → k facets, and of each facet its best item in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.methods.method import Ranking
from r4t.support.seeds import query_seed


def facet_order(labels: Tensor, size: int) -> Tensor:
    """Take the best of each facet, then the second of each, and so on.

    Turns the facets (B, C) of C candidates, best first, into positions (B, size) among them, size at
    most C; facets come in the order of their best.

    Examples:
        >>> facet_order(torch.tensor([[2, 2, 0, 2, 0, 1]]), 6).tolist()
        [[0, 2, 5, 1, 4, 3]]
    """
    member = torch.nn.functional.one_hot(labels)  # (B, C, facets)
    turn = member.cumsum(1).gather(2, labels.unsqueeze(-1)).squeeze(-1)
    first = torch.where(member.any(1), member.argmax(1), labels.shape[1])
    place = first.argsort(dim=1, stable=True).argsort(dim=1).gather(1, labels)
    return (turn * member.shape[2] + place).argsort(dim=1)[:, :size]


@dataclass(kw_only=True)
class KMeansFacets(Ranking):
    """The query's nearest items, clustered into k facets; of each facet its nearest item in turn.

    Clusters the ``depth * pool_size`` nearest items (k-means++ start, seeded by the query's id). At
    depth 1 the pool is that of the plain search in another order; deeper, the far items of every
    facet enter it and recall falls. If fewer than k candidates differ, there are only as many
    facets, and the second items of the facets fill the set.
    """

    depth: int = 1
    seed: int = 0
    key: str = "k-means"
    name: str = "k-means facets"

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by facets in turn."""
        from threadpoolctl import threadpool_limits

        most = min(self.depth * self.pool_size, len(self.searcher.catalog))
        _, rows = self.searcher.nearest(vectors, max(self.pool_size, most))
        # One thread, so that sums, and with them the facets, come out the same on every machine.
        with threadpool_limits(1):
            labels = [
                self._cluster(query, items)
                for query, items in zip(queries, self.searcher.embeddings(rows), strict=True)
            ]
        return rows.gather(1, facet_order(torch.stack(labels), self.pool_size))

    def _cluster(self, query: Query, items: Tensor) -> Tensor:
        """Facet (C,) of each of a query's candidates (C, d)."""
        from sklearn.cluster import KMeans

        facets = min(self.set_size, len(items.unique(dim=0)))
        means = KMeans(facets, n_init=1, random_state=query_seed(query.id, self.seed))
        return torch.from_numpy(means.fit(items.numpy()).labels_).long()
