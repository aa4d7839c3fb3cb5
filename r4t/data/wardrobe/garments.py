"""vocabulary.toml → the thirty-two categories of the wardrobe, their slots, nouns and materials."""

from dataclasses import dataclass

from r4t.data.wardrobe.facets import SEASONS, VOCABULARY, Words

SLOTS = ("top", "bottom", "onepiece", "outerwear", "shoes", "bag", "jewelry", "accessory")
MATERIAL_SEASONS: dict[str, Words] = {
    material: tuple(seasons.split())
    for seasons, materials in VOCABULARY["material_seasons"].items()
    for material in materials.split()
}


@dataclass(frozen=True)
class Category:
    """One category of garments."""

    slot: str  # the place it fills in an outfit (in the truth, not in the metadata)
    nouns: Words  # the words that titles use for it
    materials: Words  # what it can be made of
    price: float  # typical, in dollars
    seasons: Words  # when it is worn, before the material narrows this down


CATEGORIES = {
    name: Category(
        row["slot"],
        tuple(row["nouns"].split()),
        tuple(row["materials"].split()),
        row["price"],
        tuple(row.get("seasons", " ".join(SEASONS)).split()),
    )
    for name, row in VOCABULARY["categories"].items()
}


def seasons_of(category: str, material: str) -> Words:
    """The category's seasons that are also the material's; all of the category's if none is.

    >>> seasons_of("dress", "linen")
    ('spring', 'summer')
    >>> seasons_of("coat", "denim")
    ('fall', 'winter')
    """
    seasons = CATEGORIES[category].seasons
    return tuple(s for s in seasons if s in MATERIAL_SEASONS[material]) or seasons
