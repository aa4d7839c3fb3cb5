"""Nothing in → the sixteen styles of the wardrobe: their words, details, palettes, brands.

A style is latent: no metadata column names it. It shows in titles only in part, through four
channels of different strength: brands (its five, in about two thirds of its items), details
(ten visible words, five of them shared with one other style each), materials and colors
(overlapping among many styles), and, in a small share of titles, a word that *names* it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """One latent style.

    Attributes:
        moods: Words of the queries of kind *mood*.
        trend: The word of the queries of kind *trend*.
        lifestyle: The word of the queries of kind *lifestyle*.
        details: Visible detail words that no other style uses; `SHARED_DETAILS` adds five.
        brands: Brands whose primary style this is.
        families: Its three color families, the likeliest first.
        materials: Materials it prefers where a category allows them.
        categories: Categories it prefers.
    """

    moods: tuple[str, ...]
    trend: str
    lifestyle: str
    details: tuple[str, ...]
    brands: tuple[str, ...]
    families: tuple[str, str, str]
    materials: tuple[str, ...]
    categories: tuple[str, ...]


def _style(
    moods: str,
    trend: str,
    lifestyle: str,
    details: str,
    brands: str,
    families: str,
    materials: str,
    categories: str,
) -> Style:
    first, second, third = families.split()
    return Style(
        tuple(moods.split()),
        trend,
        lifestyle,
        tuple(details.split()),
        tuple(brands.split()),
        (first, second, third),
        tuple(materials.split()),
        tuple(categories.split()),
    )


STYLES: dict[str, Style] = {
    "bohemian": _style(
        "freespirited dreamy wandering",
        "boho",
        "nomad",
        "fringed crocheted paisley macrame tasseled",
        "Wildroot Sundrift Marrakai Solara Feathervale",
        "earthy jewel neutral",
        "suede cotton turquoise straw viscose",
        "dress sandals hat bracelet skirt crossbody",
    ),
    "minimalist": _style(
        "calm serene understated",
        "normcore",
        "decluttered",
        "plain streamlined unlined tonal matte",
        "Linea Formless Kindred Onda Blanq",
        "neutral monochrome earthy",
        "linen cashmere silver cotton leather",
        "tee trousers coat tote ring sneakers",
    ),
    "streetwear": _style(
        "cool confident swaggering",
        "hype",
        "urban",
        "logo baggy colorblocked airbrushed taped",
        "Blockade Northgrid Subwave Kryptik Halfcourt",
        "monochrome bold jewel",
        "jersey nylon denim fleece canvas",
        "tee sneakers beanie backpack jacket jeans",
    ),
    "preppy": _style(
        "polished cheerful bookish",
        "ivy",
        "collegiate",
        "argyle crested monogrammed tipped varsity",
        "Harrowgate Ashbury Crewmont Wexley Fairlawn",
        "pastel jewel neutral",
        "cotton wool cashmere pearl canvas",
        "shirt sweater skirt blazer belt tote",
    ),
    "gothic": _style(
        "brooding mysterious somber",
        "witchy",
        "nocturnal",
        "caped filigree shadowprint barbed moonstone",
        "Nevermoor Ravenhall Obscura Thornwick Mourne",
        "monochrome jewel bold",
        "velvet leather silver viscose satin",
        "boots gown necklace coat ring skirt",
    ),
    "vintage": _style(
        "nostalgic wistful charming",
        "retro",
        "thrifted",
        "polkadot peplum bakelite houndstooth keyhole",
        "Secondhand Marlowe Dearheart Pinupia Rewind",
        "jewel earthy pastel",
        "tweed satin brass corduroy resin",
        "dress heels earrings cardigan scarf clutch",
    ),
    "athleisure": _style(
        "energetic driven fresh",
        "sporty",
        "active",
        "wicking bonded reflective contoured racerback",
        "Velofit Kinetiq Pacerun Stridewell Motiv",
        "bold monochrome pastel",
        "nylon jersey fleece rubber cotton",
        "tank shorts sneakers jacket backpack beanie",
    ),
    "romantic": _style(
        "tender sweet flirty",
        "coquette",
        "poetic",
        "bowed rosette sweetheart frilled petaled",
        "Amorette Belleflore Rosaline Cherie Valentia",
        "pastel jewel neutral",
        "silk chiffon satin pearl gold",
        "dress gown heels earrings shirt clutch",
    ),
    "western": _style(
        "rugged freeranging untamed",
        "cowgirl",
        "ranch",
        "tooled whipstitched concho bandana snapfront",
        "Laredo Dustwood Broncho Mesquite Silverspur",
        "earthy neutral bold",
        "denim suede leather turquoise brass",
        "boots jeans hat belt shirt jacket",
    ),
    "punk": _style(
        "rebellious defiant fierce",
        "grunge",
        "underground",
        "ripped zippered chained patched tartan",
        "Riotclub Anarkia Scrapyard Voltage Safetypin",
        "monochrome bold earthy",
        "leather denim canvas silver rubber",
        "jacket boots jeans ring belt tee",
    ),
    "coastal": _style(
        "relaxed airy sunlit",
        "riviera",
        "seaside",
        "roped shell anchored sailcloth bleached",
        "Saltmarsh Tidewater Driftline Havenport Lagoona",
        "neutral pastel bold",
        "linen cotton straw canvas pearl",
        "shorts sandals tote hat dress romper",
    ),
    "utility": _style(
        "practical capable steady",
        "gorpcore",
        "outdoorsy",
        "ripstop webbed toggled riveted belted",
        "Ironfield Trailbase Fieldkit Hardwear Outpost",
        "earthy monochrome neutral",
        "canvas nylon rubber corduroy fleece",
        "jacket trousers boots backpack jumpsuit belt",
    ),
    "glam": _style(
        "daring dazzling seductive",
        "disco",
        "jetset",
        "sequined mirrored feathered rhinestone metallic",
        "Starlette Lumiere Vavoom Diamante Redcarpet",
        "bold jewel monochrome",
        "satin silk gold velvet resin",
        "gown heels clutch earrings bracelet jumpsuit",
    ),
    "cottagecore": _style(
        "whimsical gentle wholesome",
        "prairie",
        "homestead",
        "floral appliqued patchwork pintucked daisy",
        "Honeyfield Meadowlark Bramble Thimble Larkspur",
        "pastel earthy neutral",
        "cotton linen straw mohair viscose",
        "dress skirt cardigan tote scarf romper",
    ),
    "tailored": _style(
        "assertive composed sharp",
        "power",
        "executive",
        "darted pressed creased notched welted",
        "Savorne Cutler Mayfayre Regent Langmere",
        "monochrome neutral jewel",
        "wool tweed silk leather gold",
        "blazer trousers heels shirt coat clutch",
    ),
    "nordic": _style(
        "cozy snug homey",
        "hygge",
        "cabin",
        "brushed shearling snowflake felted rollneck",
        "Fjordan Lumikko Skaldor Vinterby Norrsken",
        "neutral earthy pastel",
        "wool mohair cashmere fleece corduroy",
        "sweater beanie scarf boots coat cardigan",
    ),
}

SHARED_DETAILS: dict[str, tuple[str, str]] = {
    "embroidered": ("bohemian", "western"),
    "tiered": ("bohemian", "romantic"),
    "smocked": ("bohemian", "cottagecore"),
    "beaded": ("bohemian", "glam"),
    "woven": ("bohemian", "coastal"),
    "seamless": ("minimalist", "athleisure"),
    "boxy": ("minimalist", "streetwear"),
    "ribbed": ("minimalist", "nordic"),
    "structured": ("minimalist", "tailored"),
    "collarless": ("minimalist", "coastal"),
    "graphic": ("streetwear", "punk"),
    "cargo": ("streetwear", "utility"),
    "hooded": ("streetwear", "athleisure"),
    "oversized": ("streetwear", "nordic"),
    "striped": ("preppy", "coastal"),
    "checked": ("preppy", "vintage"),
    "collared": ("preppy", "tailored"),
    "fairisle": ("preppy", "nordic"),
    "pleated": ("preppy", "romantic"),
    "lacy": ("gothic", "romantic"),
    "studded": ("gothic", "punk"),
    "sheer": ("gothic", "glam"),
    "corseted": ("gothic", "vintage"),
    "buckled": ("gothic", "western"),
    "scalloped": ("vintage", "romantic"),
    "buttoned": ("vintage", "cottagecore"),
    "pinstriped": ("vintage", "tailored"),
    "drawstring": ("athleisure", "utility"),
    "paneled": ("athleisure", "punk"),
    "cropped": ("athleisure", "glam"),
    "ruffled": ("romantic", "cottagecore"),
    "distressed": ("western", "punk"),
    "pocketed": ("western", "utility"),
    "gingham": ("western", "cottagecore"),
    "strapped": ("punk", "utility"),
    "knotted": ("coastal", "glam"),
    "doublebreasted": ("coastal", "tailored"),
    "quilted": ("utility", "nordic"),
    "lapeled": ("glam", "tailored"),
    "cableknit": ("cottagecore", "nordic"),
}


def style_words(style: str) -> tuple[str, ...]:
    """All words that name a style: its own name, moods, trend, lifestyle.

    >>> style_words("bohemian")
    ('bohemian', 'freespirited', 'dreamy', 'wandering', 'boho', 'nomad')
    """
    entry = STYLES[style]
    return (style, *entry.moods, entry.trend, entry.lifestyle)


def style_details(style: str) -> tuple[str, ...]:
    """The ten visible detail words of a style: five of its own, five it shares.

    >>> len(style_details("gothic")), "studded" in style_details("gothic")
    (10, True)
    """
    shared = tuple(word for word, pair in SHARED_DETAILS.items() if style in pair)
    return STYLES[style].details + shared


def neighbors(style: str) -> tuple[str, ...]:
    """The styles that share a detail word with this one, in a fixed order.

    >>> neighbors("punk")
    ('athleisure', 'gothic', 'streetwear', 'utility', 'western')
    """
    return tuple(sorted({s for p in SHARED_DETAILS.values() if style in p for s in p} - {style}))
