"""Random source → designs (one style each), their near-duplicate variants, and shop titles.

A *design* fixes style, occasions, category, material, brand and details. Its *variants* (one to ten,
Zipf-like) differ only in color, size word and season word, as in a real shop.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from r4t.data.wardrobe.vocabulary import (
    CATEGORIES,
    FACETS,
    FAMILIES,
    FAMILY_OF,
    OCCASIONS,
    SEASONS,
    STYLES,
    Words,
    facet_words,
    seasons_of,
    style_details,
)

MOST_VARIANTS = 10
ZIPF_EXPONENT = 0.8

# Shares of items or designs in which a channel says something about the latent facets.
OWN_BRAND = 0.65  # the brand is one of the style's five; else any brand
BRAND_IN_TITLE = 0.85
DETAIL_COUNTS = ((1, 2, 3), (0.4, 0.45, 0.15))  # visible details, and how often so many
FOREIGN_DETAIL = 0.1  # a detail of any style instead of the item's own
CUE_IN_TITLE = 0.65  # a visible cue of the primary occasion
STYLE_WORD = 0.2
OCCASION_WORD = 0.2
FAMILY_WORD = 0.12
SEASON_WORD = 0.08
SIZE_WORD = 0.25
FILLER_WORD = 0.06
FAVORED = 6.0  # weight of a preferred category, material or occasion against 1

SIZE_WORDS = ("petite", "tall", "plus", "wide", "mini", "midi", "junior", "maternity")
FILLERS = ("style", "look", "outfit", "pieces")  # words without a facet, which queries use too

TitleWords = dict[tuple[str, str], Words]  # (facet, value) → the words for it that occur in titles


@dataclass(frozen=True)
class Design:
    """What all variants of one product share."""

    style: str
    occasions: Words  # two or three, the primary one first
    category: str
    noun: str
    material: str
    brand: str
    brand_in_title: bool
    details: Words  # visible words, cue included
    naming: Words  # words that name its style or occasion; mostly empty
    price: float


@dataclass(frozen=True)
class Item:
    """One variant with its title, and with the latent facets that only the truth may hold."""

    id: str
    title: str
    design: Design
    color: str

    @property
    def slot(self) -> str:
        """Place in an outfit."""
        return CATEGORIES[self.design.category].slot

    @property
    def facets(self) -> dict[str, Words]:
        """Facet → the values it matches."""
        return {
            "style": (self.design.style,),
            "occasion": self.design.occasions,
            "family": (FAMILY_OF[self.color],),
            "season": seasons_of(self.design.category, self.design.material),
        }


class Deck:
    """Deals the words that name facet values sparingly and evenly.

    Each word of a value is dealt before one is repeated, so that small catalogs say many of them.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._piles: dict[tuple[str, str], list[str]] = {}
        self.dealt: Counter[tuple[str, str]] = Counter()  # words so far of each (facet, value)
        self._owed: dict[tuple[str, str], float] = {}

    def deal(self, facet: str, value: str) -> str:
        """Return the next word for one value of one facet."""
        self.dealt[facet, value] += 1
        pile = self._piles.setdefault((facet, value), [])
        if not pile:
            pile.extend(facet_words(facet, value))
            self._rng.shuffle(pile)
        return pile.pop()

    def is_due(self, facet: str, value: str, share: float) -> bool:
        """Whether to name this value now: true in a `share` of the calls for it, evenly spaced."""
        owed = self._owed.setdefault((facet, value), self._rng.random()) + share
        self._owed[facet, value] = owed % 1
        return owed >= 1


def _favor(rng: random.Random, options: Sequence[str], favored: Sequence[str]) -> str:
    weights = [FAVORED if option in favored else 1.0 for option in options]
    return rng.choices(options, weights)[0]


def _occasions(rng: random.Random, category: str) -> Words:
    """Two or three occasions; those that the category suits are likelier."""
    suited = [name for name, occasion in OCCASIONS.items() if category in occasion.categories]
    chosen: list[str] = []
    for _ in range(rng.choices((2, 3), (0.6, 0.4))[0]):
        chosen.append(_favor(rng, [name for name in OCCASIONS if name not in chosen], suited))
    return tuple(chosen)


