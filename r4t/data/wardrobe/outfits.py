"""Items → compatible outfits: complementary slots, one style, one occasion, one color family."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from r4t.data.wardrobe.facets import FAMILIES, OCCASIONS
from r4t.data.wardrobe.items import Item
from r4t.data.wardrobe.styles import STYLES, neighbors

SMALLEST, LARGEST = 4, 6
ACCENT = 0.2  # share of outfits with one item of a neighboring style
QUIET = 0.25  # share of outfits with one item in black, white or a neutral color
QUIET_FAMILIES = ("neutral", "monochrome")
EXTRAS = ("outerwear", "bag", "jewelry", "accessory")


@dataclass(frozen=True)
class Outfit:
    """Four to six items of different slots, and what makes them go together."""

    items: tuple[Item, ...]
    style: str
    occasion: str
    family: str


class Shelves:
    """Items by (style, occasion, family, slot)."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._shelves: dict[tuple[str, str, str, str], list[Item]] = {}
        for item in items:
            for occasion in item.design.occasions:
                key = (item.design.style, occasion, item.family, item.slot)
                self._shelves.setdefault(key, []).append(item)

    def pick(
        self, rng: random.Random, styles: Sequence[str], occasion: str, families: Sequence[str],
        slot: str,
    ) -> Item | None:  # fmt: skip
        """Any item of one of the styles and families, or None."""
        found = [
            item
            for style in styles
            for family in families
            for item in self._shelves.get((style, occasion, family, slot), ())
        ]
        return rng.choice(found) if found else None


def draw_outfit(
    rng: random.Random, shelves: Shelves, style: str, occasion: str, family: str
) -> Outfit | None:
    """Draw one outfit for a combination, or None where the shelves cannot fill four slots.

    It has a one-piece, or a top and a bottom; shoes; and some of the other slots. One item may
    be of a neighboring style (`ACCENT`), and one in a quiet color (`QUIET`).
    """
    body = ["onepiece"] if rng.random() < 0.4 else ["top", "bottom"]
    slots = [*body, "shoes", *rng.sample(EXTRAS, len(EXTRAS))]
    size = rng.randint(SMALLEST, LARGEST)
    accent = rng.randrange(size) if rng.random() < ACCENT else -1
    quiet = rng.randrange(size) if rng.random() < QUIET else -1
    chosen: list[Item] = []
    for slot in slots:
        place = len(chosen)
        if place == size:
            break
        styles = neighbors(style) if place == accent else (style,)
        families = QUIET_FAMILIES if place == quiet else (family,)
        item = shelves.pick(rng, styles, occasion, families, slot)
        if item is not None:
            chosen.append(item)
    if len(chosen) < SMALLEST:
        return None
    return Outfit(tuple(chosen), style, occasion, family)


def draw_outfits(rng: random.Random, items: Sequence[Item], count: int) -> list[Outfit]:
    """Draw `count` outfits, spread evenly over style x occasion, in random order.

    Families are drawn from the style's palette, so that a combination is asked for about as often
    as the catalog can answer it. Combinations that the shelves cannot fill come up empty; after
    `20 * count` draws the list may stay shorter (small catalogs).
    """
    shelves = Shelves(items)
    pairs = [(style, occasion) for style in STYLES for occasion in OCCASIONS]
    order: list[tuple[str, str]] = []
    outfits: list[Outfit] = []
    seen: set[frozenset[str]] = set()
    for _ in range(20 * count):
        if len(outfits) == count:
            break
        if not order:
            order = rng.sample(pairs, len(pairs))
        style, occasion = order.pop()
        palette = STYLES[style].families
        family = rng.choices((*palette, rng.choice(list(FAMILIES))), (4, 3, 2, 1))[0]
        outfit = draw_outfit(rng, shelves, style, occasion, family)
        if outfit is None:
            continue
        key = frozenset(item.id for item in outfit.items)
        if key not in seen:
            seen.add(key)
            outfits.append(outfit)
    return outfits
