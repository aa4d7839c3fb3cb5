"""vocabulary.toml → the latent facets and the garments of the wardrobe, and the words for them.

A *facet* is a kind of latent property (`style`, `occasion`, `family`, `season`) with a fixed list of
values. Queries use the words that name a value; titles carry each of them only rarely. No metadata
column names a style. It shows in titles only in part, through four channels of different strength:
brands (its five, in about two thirds of its items), details (ten visible words, five of them shared
with one other style each), materials and colors (overlapping among many styles), and, in a small
share of titles, a word that *names* it.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))
SLOTS = ("top", "bottom", "onepiece", "outerwear", "shoes", "bag", "jewelry", "accessory")

Words = tuple[str, ...]


def _words(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(x.split()) if isinstance(x, str) else x for key, x in row.items()}


SEASONS = _words(VOCABULARY["seasons"])  # season → the words that name it


@dataclass(frozen=True)
class Style:
    """One latent style."""

    moods: Words  # words of the queries of kind *mood*
    trend: Words  # the word of the queries of kind *trend*
    lifestyle: Words  # the word of the queries of kind *lifestyle*
    details: Words  # visible words that no other style uses; SHARED_DETAILS adds five
    brands: Words  # whose primary style this is
    families: Words  # its three color families, the likeliest first
    materials: Words  # preferred where a category allows them
    categories: Words  # preferred


@dataclass(frozen=True)
class Occasion:
    """One latent occasion."""

    activities: Words  # words of the queries of kind *activity*
    functions: Words  # words of the queries of kind *function*
    cues: Words  # visible words, never used in queries; some belong to two occasions
    categories: Words  # those that often suit it


@dataclass(frozen=True)
class Category:
    """One category of garments."""

    slot: str  # the place it fills in an outfit (in the truth, not in the metadata)
    nouns: Words  # the words that titles use for it
    materials: Words  # what it can be made of
    price: float  # typical, in dollars
    seasons: Words = tuple(SEASONS)  # when it is worn, before the material narrows this down


STYLES = {name: Style(**_words(row)) for name, row in VOCABULARY["styles"].items()}
SHARED_DETAILS = _words(VOCABULARY["shared_details"])  # visible word → the two styles that share it
OCCASIONS = {name: Occasion(**_words(row)) for name, row in VOCABULARY["occasions"].items()}
FAMILIES: dict[str, Words] = {
    name: _words(row)["colors"] for name, row in VOCABULARY["families"].items()
}
"""Color family → its colors; no color belongs to two families."""
FAMILY_OF = {color: name for name, colors in FAMILIES.items() for color in colors}
FACETS: dict[str, Words] = {
    "style": tuple(STYLES),
    "occasion": tuple(OCCASIONS),
    "family": tuple(FAMILIES),
    "season": tuple(SEASONS),
}
"""Facet → its values."""
CATEGORIES = {
    name: Category(**_words(row) | {"slot": row["slot"]})
    for name, row in VOCABULARY["categories"].items()
}
MATERIAL_SEASONS: dict[str, Words] = {
    material: tuple(seasons.split())
    for seasons, materials in VOCABULARY["material_seasons"].items()
    for material in materials.split()
}


def facet_words(facet: str, value: str) -> Words:
    """The words by which titles and queries name one value of one facet.

    >>> facet_words("season", "fall")
    ('fall', 'autumn')
    >>> facet_words("style", "bohemian")
    ('bohemian', 'freespirited', 'dreamy', 'wandering', 'boho', 'nomad')
    >>> facet_words("occasion", "beach")
    ('beach', 'swimming', 'sunbathing', 'quickdry', 'sunproof')
    """
    if facet == "style":
        style = STYLES[value]
        return (value, *style.moods, *style.trend, *style.lifestyle)
    if facet == "occasion":
        return (value, *OCCASIONS[value].activities, *OCCASIONS[value].functions)
    if facet == "family":
        return tuple(VOCABULARY["families"][value]["words"].split())
    return SEASONS[value]


def style_details(style: str) -> Words:
    """The ten visible words of a style: five of its own, five it shares.

    >>> len(style_details("gothic")), "studded" in style_details("gothic")
    (10, True)
    """
    shared = tuple(word for word, pair in SHARED_DETAILS.items() if style in pair)
    return STYLES[style].details + shared


def neighbors(style: str) -> Words:
    """The styles that share a visible word with this one, sorted.

    >>> neighbors("punk")
    ('athleisure', 'gothic', 'streetwear', 'utility', 'western')
    """
    return tuple(sorted({s for p in SHARED_DETAILS.values() if style in p for s in p} - {style}))


def seasons_of(category: str, material: str) -> Words:
    """The category's seasons that are also the material's; all of the category's if none is.

    >>> seasons_of("dress", "linen")
    ('spring', 'summer')
    >>> seasons_of("coat", "denim")
    ('fall', 'winter')
    """
    seasons = CATEGORIES[category].seasons
    return tuple(s for s in seasons if s in MATERIAL_SEASONS[material]) or seasons
