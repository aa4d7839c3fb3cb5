"""Pairs of facet values → train, val or test, so that no tested combination occurs in training.

The unit of the split is a *pair* of values of two facets, such as (style, gothic) and (occasion,
beach). A combination of three values belongs to the strictest of its pairs, so no training
combination contains a test combination. Each single value does occur in training.
"""

import random
from collections import Counter
from collections.abc import Mapping
from itertools import combinations

from r4t.data.wardrobe.facets import FACETS

Pair = frozenset[tuple[str, str]]
"""{(facet, value), (another facet, value)}."""
HELD_OUT = (("test", 0.1), ("val", 0.1))
MOST_HELD_OUT = 0.5  # share of the pairs of one value, within two facets, that may leave training


def split_pairs(rng: random.Random, first: str, second: str) -> dict[Pair, str]:
    """Deal all pairs of values of two facets to the splits, in random order, by `HELD_OUT`.

    A pair is skipped if `MOST_HELD_OUT` of the pairs of one of its values have left training, so
    that each value keeps pairs there.
    """
    pairs = [((first, a), (second, b)) for a in FACETS[first] for b in FACETS[second]]
    rng.shuffle(pairs)
    splits: dict[Pair, str] = {frozenset(pair): "train" for pair in pairs}
    other = {first: second, second: first}
    held_out: Counter[tuple[str, str]] = Counter()
    waiting = iter(pairs)
    for split, share in HELD_OUT:
        wanted = round(share * len(pairs))
        for pair in waiting:
            if wanted == 0:
                break
            if all(held_out[v] < int(MOST_HELD_OUT * len(FACETS[other[v[0]]])) for v in pair):
                held_out.update(pair)
                splits[frozenset(pair)] = split
                wanted -= 1
    return splits


def split_of(facets: Mapping[str, str], pairs: Mapping[Pair, str]) -> str | None:
    """The split of a combination: "train" if all its pairs are, "test" or "val" if one of them is.

    None, which leaves the combination out, if it has both a test and a val pair.
    """
    splits = {pairs[frozenset(pair)] for pair in combinations(facets.items(), 2)} - {"train"}
    if len(splits) > 1:
        return None
    return splits.pop() if splits else "train"
