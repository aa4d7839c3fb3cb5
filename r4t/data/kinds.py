"""The eight kinds of broad query of the paper (§7): words that cue each, and templates to fill."""

_CUES = {
    "aesthetic": (
        "bohemian boho vintage retro classic minimalist modern rustic elegant gothic romantic "
        "floral artsy chic preppy punk grunge industrial nautical tropical western victorian "
        "contemporary abstract geometric glamorous feminine sleek antique edgy folk indie "
        "ethnic"
    ),
    "activity": (
        "hiking running travel party wedding yoga camping dance workout gym beach fishing "
        "cycling gaming swimming golf tennis training cooking baking grilling driving skiing "
        "photography costume prom gardening painting reading sailing barbecue picnic"
    ),
    "season": (
        "summer winter spring fall autumn holiday christmas halloween easter thanksgiving rain snow"
    ),
    "lifestyle": (
        "casual formal office business outdoor urban street family student professional "
        "everyday home luxury sport active kids baby teen military country traditional vegan "
        "vegetarian healthy organic school college"
    ),
    "mood": (
        "cozy romantic happy calm playful bold dreamy sexy cute cool fun sweet dark bright wild "
        "soft warm fresh moody festive relaxed love lonely sad angry quiet loud magic"
    ),
    "trend": (
        "new trendy fashion hot popular oversized slim chunky cropped layered metallic neon "
        "sparkle smart wireless digital viral designer latest best deluxe premium limited "
        "edition remix"
    ),
    "function": (
        "waterproof lightweight comfortable portable stretch thermal insulated breathable "
        "protective durable adjustable washable quick easy foldable compact rechargeable "
        "cushioned padded gift pack set mini plus support instant dried frozen safety"
    ),
}
CUES = {kind: tuple(words.split()) for kind, words in _CUES.items()}
"""Kind → cue words; "hybrid" joins two of these kinds."""

KINDS = (*CUES, "hybrid")

TEMPLATES: dict[str, tuple[str, ...]] = {
    "aesthetic": (
        "{aesthetic} {thing}",
        "{aesthetic} {detail} {thing}",
        "{thing} in {aesthetic} style",
    ),
    "activity": ("{thing} for {activity}", "{activity} {thing}", "{detail} {thing} for {activity}"),
    "season": ("{season} {thing}", "{thing} for {season}", "{detail} {thing} for {season}"),
    "lifestyle": ("{lifestyle} {thing}", "{lifestyle} {detail} {thing}"),
    "mood": ("{mood} {thing}", "{mood} {detail} {thing}"),
    "trend": ("{trend} {thing}", "{trend} {detail} {thing}"),
    "function": ("{function} {thing}", "{function} {detail} {thing}"),
    "hybrid": (
        "{mood} {season}",
        "{aesthetic} {activity}",
        "{aesthetic} {thing} for {activity}",
        "{lifestyle} {season} {thing}",
        "{mood} {aesthetic} {thing}",
        "{function} {thing} for {season}",
        "{trend} {lifestyle} {thing}",
        "{function} {thing} for {activity}",
    ),
}
"""Kind → templates; {thing} and {detail} are phrases of the catalog, the rest are cues it knows."""

PLAIN = ("plain", ("{detail} {thing}", "{thing}"))
"""Kind and templates for a catalog of which no word is a cue."""
