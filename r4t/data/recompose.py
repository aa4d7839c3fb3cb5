"""Training queries with reference sets → more of them: the same text, a recomposed set.

The paper augments its WSCR queries with recomposed sets and states no rule (§7). Here each item of a
set is swapped, with probability `SWAP`, for an item from the sets of the query's nearest training
queries: the nearest item of the same slot if there is one, else the nearest of all. At least one
item is swapped and at least one stays.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from r4t.data.queries import RECOMPOSED, Query

NEIGHBORS = 10
SWAP = 0.5
TRIES = 8


@dataclass
class Recomposer:
    """Draws recomposed sets of training queries.

    Args:
        queries: n training queries with references; no others, so that nothing leaks in.
        vectors: (n, d) unit query vectors; a query with a zero row (no known word) takes no part.
        rows: Item id → its row below.
        embeddings: (N, d) unit item vectors.
        slots: N values, None for an item without one; no list if items have no slots.
    """

    queries: Sequence[Query]
    vectors: Tensor
    rows: Mapping[str, int]
    embeddings: Tensor
    slots: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        self._is_known = (self.vectors != 0).any(1)
        self._donors: dict[int, list[str]] = {}

    def bases(self) -> list[int]:
        """Positions of the queries that can be recomposed: with a known word and two items."""
        pairs = enumerate(zip(self.queries, self._is_known.tolist(), strict=True))
        return [n for n, (query, is_known) in pairs if is_known and len(query.references) > 1]

    def donors(self, base: int) -> list[str]:
        """Items of the `NEIGHBORS` nearest other queries that the base's own set lacks."""
        if base not in self._donors:
            cosines = (self.vectors @ self.vectors[base]).masked_fill(~self._is_known, -torch.inf)
            cosines[base] = -torch.inf
            nearest = cosines.argsort(descending=True, stable=True)[:NEIGHBORS]
            nearest = nearest[cosines[nearest] > -torch.inf]
            items = dict.fromkeys(i for n in nearest.tolist() for i in self.queries[n].references)
            references = set(self.queries[base].references)
            self._donors[base] = [item for item in items if item not in references]
        return self._donors[base]

    def draw(self, base: int, rng: random.Random) -> tuple[str, ...]:
        """Return the items of one recomposed set; the base's own if no donor has an item."""
        items = list(self.queries[base].references)
        places = [place for place in range(len(items)) if rng.random() < SWAP]
        places = places or [rng.randrange(len(items))]
        if len(places) == len(items):
            places.remove(rng.choice(places))
        for place in places:
            if free := [item for item in self.donors(base) if item not in items]:
                items[place] = self._nearest(items[place], free)
        return tuple(items)

    def _nearest(self, item: str, free: list[str]) -> str:
        """Return the free item nearest to ``item``, of its slot if there is one."""
        row, slots = self.rows[item], self.slots
        if slots is not None and slots[row] is not None:
            free = [other for other in free if slots[self.rows[other]] == slots[row]] or free
        cosines = self.embeddings[[self.rows[other] for other in free]] @ self.embeddings[row]
        return free[int(cosines.argmax())]


def recompose(
    recomposer: Recomposer, count: int, seed: int, others: Sequence[Query] = ()
) -> list[Query]:
    """Draw recomposed queries, spread evenly over those that can be recomposed.

    Returns:
        ``count`` queries, fewer if new sets run out, of the kind "recomposed", with the text of
        their query and an id of their own ("7+1", "7+2", …). No set equals that of another one, of
        a training query or of ``others`` (validation and test). The same seed gives the same.
    """
    rng = random.Random(seed)
    queries = [*recomposer.queries, *others]
    ids = {query.id for query in queries}
    seen = {frozenset(query.references) for query in queries}
    recomposed: list[Query] = []
    bases = recomposer.bases()
    while bases and len(recomposed) < count:
        fruitful = []
        for base in rng.sample(bases, len(bases)):
            if len(recomposed) == count:
                break
            draws = (recomposer.draw(base, rng) for _ in range(TRIES))
            items = next((items for items in draws if frozenset(items) not in seen), None)
            if items is None:
                continue
            query = recomposer.queries[base]
            name = next(n for i in itertools.count(1) if (n := f"{query.id}+{i}") not in ids)
            # Facets are of the set that people composed.
            new = replace(query, id=name, kind=RECOMPOSED, references=items, facets=())
            recomposed.append(new)
            ids.add(name)
            seen.add(frozenset(items))
            fruitful.append(base)
        bases = sorted(fruitful)
    return recomposed
