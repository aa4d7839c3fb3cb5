"""Training queries with references → methods that remember them: nearest sets, a ridge map.

They see the training references, as R4T does; none sees its own query's (that would be a leak).
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.methods.nearest import ranked_sets
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.text import normalize_text


class NearestSets:
    """Memory of the training references: directions toward items of the nearest queries' sets.

    Direction i is ``normalize(w·z_q + (1 − w)·z_item)``, with one item drawn from the reference set
    of the i-th nearest training query. A training query with the id or the normalized text of the
    query asked is passed over.

    Args:
        searcher: The retriever.
        training: Training queries; those without references are passed over.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
        weight: w in [0, 1]: 1 searches with the query alone, 0 with the items alone.
        seed: Of the drawn items.

    Raises:
        InputError: Fewer than k training queries have references (when called: besides the query's
            own), or ``weight`` is outside [0, 1].
    """

    def __init__(
        self,
        searcher: Searcher,
        training: Sequence[Query],
        set_size: int = 10,
        pool_size: int = 150,
        weight: float = 0.6,
        seed: int = 0,
    ) -> None:
        if not 0 <= weight <= 1:
            raise InputError(
                f"The weight of the query must lie between 0 (items alone) and 1 (the query alone) — "
                f"found {weight} — choose a number in between."
            )
        self.name = "Nearest sets"
        self.searcher = searcher
        self.training = _with_references(self.name, training, set_size)
        self.set_size, self.pool_size, self.weight, self.seed = set_size, pool_size, weight, seed
        self._known = searcher.encode([query.text for query in self.training])
        self._places: dict[tuple[str, str], list[int]] = {}
        for row, query in enumerate(self.training):
            for key in keys(query):
                self._places.setdefault(key, []).append(row)

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        closeness = z @ self._known.T
        for row, query in enumerate(queries):
            own = [place for key in keys(query) for place in self._places.get(key, [])]
            closeness[row, own] = -torch.inf
        scores, nearest = closeness.topk(self.set_size, dim=-1)
        self._check(queries, scores)
        drawn = [
            self._draw(query, [self.training[row] for row in rows])
            for query, rows in zip(queries, nearest.tolist(), strict=True)
        ]
        rows = torch.tensor([self.searcher.catalog.rows(ids) for ids in drawn])
        mixed = self.weight * z.unsqueeze(1) + (1 - self.weight) * self.searcher.embeddings(rows)
        texts = [query.text for query in queries]
        return self.searcher.retrieve(
            z, normalize(mixed), query_texts=texts, pool_size=self.pool_size
        )

    def _check(self, queries: Sequence[Query], scores: Tensor) -> None:
        short = (scores == -torch.inf).any(-1).nonzero().flatten().tolist()
        if short:
            left = int((scores[short[0]] > -torch.inf).sum())
            raise InputError(
                f"Nearest sets needs at least {self.set_size} training queries besides the query's "
                f"own — found {left} for {queries[short[0]].text!r} — bring more training queries."
            )

    def _draw(self, query: Query, neighbors: Sequence[Query]) -> list[str]:
        rng = random.Random(f"{self.seed}/{query.id}")
        return [rng.choice(neighbor.references) for neighbor in neighbors]


class RidgeMap:
    """A linear map from queries to items, fitted on the training references; it ranks the catalog.

    Ridge regression with intercept, in closed form, from the query's embedding to the unit mean of
    its reference items less the query itself: both live in one space, so the penalty draws the map
    toward the identity (No fan-out) rather than toward zero, which recalls far less. The penalty has
    the least leave-one-out error on the training queries. The mapped query ranks the catalog: k
    nearest items, P nearest as pool, no directions.

    Args:
        searcher: The retriever.
        training: Training queries; those without references are passed over.
        set_size: Number k of items.
        pool_size: Number P of distinct items.
        penalties: To choose among, each above 0; X'X of unit vectors has the trace n.

    Attributes:
        penalty: The one chosen.

    Raises:
        InputError: Fewer than 2 training queries have references; or, when called, a query is one
            of the training queries (the same id or normalized text).
    """

    def __init__(
        self,
        searcher: Searcher,
        training: Sequence[Query],
        set_size: int = 10,
        pool_size: int = 150,
        penalties: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    ) -> None:
        from sklearn.linear_model import RidgeCV

        self.name = "Ridge map"
        self.searcher = searcher
        self.set_size, self.pool_size = set_size, pool_size
        known = _with_references(self.name, training, 2)
        self._seen = {key for query in known for key in keys(query)}
        queries = searcher.encode([query.text for query in known]).double()
        means = torch.stack([self._mean(query) for query in known]).double()
        fitted = RidgeCV(penalties).fit(queries.numpy(), (means - queries).numpy())
        self.penalty = float(fitted.alpha_)
        self._slope = torch.from_numpy(fitted.coef_.T.copy())  # (d, d)
        self._intercept = torch.from_numpy(fitted.intercept_)

    def _mean(self, query: Query) -> Tensor:
        rows = self.searcher.catalog.rows(query.references)
        return normalize(self.searcher.catalog.embeddings[rows].mean(0))

    def map(self, z: Tensor) -> Tensor:
        """Map queries (B, d) to unit vectors (B, d) where their items are expected."""
        shift = z.double() @ self._slope + self._intercept
        return normalize((z.double() + shift).to(z.dtype))

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries."""
        leaked = [query for query in queries if not self._seen.isdisjoint(keys(query))]
        if leaked:
            raise InputError(
                f"Ridge map must not have seen the answers — found {len(leaked)} of {len(queries)} "
                f"queries among its training queries, by id or text, such as {leaked[0].text!r} "
                f"(id {leaked[0].id!r}) — evaluate on another split, or leave it out."
            )
        _, ranking = self.searcher.index.search(self.map(z), self.pool_size)
        return ranked_sets(self.searcher, z, ranking, self.set_size, queries)


def keys(query: Query) -> tuple[tuple[str, str], tuple[str, str]]:
    """What two queries must not share for one to be memory for the other: id, normalized text."""
    return ("id", query.id), ("text", normalize_text(query.text))


def _with_references(name: str, training: Sequence[Query], least: int) -> list[Query]:
    known = [query for query in training if query.references]
    if len(known) < least:
        raise InputError(
            f"{name} needs at least {least} training queries with references — found {len(known)} — "
            "leave it out for queries without references."
        )
    return known
