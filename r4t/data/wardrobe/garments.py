"""Nothing → the thirty-two categories of the wardrobe, their slots, nouns and materials."""

from dataclasses import dataclass

SLOTS = ("top", "bottom", "onepiece", "outerwear", "shoes", "bag", "jewelry", "accessory")

_KNIT = "wool cashmere mohair cotton"
_CLOTH = "cotton linen silk viscose satin"
_EVENING = "silk satin chiffon velvet viscose"
_LEG = "cotton linen wool corduroy nylon leather"
_METAL = "gold silver brass pearl resin turquoise"
_OUTER = "wool leather denim suede nylon fleece canvas corduroy"
_BAG = "leather suede canvas straw nylon"

_WARM = ("spring", "summer")
_COLD = ("fall", "winter")
_MILD = ("spring", "summer", "fall")
_COOL = ("fall", "winter", "spring")
_ALL = ("spring", "summer", "fall", "winter")

MATERIAL_SEASONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("linen", "chiffon", "straw"), _WARM),
    **dict.fromkeys(("cotton", "silk", "viscose", "jersey", "canvas"), _MILD),
    **dict.fromkeys(("leather", "suede", "denim", "corduroy", "rubber"), _COOL),
    **dict.fromkeys(("wool", "cashmere", "mohair", "fleece", "velvet", "tweed"), _COLD),
    **dict.fromkeys(("satin", "nylon", "gold", "silver", "brass", "pearl", "resin"), _ALL),
    "turquoise": _WARM,
}


@dataclass(frozen=True)
class Category:
    """One category of garments."""

    slot: str  # the place it fills in an outfit (in the truth, not in the metadata)
    nouns: tuple[str, ...]  # the words that titles use for it
    materials: tuple[str, ...]  # what it can be made of
    price: float  # typical, in dollars
    seasons: tuple[str, ...]  # when it is worn, before the material narrows this down


def _category(
    slot: str, nouns: str, materials: str, price: float, seasons: tuple[str, ...] = _ALL
) -> Category:
    return Category(slot, tuple(nouns.split()), tuple(materials.split()), price, seasons)


CATEGORIES: dict[str, Category] = {
    "shirt": _category("top", "shirt blouse", f"{_CLOTH} denim", 45),
    "tee": _category("top", "tee tshirt", "cotton jersey linen viscose", 25),
    "sweater": _category("top", "sweater jumper pullover", _KNIT, 70, _COOL),
    "tank": _category("top", "tank camisole", "cotton jersey silk satin nylon", 28, _MILD),
    "jeans": _category("bottom", "jeans denims", "denim cotton", 80),
    "trousers": _category("bottom", "trousers pants", _LEG, 75),
    "skirt": _category("bottom", "skirt miniskirt", f"{_CLOTH} leather denim tweed", 60),
    "shorts": _category("bottom", "shorts bermudas", "cotton linen denim nylon jersey", 40, _MILD),
    "dress": _category("onepiece", "dress frock", f"{_CLOTH} chiffon", 95),
    "gown": _category("onepiece", "gown maxidress", _EVENING, 180),
    "jumpsuit": _category("onepiece", "jumpsuit boilersuit", f"{_CLOTH} denim nylon", 110),
    "romper": _category("onepiece", "romper playsuit", "cotton linen viscose jersey", 65, _MILD),
    "jacket": _category("outerwear", "jacket bomber", _OUTER, 130, _COOL),
    "coat": _category("outerwear", "coat overcoat parka", f"{_OUTER} tweed", 210, _COLD),
    "blazer": _category("outerwear", "blazer suitjacket", f"{_CLOTH} wool tweed velvet", 150),
    "cardigan": _category("outerwear", "cardigan shrug", f"{_KNIT} linen", 75),
    "boots": _category("shoes", "boots booties", "leather suede rubber velvet", 140, _COOL),
    "sneakers": _category("shoes", "sneakers trainers", "canvas leather nylon suede", 85),
    "sandals": _category("shoes", "sandals slides", "leather suede rubber straw", 60, _WARM),
    "heels": _category("shoes", "heels pumps", "leather satin velvet suede", 120),
    "tote": _category("bag", "tote shopper", _BAG, 90),
    "crossbody": _category("bag", "crossbody satchel", _BAG, 85),
    "backpack": _category("bag", "backpack rucksack", "canvas nylon leather denim", 95),
    "clutch": _category("bag", "clutch minaudiere", "satin velvet leather resin straw", 65),
    "necklace": _category("jewelry", "necklace pendant choker", _METAL, 55),
    "earrings": _category("jewelry", "earrings hoops studs", _METAL, 35),
    "bracelet": _category("jewelry", "bracelet bangle cuff", f"{_METAL} leather", 40),
    "ring": _category("jewelry", "ring signet", _METAL, 45),
    "hat": _category("accessory", "hat fedora", "straw wool suede canvas cotton", 45),
    "beanie": _category("accessory", "beanie cap", "wool mohair cotton fleece nylon", 28),
    "scarf": _category("accessory", "scarf stole", "silk wool cashmere mohair cotton", 48),
    "belt": _category("accessory", "belt sash", "leather suede canvas satin", 38),
}

SLOT_OF: dict[str, str] = {name: category.slot for name, category in CATEGORIES.items()}


def seasons_of(category: str, material: str) -> tuple[str, ...]:
    """The category's seasons that are also the material's; all of the category's if none is.

    >>> seasons_of("dress", "linen")
    ('spring', 'summer')
    >>> seasons_of("coat", "denim")
    ('fall', 'winter')
    """
    allowed = CATEGORIES[category].seasons
    both = tuple(season for season in allowed if season in MATERIAL_SEASONS[material])
    return both or allowed
