"""Outfits and facet combinations → WSCR and OAR queries in words, split by combination.

No tested combination occurs in training. The unit of the split is a *pair* of values of two facets,
such as (style, gothic) and (occasion, beach). A combination of three values belongs to the strictest
of its pairs, so no training combination contains a test combination. Each single value does occur in
training.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, cycle, islice, product

from r4t.data.queries import SPLITS, Query
from r4t.data.wardrobe.items import FILLERS, Item, TitleWords
from r4t.data.wardrobe.outfits import Outfit
from r4t.data.wardrobe.vocabulary import FACETS, OCCASIONS, STYLES, VOCABULARY

HELD_OUT = (("test", 0.1), ("val", 0.1))
MOST_HELD_OUT = 0.5  # share of the pairs of one value, within two facets, that may leave training
FAMILY_NAMED = 0.6  # share of outfit queries that name the color family
PHRASINGS = 4  # most phrasings of one combination within one kind
TRIES = 12
FEWEST_SLOTS = 2  # slots in which something must fit an open query
KINDS: dict[str, tuple[tuple[str, ...], Sequence[str]]] = {
    kind: (tuple(row["facets"].split()), row["templates"])
    for kind, row in VOCABULARY["open_queries"].items()
}
"""Kind of an OAR query → the facets it names, and its templates."""
OUTFIT_TEMPLATES: dict[tuple[str, ...], Sequence[str]] = {
    tuple(row["facets"].split()): row["templates"] for row in VOCABULARY["outfit_queries"]
}
"""Facets that the query of an outfit names → its templates."""

Splits = dict[str, list[Query]]
Facets = Mapping[str, str]
Pair = frozenset[tuple[str, str]]  # {(facet, value), (another facet, value)}


def _split_pairs(rng: random.Random, first: str, second: str) -> dict[Pair, str]:
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


def _split_of(facets: Facets, pairs: Mapping[Pair, str]) -> str | None:
    """The split of a combination: "train" if all its pairs are, "test" or "val" if one of them is.

    None, which leaves the combination out, if it has both a test and a val pair.
    """
    splits = {pairs[frozenset(pair)] for pair in combinations(facets.items(), 2)} - {"train"}
    if len(splits) > 1:
        return None
    return splits.pop() if splits else "train"


def _role_words(role: str, facets: Facets, title_words: TitleWords) -> Sequence[str]:
    """Words for one role that occur in titles; if none does, all title words of its facet value."""
    if role == "filler":
        return FILLERS
    facet, words_of = {
        "style": ("style", lambda v: (v,)),
        "look": ("style", lambda v: title_words["style", v]),
        "mood": ("style", lambda v: STYLES[v].moods),
        "trend": ("style", lambda v: STYLES[v].trend),
        "lifestyle": ("style", lambda v: STYLES[v].lifestyle),
        "event": ("occasion", lambda v: (v,)),
        "activity": ("occasion", lambda v: OCCASIONS[v].activities),
        "function": ("occasion", lambda v: OCCASIONS[v].functions),
        "shade": ("family", lambda v: title_words["family", v]),
        "season": ("season", lambda v: title_words["season", v]),
    }[role]
    usable = title_words[facet, facets[facet]]
    return [word for word in words_of(facets[facet]) if word in usable] or usable


def _phrase(rng: random.Random, template: str, facets: Facets, title_words: TitleWords) -> str:
    """Fill the {role} fields of a template with words of the facet values; none is used twice."""
    words: list[str] = []
    for part in template.split():
        if part.startswith("{"):
            options = _role_words(part.strip("{}"), facets, title_words)
            options = [word for word in options if word not in words]
            words += [rng.choice(options)] if options else []
        else:
            words.append(part)
    return " ".join(words)


def outfit_queries(
    rng: random.Random, outfits: Sequence[Outfit], title_words: TitleWords
) -> tuple[Splits, dict[str, dict[str, str]]]:
    """One query for each outfit; it names style and occasion, and mostly the color family.

    All outfits of one style and occasion are in one split, whatever their color family.

    Returns:
        Split → queries of kind "set", and query id → the facets it names.
    """
    pairs = _split_pairs(rng, "style", "occasion")
    splits: Splits = {split: [] for split in SPLITS}
    facets_of: dict[str, dict[str, str]] = {}
    for number, outfit in enumerate(outfits):
        facets = {"style": outfit.style, "occasion": outfit.occasion}
        split = pairs[frozenset(facets.items())]
        if rng.random() < FAMILY_NAMED:
            facets["family"] = outfit.family
        template = rng.choice(OUTFIT_TEMPLATES[tuple(facets)])
        text = _phrase(rng, template, facets, title_words)
        query = Query(f"o{number:04d}", text, "set", tuple(item.id for item in outfit.items))
        splits[split].append(query)
        facets_of[query.id] = facets
    return splits, facets_of


def _answerable(items: Sequence[Item], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The combinations of values of these facets that items of several slots match, sorted."""
    slots: dict[tuple[str, ...], set[str]] = {}
    for item in items:
        for values in product(*(item.facets[name] for name in names)):
            slots.setdefault(values, set()).add(item.slot)
    return sorted(values for values in slots if len(slots[values]) >= FEWEST_SLOTS)


def open_queries(
    rng: random.Random, items: Sequence[Item], count: int, title_words: TitleWords
) -> tuple[Splits, dict[str, dict[str, str]]]:
    """About `count` queries without references, an eighth for each of the paper's kinds.

    Combinations that items of at least `FEWEST_SLOTS` slots match come in random order with all
    their phrasings until the kind's share of each split is full. A text that another kind has
    produced already is left out.

    Returns:
        Split → queries, and query id → the facets it names.
    """
    named_together = {
        pair for names, _ in KINDS.values() for pair in combinations(sorted(names), 2)
    }
    pairs: dict[Pair, str] = {}
    for first, second in sorted(named_together):
        pairs |= _split_pairs(rng, first, second)
    splits: Splits = {split: [] for split in SPLITS}
    facets_of: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    for kind, (names, templates) in KINDS.items():
        shares = {"train": 0.8, "val": 0.1, "test": 0.1}
        room = {split: round(share * count / len(KINDS)) for split, share in shares.items()}
        answerable = _answerable(items, names)
        for combination in rng.sample(answerable, len(answerable)):
            facets = dict(zip(names, combination))
            split = _split_of(facets, pairs)
            if split is None:
                continue
            texts: dict[str, None] = {}
            for template in islice(cycle(templates), TRIES):
                if len(texts) < PHRASINGS:
                    texts.setdefault(_phrase(rng, template, facets, title_words))
            for text in texts:
                if text in seen or room[split] == 0:
                    continue
                seen.add(text)
                room[split] -= 1
                query = Query(f"q{len(facets_of):04d}", text, kind)
                splits[split].append(query)
                facets_of[query.id] = facets
    return splits, facets_of