def _details(rng: random.Random, style: str, occasion: str) -> Words:
    details: list[str] = []
    for _ in range(rng.choices(*DETAIL_COUNTS)[0]):
        source = rng.choice(list(STYLES)) if rng.random() < FOREIGN_DETAIL else style
        details.append(rng.choice(style_details(source)))
    if rng.random() < CUE_IN_TITLE:
        details.append(rng.choice(OCCASIONS[occasion].cues))
    return tuple(dict.fromkeys(details))


def _design(rng: random.Random, deck: Deck, name: str) -> Design:
    """Draw one design of a style."""
    style = STYLES[name]
    category = _favor(rng, list(CATEGORIES), style.categories)
    occasions = _occasions(rng, category)
    brands = style.brands
    if rng.random() >= OWN_BRAND:
        brands = tuple(brand for other in STYLES.values() for brand in other.brands)
    naming = []
    if deck.is_due("style", name, STYLE_WORD):
        naming.append(deck.deal("style", name))
    if rng.random() < OCCASION_WORD:
        rarest = min(occasions, key=lambda occasion: deck.dealt["occasion", occasion])
        naming.append(deck.deal("occasion", rarest))
    return Design(
        style=name,
        occasions=occasions,
        category=category,
        noun=rng.choice(CATEGORIES[category].nouns),
        material=_favor(rng, CATEGORIES[category].materials, style.materials),
        brand=rng.choice(brands),
        brand_in_title=rng.random() < BRAND_IN_TITLE,
        details=_details(rng, name, occasions[0]),
        naming=tuple(naming),
        price=CATEGORIES[category].price * 2 ** rng.uniform(-1.0, 1.0),
    )


def _colors(rng: random.Random, style: str, count: int) -> list[str]:
    """Distinct colors of the variants of one design; its style's families are likelier."""
    weights = dict.fromkeys(FAMILIES, 0.06) | dict(zip(STYLES[style].families, (0.4, 0.26, 0.16)))
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        family = rng.choices(list(weights), list(weights.values()))[0]
        chosen.setdefault(rng.choice(FAMILIES[family]))
    return list(chosen)


def _title(rng: random.Random, deck: Deck, design: Design, color: str) -> str:
    """A shop's title; the shares above say how often it has which word."""
    seasons = seasons_of(design.category, design.material)
    size = rng.choice(SIZE_WORDS) if rng.random() < SIZE_WORD else ""
    says_season = len(seasons) < len(SEASONS) and rng.random() < SEASON_WORD
    season = deck.deal("season", rng.choice(seasons)) if says_season else ""
    shade = deck.deal("family", FAMILY_OF[color]) if rng.random() < FAMILY_WORD else ""
    filler = rng.choice(FILLERS) if rng.random() < FILLER_WORD else ""
    brand = design.brand if design.brand_in_title else ""
    words = (brand, size, season, *design.naming, *design.details, design.material, design.noun)
    return " ".join(word for word in (*words, filler, "in", shade, color) if word)


def draw_items(rng: random.Random, size: int) -> list[Item]:
    """Draw `size` items, shuffled: designs dealt evenly to the styles, one to ten variants each."""
    deck = Deck(rng)
    counts = range(1, MOST_VARIANTS + 1)
    weights = [count**-ZIPF_EXPONENT for count in counts]
    order: list[str] = []
    drafts: list[tuple[str, Design, str]] = []
    while len(drafts) < size:
        order = order or rng.sample(list(STYLES), len(STYLES))
        design = _design(rng, deck, order.pop())
        variants = min(rng.choices(counts, weights)[0], size - len(drafts))
        for color in _colors(rng, design.style, variants):
            drafts.append((_title(rng, deck, design, color), design, color))
    rng.shuffle(drafts)
    return [Item(f"w{row:05d}", *draft) for row, draft in enumerate(drafts)]


def title_words(items: Sequence[Item]) -> TitleWords:
    """The words that queries may use: those that occur in titles, in the order of `facet_words`.

    Values without such a word are left out.
    """
    spoken = {word for item in items for word in item.title.lower().split()}
    return {
        (facet, value): words
        for facet, values in FACETS.items()
        for value in values
        if (words := tuple(word for word in facet_words(facet, value) if word in spoken))
    }
