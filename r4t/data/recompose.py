"""Training queries with reference sets → further ones: the same text, a recomposed set.

The paper augments its WSCR queries by recomposed sets without giving a rule (§7). Here each item of
a set is swapped, with the probability `SWAP`, for an item out of the sets of the query's nearest
training queries: the one nearest to it of the same slot, where there are slots and such an item,
else the nearest of all. One item at least is swapped and one stays.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
        queries: n training queries with references; no others, so nothing leaks in from elsewhere.
        vectors: (n, d) unit query vectors; a zero row (no known word) is no neighbor of anyone.
        rows: Item id → its row below.
        embeddings: (N, d) unit item vectors.
        slots: N values; None for an item without one, and no list at all for no slots.
    """

    queries: Sequence[Query]
    vectors: Tensor
    rows: Mapping[str, int]
    embeddings: Tensor
    slots: Sequence[Any] | None = None
    _donors: dict[int, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._known = (self.vectors != 0).any(1)

    def bases(self) -> list[int]:
        """Positions of the queries that can be recomposed: a known word and two items at least."""
        known = self._known.tolist()
        return [n for n, q in enumerate(self.queries) if known[n] and len(q.references) > 1]

    def donors(self, base: int) -> list[str]:
        """Items of the `NEIGHBORS` nearest other queries that the base's own set lacks."""
        if base not in self._donors:
            cosines = (self.vectors @ self.vectors[base]).masked_fill(~self._known, -torch.inf)
            cosines[base] = -torch.inf
            nearest = cosines.argsort(descending=True, stable=True)[:NEIGHBORS]
            others = nearest[cosines[nearest] > -torch.inf].tolist()
            found = dict.fromkeys(item for n in others for item in self.queries[n].references)
            own = set(self.queries[base].references)
            self._donors[base] = [item for item in found if item not in own]
        return self._donors[base]

    def draw(self, base: int, rng: random.Random) -> tuple[str, ...]:
        """Return the items of one recomposed set of a query; its own where nothing can be lent."""
        items = list(self.queries[base].references)
        places = [place for place in range(len(items)) if rng.random() < SWAP]
        if not places:
            places = [rng.randrange(len(items))]
        if len(places) == len(items):
            places.remove(rng.choice(places))
        for place in places:
            free = [item for item in self.donors(base) if item not in items]
            if free:
                items[place] = self._instead(items[place], free)
        return tuple(items)

    def _instead(self, item: str, free: list[str]) -> str:
        """Return the free item nearest to ``item``, of its slot if there is one."""
        row = self.rows[item]
        if self.slots is not None and self.slots[row] is not None:
            slot, slots = self.slots[row], self.slots
            free = [other for other in free if slots[self.rows[other]] == slot] or free
        cosines = self.embeddings[[self.rows[other] for other in free]] @ self.embeddings[row]
        return free[int(cosines.argmax())]


def recompose(
    recomposer: Recomposer, count: int, seed: int, others: Sequence[Query] = ()
) -> list[Query]:
    """Draw recomposed queries, spread evenly over those that can be recomposed.

    Args:
        recomposer: Of the training queries.
        count: How many at most; fewer where new sets run out.
        seed: The same seed gives the same queries.
        others: Validation and test queries: only their ids and sets are looked at, so that no
            recomposed one repeats them.

    Returns:
        Queries of the kind "recomposed" with the text of their query and an id of their own
        ("7+1", "7+2", …); no set equals that of any query or of another recomposed one.
    """
    rng = random.Random(seed)
    known = [*recomposer.queries, *others]
    ids = {query.id for query in known}
    seen = {frozenset(query.references) for query in known}
    number: Counter[int] = Counter()
    made: list[Query] = []
    bases = recomposer.bases() if count else []
    while bases and len(made) < count:
        fruitful = []
        for base in rng.sample(bases, len(bases)):
            if len(made) == count:
                break
            drawn = (recomposer.draw(base, rng) for _ in range(TRIES))
            items = next((items for items in drawn if frozenset(items) not in seen), None)
            if items is None:
                continue
            query = recomposer.queries[base]
            number[base] += 1
            while f"{query.id}+{number[base]}" in ids:
                number[base] += 1
            name = f"{query.id}+{number[base]}"
            made.append(replace(query, id=name, kind=RECOMPOSED, references=items))
            ids.add(name)
            seen.add(frozenset(items))
            fruitful.append(base)
        bases = sorted(fruitful)
    return made
