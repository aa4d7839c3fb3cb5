"""Nothing in → the other facets a query can name: occasions, seasons, color families.

A *facet* is a kind of latent property (`style`, `occasion`, `family`, `season`) with a fixed
list of values. Words given here are the ones queries use; titles carry each only rarely.
"""

from dataclasses import dataclass

from r4t.data.wardrobe.styles import STYLES, style_words


@dataclass(frozen=True)
class Occasion:
    """One latent occasion.

    Attributes:
        activities: Words of the queries of kind *activity*.
        functions: Words of the queries of kind *function*.
        cues: Visible detail words, never used in queries; some belong to two occasions.
        categories: Categories that often suit it.
    """

    activities: tuple[str, ...]
    functions: tuple[str, ...]
    cues: tuple[str, ...]
    categories: tuple[str, ...]


def _occasion(activities: str, functions: str, cues: str, categories: str) -> Occasion:
    return Occasion(
        tuple(activities.split()),
        tuple(functions.split()),
        tuple(cues.split()),
        tuple(categories.split()),
    )


OCCASIONS: dict[str, Occasion] = {
    "festival": _occasion(
        "dancing camping",
        "packable handsfree",
        "slouchy cutout shimmer foldable",
        "romper boots crossbody hat bracelet shorts tank jacket",
    ),
    "office": _occasion(
        "commuting presenting",
        "wrinklefree professional",
        "lined tapered zipped fitted",
        "shirt trousers blazer heels tote belt earrings skirt",
    ),
    "beach": _occasion(
        "swimming sunbathing",
        "quickdry sunproof",
        "terry openback elasticated wrapfront",
        "shorts sandals tote hat romper tank bracelet dress",
    ),
    "wedding": _occasion(
        "ceremony reception",
        "formal photogenic",
        "embossed corsage floorlength silky",
        "gown heels clutch necklace blazer scarf earrings trousers",
    ),
    "gym": _occasion(
        "training stretching",
        "sweatproof supportive",
        "compression grippy elasticated vented",
        "tank shorts sneakers backpack beanie tee jumpsuit cardigan",
    ),
    "hiking": _occasion(
        "trekking climbing",
        "waterproof durable",
        "insulated lugged padded vented",
        "boots jacket backpack trousers beanie sweater scarf jumpsuit",
    ),
    "date": _occasion(
        "dining theater",
        "flattering eyecatching",
        "asymmetric plunge fitted silky",
        "dress heels crossbody necklace skirt blazer ring tank",
    ),
    "travel": _occasion(
        "flying sightseeing",
        "crushproof lightweight",
        "reversible multiway foldable breathable",
        "jumpsuit sneakers backpack scarf cardigan jeans tee coat",
    ),
    "brunch": _occasion(
        "strolling picnicking",
        "effortless layerable",
        "flowing puffsleeve wrapfront slipon",
        "dress sandals crossbody cardigan jeans hat necklace shirt",
    ),
    "party": _occasion(
        "clubbing karaoke",
        "statement showstopping",
        "backless glossy shimmer floorlength",
        "skirt heels clutch earrings jumpsuit jacket ring gown",
    ),
    "school": _occasion(
        "studying cycling",
        "sturdy organized",
        "roomy badged zipped padded",
        "sweater jeans sneakers backpack tee coat beanie skirt",
    ),
    "lounge": _occasion(
        "napping reading",
        "comfy stretchy",
        "fleecy waffle breathable slipon",
        "sweater trousers sandals cardigan tee romper scarf tote",
    ),
}

SEASONS: dict[str, tuple[str, ...]] = {
    "spring": ("spring", "blooming"),
    "summer": ("summer", "sunny"),
    "fall": ("fall", "autumn"),
    "winter": ("winter", "frosty"),
}

FAMILIES: dict[str, tuple[str, ...]] = {
    "earthy": ("tan", "rust", "olive", "terracotta", "mustard", "camel", "chocolate"),
    "pastel": ("blush", "lavender", "mint", "peach", "lilac", "skyblue"),
    "monochrome": ("black", "white", "charcoal", "gray", "jet", "ash"),
    "jewel": ("emerald", "sapphire", "ruby", "amethyst", "teal", "plum", "burgundy"),
    "neutral": ("beige", "cream", "ivory", "taupe", "stone", "oatmeal", "sand"),
    "bold": ("red", "fuchsia", "cobalt", "orange", "lime", "yellow", "magenta"),
}
"""Color family → its colors; no color belongs to two families."""

FAMILY_WORDS: dict[str, tuple[str, ...]] = {
    "earthy": ("earthy", "rustic"),
    "pastel": ("pastel", "soft"),
    "monochrome": ("monochrome", "inky"),
    "jewel": ("jewel", "rich"),
    "neutral": ("neutral", "muted"),
    "bold": ("bold", "vivid"),
}

FAMILY_OF: dict[str, str] = {color: name for name, colors in FAMILIES.items() for color in colors}

FACETS: dict[str, tuple[str, ...]] = {
    "style": tuple(STYLES),
    "occasion": tuple(OCCASIONS),
    "family": tuple(FAMILIES),
    "season": tuple(SEASONS),
}
"""Facet → its values."""


def occasion_words(occasion: str) -> tuple[str, ...]:
    """All words that name an occasion: its name, activities, functions.

    >>> occasion_words("beach")
    ('beach', 'swimming', 'sunbathing', 'quickdry', 'sunproof')
    """
    entry = OCCASIONS[occasion]
    return (occasion, *entry.activities, *entry.functions)


def facet_words(facet: str, value: str) -> tuple[str, ...]:
    """The words by which titles and queries name one value of one facet.

    >>> facet_words("season", "fall")
    ('fall', 'autumn')
    """
    if facet == "style":
        return style_words(value)
    if facet == "occasion":
        return occasion_words(value)
    return (FAMILY_WORDS if facet == "family" else SEASONS)[value]
