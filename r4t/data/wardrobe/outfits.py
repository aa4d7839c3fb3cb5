"""Items → compatible outfits: complementary slots, one style, one occasion, one color family."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from r4t.data.wardrobe.items import Item
from r4t.data.wardrobe.vocabulary import FAMILIES, OCCASIONS, STYLES, neighbors

SMALLEST, LARGEST = 4, 6
ACCENT = 0.2  # share of outfits with one item of a neighboring style
QUIET = 0.25  # share of outfits with one item in black, white or a neutral color
QUIET_FAMILIES = ("neutral", "monochrome")
EXTRAS = ("outerwear", "bag", "jewelry", "accessory")

Shelves = defaultdict[tuple[str, ...], list[Item]]  # (style, occasion, family, slot) → items


@dataclass(frozen=True)
class Outfit:
    """Four to six items of different slots, and what makes them go together."""

    items: tuple[Item, ...]
    style: str
    occasion: str
    family: str


def _outfit(
    rng: random.Random, shelves: Shelves, style: str, occasion: str, family: str
) -> Outfit | None:
    """One outfit for a combination, or None if the shelves cannot fill four slots.

    It has a one-piece, or a top and a bottom; shoes; and some of the other slots. One item may be
    of a neighboring style (`ACCENT`), and one in a quiet color (`QUIET`).
    """
    body = ["onepiece"] if rng.random() < 0.4 else ["top", "bottom"]
    slots = [*body, "shoes", *rng.sample(EXTRAS, len(EXTRAS))]
    size = rng.randint(SMALLEST, LARGEST)
    accent = rng.randrange(size) if rng.random() < ACCENT else -1
    quiet = rng.randrange(size) if rng.random() < QUIET else -1
    chosen: list[Item] = []
    for slot in slots:
        if len(chosen) == size:
            break
        styles = neighbors(style) if len(chosen) == accent else (style,)
        families = QUIET_FAMILIES if len(chosen) == quiet else (family,)
        keys = product(styles, [occasion], families, [slot])
        if options := [item for key in keys for item in shelves[key]]:
            chosen.append(rng.choice(options))
    return Outfit(tuple(chosen), style, occasion, family) if len(chosen) >= SMALLEST else None


def draw_outfits(rng: random.Random, items: Sequence[Item], count: int) -> list[Outfit]:
    """Draw `count` distinct outfits, spread evenly over style and occasion, in random order.

    Families are mostly those of the style, so that queries ask for a combination about as often as
    the catalog can answer it. In a small catalog, which cannot fill every combination, the list may
    be shorter: it ends after `20 * count` draws.
    """
    shelves: Shelves = defaultdict(list)
    for item in items:
        facets = item.facets
        keys = product(facets["style"], facets["occasion"], facets["family"], [item.slot])
        for key in keys:
            shelves[key].append(item)
    pairs = list(product(STYLES, OCCASIONS))
    order: list[tuple[str, str]] = []
    outfits: dict[frozenset[str], Outfit] = {}
    for _ in range(20 * count):
        if len(outfits) == count:
            break
        order = order or rng.sample(pairs, len(pairs))
        style, occasion = order.pop()
        families = (*STYLES[style].families, rng.choice(list(FAMILIES)))
        family = rng.choices(families, (4, 3, 2, 1))[0]
        if outfit := _outfit(rng, shelves, style, occasion, family):
            outfits.setdefault(frozenset(item.id for item in outfit.items), outfit)
    return list(outfits.values())
