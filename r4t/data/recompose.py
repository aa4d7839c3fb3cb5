"""Training queries with reference sets → further ones: the same text, a recomposed set.

The paper augments its WSCR queries by recomposed sets without giving a rule (§7). Here a set is
recomposed from the sets of its query's nearest training queries: each of its items is swapped with
the probability `SWAP`, for an item of the same slot out of those sets (any one, by the seed), else
for the nearest item of those sets. One item at least is swapped and one stays.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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

    def bases(self) -> list[int]:
        """Positions of the queries that can be recomposed: a known word, two items, a donor."""
        return [
            n
            for n, query in enumerate(self.queries)
            if len(query.references) > 1 and self.vectors[n].any() and self.donors(n)
        ]

    def donors(self, base: int) -> list[str]:
        """Items of the `NEIGHBORS` nearest other queries that the base's own set lacks."""
        if base not in self._donors:
            cosines = self.vectors @ self.vectors[base]
            order = cosines.argsort(descending=True, stable=True).tolist()
            others = [n for n in order if n != base and self.vectors[n].any()][:NEIGHBORS]
            found = dict.fromkeys(item for n in others for item in self.queries[n].references)
            own = set(self.queries[base].references)
            self._donors[base] = [item for item in found if item not in own]
        return self._donors[base]

    def draw(self, base: int, rng: random.Random) -> tuple[str, ...]:
        """Return the items of one recomposed set of a query, in the order of the set's slots."""
        items = list(self.queries[base].references)
        places = [place for place in range(len(items)) if rng.random() < SWAP]
        if not places:
            places = [rng.randrange(len(items))]
        if len(places) == len(items):
            places.remove(rng.choice(places))
        for place in places:
            free = [item for item in self.donors(base) if item not in items]
            if free:
                items[place] = self._instead(items[place], free, rng)
        return tuple(items)

    def _instead(self, item: str, free: list[str], rng: random.Random) -> str:
        row = self.rows[item]
        slot = None if self.slots is None else self.slots[row]
        if self.slots is not None and slot is not None:
            same = [other for other in free if self.slots[self.rows[other]] == slot]
            if same:
                return rng.choice(same)
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
