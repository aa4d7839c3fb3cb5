"""Training queries with references → methods that remember them: nearest sets, a ridge map.

Like R4T they see the training references; neither may see those of the query that it answers.
"""

import random
from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.methods.method import Ranking
from r4t.search import Searcher
from r4t.sets import SetBatch, pad_rows
from r4t.support.ridge import PENALTIES, fit_ridge
from r4t.support.seeds import query_seed
from r4t.support.text import normalize_text

FOLDS = 5


class TrainingSets:
    """Training queries with references, and which of them are the query itself.

    Args:
        name: Of the method that remembers them.
        searcher: The frozen retriever.
        training: Training queries; those without references are skipped.
        least: How many must have references.

    Attributes:
        queries: The n queries with references.

    Raises:
        InputError: If fewer than ``least`` training queries have references.
    """

    def __init__(
        self, name: str, searcher: Searcher, training: Sequence[Query], least: int
    ) -> None:
        self.searcher = searcher
        self.queries = with_references(name, training, least)
        self.vectors = searcher.encode([query.text for query in self.queries])  # (n, d)
        self._places: dict[tuple[str, str], list[int]] = {}
        for row, query in enumerate(self.queries):
            for key in keys(query):
                self._places.setdefault(key, []).append(row)

    def rows(self) -> Tensor:
        """Return the distinct catalog rows (n, R) of each set, padded with −1."""
        catalog = self.searcher.catalog
        return pad_rows([[*dict.fromkeys(catalog.rows(q.references))] for q in self.queries])

    def own(self, queries: Sequence[Query]) -> list[list[int]]:
        """Return for each query the places of training queries with its id or normalized text."""
        found = [[self._places.get(key, []) for key in keys(query)] for query in queries]
        return [sorted({place for places in each for place in places}) for each in found]

    def closeness(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Return the cosines (B, n) of queries (B, d) with training queries; −∞ with a query's own."""
        cosines = vectors @ self.vectors.T
        for row, own in enumerate(self.own(queries)):
            cosines[row, own] = -torch.inf
        return cosines


@dataclass
class NearestSets:
    """Searches toward items of the reference sets of the nearest training queries.

    Direction i is ``normalize(w·z_q + (1 − w)·z_item)``, with one item drawn from the reference set
    of the i-th nearest training query. Training queries with the id or the normalized text of the
    query are skipped.

    Args:
        searcher: The frozen retriever.
        training: Training queries; those without references are skipped.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
        weight: w in [0, 1]: 1 searches with the query alone, 0 with the items alone.
        seed: Of the drawn items.

    Raises:
        InputError: If fewer than k training queries have references (when called: besides the
            query's own), or ``weight`` is outside [0, 1].
    """

    searcher: Searcher
    training: Sequence[Query]
    set_size: int = 10
    pool_size: int = 150
    weight: float = 0.6
    seed: int = 0
    key: str = "nearest-sets"
    name: str = "Nearest sets"
    draws: int | None = 1

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(
                expected="a weight of the query between 0 (items alone) and 1 (the query alone)",
                found=f"{self.weight}",
                remedy="Choose a number in between.",
            )
        self._memory = TrainingSets(self.name, self.searcher, self.training, self.set_size)
        self.training = self._memory.queries

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        closeness = self._memory.closeness(queries, vectors)
        scores, nearest = closeness.topk(self.set_size, dim=-1)
        short = (scores == -torch.inf).any(-1).nonzero().flatten().tolist()
        if short:
            others = int((scores[short[0]] > -torch.inf).sum())
            raise InputError(
                expected=f"at least {self.set_size} training queries besides the query's own",
                found=f"{others} for {queries[short[0]].text!r}",
                remedy="Add training queries.",
            )
        rows = []
        for query, neighbors in zip(queries, nearest.tolist(), strict=True):
            rng = random.Random(f"{self.seed}/{query.id}")
            drawn = [rng.choice(self.training[row].references) for row in neighbors]
            rows.append(self.searcher.catalog.rows(drawn))
        items = self.searcher.embeddings(torch.tensor(rows))
        mixed = self.weight * vectors.unsqueeze(1) + (1 - self.weight) * items
        texts = [query.text for query in queries]
        return self.searcher.retrieve(
            vectors, normalize(mixed), query_texts=texts, pool_size=self.pool_size
        )


class RidgeMap(Ranking):
    """A linear map from queries to items, fitted on the training references; it ranks the catalog.

    Ridge regression with intercept, in closed form, from the query's embedding to the unit mean of
    its reference items minus the query itself: both are in one space, so the penalty draws the map
    toward the identity (No fan-out) rather than toward zero, which recalls far less. ``penalty`` is
    the one with the least leave-one-out error on the training queries.

    Args:
        searcher: The frozen retriever.
        training: Training queries; those without references are skipped.
        set_size: Number k of items.
        pool_size: Number P of distinct items.
        penalties: Candidates, each above 0; X'X of unit vectors has the trace n.
        targets: (n, d) unit vectors for the n training queries, in place of the means of references.

    Raises:
        InputError: If fewer than 2 training queries have references; or, when called, if a query is
            one of the training queries (the same id or normalized text).
    """

    def __init__(
        self,
        searcher: Searcher,
        training: Sequence[Query],
        set_size: int = 10,
        pool_size: int = 150,
        penalties: Sequence[float] = PENALTIES,
        key: str = "ridge-map",
        name: str = "Ridge map",
        targets: Tensor | None = None,
    ) -> None:
        super().__init__(searcher, set_size, pool_size, key=key, name=name)
        if targets is None:
            training = with_references(name, training, 2)
            targets = mean_references(searcher, training)
        self._seen = all_keys(training)
        queries = searcher.encode([query.text for query in training])
        self.ridge = fit_ridge(queries, targets, penalties)

    @property
    def penalty(self) -> float:
        """The chosen one of ``penalties``."""
        return self.ridge.penalty

    def map(self, vectors: Tensor) -> Tensor:
        """Map queries (B, d) to unit vectors (B, d) near which their items are expected."""
        return normalize(self.ridge(vectors))

    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by cosine with the mapped query."""
        check_unseen(self.name, queries, self._seen)
        return self.searcher.nearest(self.map(vectors), self.pool_size)[1]


def mean_references(searcher: Searcher, training: Sequence[Query]) -> Tensor:
    """Return the means of the reference items of n queries, as unit vectors (n, d)."""
    rows = [searcher.catalog.rows(query.references) for query in training]
    return torch.stack([normalize(searcher.catalog.embeddings[of].mean(0)) for of in rows])


def keys(query: Query) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return id and normalized text: queries that share either must not teach each other."""
    return ("id", query.id), ("text", normalize_text(query.text))


def fold(query: Query) -> int:
    """Return the part in 0..FOLDS − 1 to which a query's text belongs."""
    return query_seed(normalize_text(query.text), -3) % FOLDS


def all_keys(queries: Sequence[Query]) -> set[tuple[str, str]]:
    """Return the ``keys`` of all queries."""
    return {key for query in queries for key in keys(query)}


def check_unseen(name: str, queries: Sequence[Query], seen: Container[tuple[str, str]]) -> None:
    """Raise an InputError if a query has one of the keys on which the method ``name`` was fitted."""
    leaked = [query for query in queries if any(key in seen for key in keys(query))]
    if leaked:
        raise InputError(
            expected=f"queries whose answers {name} has not seen in training",
            found=f"{len(leaked)} of {len(queries)} among its training queries, by id or text, "
            f"such as {leaked[0].text!r} (id {leaked[0].id!r})",
            remedy="Evaluate on another split, or leave the method out.",
        )


def with_references(name: str, training: Sequence[Query], least: int) -> list[Query]:
    """Return the queries with references; an InputError names the method if these are too few."""
    with_references = [query for query in training if query.references]
    if len(with_references) < least:
        raise InputError(
            expected=f"at least {least} training queries with references for {name}",
            found=f"{len(with_references)}",
            remedy="Leave the method out where queries have no references.",
        )
    return with_references
