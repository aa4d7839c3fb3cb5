"""Pairs of facet values → train, val or test, so that no tested combination occurs in training.

The unit of the split is a *pair* of values of two different facets, such as (style, gothic) x
(occasion, beach). A combination of three values belongs to the strictest of its pairs. So a test
combination is not only absent from training as a whole: it is contained in no larger training
combination either. Each single value does occur in training.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from r4t.data.wardrobe.facets import FACETS

Pair = frozenset[tuple[str, str]]

HELD_OUT = (("test", 0.1), ("val", 0.1))
MOST_HELD_OUT = 0.5  # share of the pairs of one value, within two facets, that may leave training


def split_pairs(
    rng: random.Random, first: str, second: str, held_out: Sequence[tuple[str, float]] = HELD_OUT
) -> dict[Pair, str]:
    """Deal all pairs of two facets to the splits.

    Pairs are dealt in random order; one is passed over where a value of it has given
    `MOST_HELD_OUT` of its pairs away, so that each value keeps pairs in training.

    Args:
        rng: Source of the order.
        first: A facet.
        second: Another facet.
        held_out: Splits other than training, each with its share of the pairs in (0, 1).

    Returns:
        {(first, value), (second, value)} → split.
    """
    pairs = [((first, a), (second, b)) for a in FACETS[first] for b in FACETS[second]]
    rng.shuffle(pairs)
    splits: dict[Pair, str] = {frozenset(pair): "train" for pair in pairs}
    room = {
        **{(first, a): int(MOST_HELD_OUT * len(FACETS[second])) for a in FACETS[first]},
        **{(second, b): int(MOST_HELD_OUT * len(FACETS[first])) for b in FACETS[second]},
    }
    given: Counter[tuple[str, str]] = Counter()
    waiting = iter(pairs)
    for split, share in held_out:
        wanted = round(share * len(pairs))
        for pair in waiting:
            if wanted == 0:
                break
            if all(given[value] < room[value] for value in pair):
                given.update(pair)
                splits[frozenset(pair)] = split
                wanted -= 1
    return splits


def split_of(facets: Mapping[str, str], pairs: Mapping[Pair, str]) -> str | None:
    """The split of a combination of two or three facet values.

    Returns:
        "train" if all its pairs are training pairs; "test" or "val" if one of its pairs is; None
        if it has both a test and a val pair: it is left out.
    """
    splits = {pairs[frozenset(pair)] for pair in combinations(facets.items(), 2)} - {"train"}
    if len(splits) > 1:
        return None
    return splits.pop() if splits else "train"
