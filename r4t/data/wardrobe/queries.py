"""Outfits and facet combinations → WSCR and OAR queries, split by combination."""

import random
from collections.abc import Sequence
from itertools import combinations, cycle, islice, product

from r4t.data.queries import SPLITS, Query
from r4t.data.wardrobe.combinations import Pair, split_of, split_pairs
from r4t.data.wardrobe.items import Item
from r4t.data.wardrobe.outfits import Outfit
from r4t.data.wardrobe.phrases import KINDS, OUTFIT_PHRASES, Said, phrase

FAMILY_NAMED = 0.6  # share of outfit queries that name the color family
PHRASINGS = 4  # most phrasings of one combination within one kind
TRIES = 12
FEWEST_SLOTS = 2  # slots in which something must fit an open query

Splits = dict[str, list[Query]]
FacetsOf = dict[str, dict[str, str]]


def outfit_queries(
    rng: random.Random, outfits: Sequence[Outfit], said: Said
) -> tuple[Splits, FacetsOf]:
    """One query for each outfit; it names style and occasion, and mostly the color family.

    All outfits of one style and occasion are in one split, whatever their color family.

    Returns:
        (split → queries of kind "set", query id → facets it names).
    """
    pairs = split_pairs(rng, "style", "occasion")
    splits: Splits = {split: [] for split in SPLITS}
    facets_of: FacetsOf = {}
    for number, outfit in enumerate(outfits):
        facets = {"style": outfit.style, "occasion": outfit.occasion}
        split = pairs[frozenset(facets.items())]
        if rng.random() < FAMILY_NAMED:
            facets["family"] = outfit.family
        text = phrase(rng, rng.choice(OUTFIT_PHRASES[tuple(facets)]), facets, said)
        query = Query(f"o{number:04d}", text, "set", tuple(item.id for item in outfit.items))
        splits[split].append(query)
        facets_of[query.id] = facets
    return splits, facets_of


def _texts(
    rng: random.Random, facets: dict[str, str], templates: Sequence[str], said: Said
) -> list[str]:
    """Up to `PHRASINGS` different texts of one combination."""
    texts: dict[str, None] = {}
    for template in islice(cycle(templates), TRIES):
        texts.setdefault(phrase(rng, template, facets, said))
        if len(texts) == PHRASINGS:
            break
    return list(texts)


def _all_pairs(rng: random.Random) -> dict[Pair, str]:
    """Splits of the pairs of values of every two facets that some kind names together."""
    facets = {pair for names, _ in KINDS.values() for pair in combinations(sorted(names), 2)}
    splits: dict[Pair, str] = {}
    for first, second in sorted(facets):
        splits |= split_pairs(rng, first, second)
    return splits


def _answerable(items: Sequence[Item], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The combinations of values of these facets that items of several slots match, sorted."""
    slots: dict[tuple[str, ...], set[str]] = {}
    for item in items:
        for values in product(*(item.facets[name] for name in names)):
            slots.setdefault(values, set()).add(item.slot)
    return sorted(values for values in slots if len(slots[values]) >= FEWEST_SLOTS)


def open_queries(
    rng: random.Random, items: Sequence[Item], count: int, said: Said
) -> tuple[Splits, FacetsOf]:
    """About `count` queries without references, an eighth for each of the paper's kinds.

    Combinations that items of at least `FEWEST_SLOTS` slots match come in random order with all
    their phrasings until the kind's share of each split is full. A text that another kind has
    produced already is left out.

    Returns:
        (split → queries, query id → facets it names).
    """
    pairs = _all_pairs(rng)
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    splits: Splits = {split: [] for split in SPLITS}
    facets_of: FacetsOf = {}
    seen: set[str] = set()
    for kind, (names, templates) in KINDS.items():
        room = {split: round(share * count / len(KINDS)) for split, share in shares.items()}
        answerable = _answerable(items, names)
        for combination in rng.sample(answerable, len(answerable)):
            facets = dict(zip(names, combination))
            split = split_of(facets, pairs)
            if split is None:
                continue
            for text in _texts(rng, facets, templates, said):
                if text in seen or room[split] == 0:
                    continue
                seen.add(text)
                room[split] -= 1
                query = Query(f"q{len(facets_of):04d}", text, kind)
                splits[split].append(query)
                facets_of[query.id] = facets
    return splits, facets_of
