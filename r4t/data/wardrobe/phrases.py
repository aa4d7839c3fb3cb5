"""Facet combinations → broad queries in words: the paper's eight kinds, and queries of outfits."""

import random
from collections.abc import Mapping, Sequence

from r4t.data.wardrobe.facets import OCCASIONS
from r4t.data.wardrobe.items import FILLERS
from r4t.data.wardrobe.styles import STYLES

Facets = Mapping[str, str]
Said = Mapping[tuple[str, str], Sequence[str]]

# In a template {name} is a word of that role; roles are defined in `_role_words`.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "aesthetic": (
        ("style", "family"),
        ("{style} {shade}", "{shade} {style} {filler}", "{style} {filler} in {shade}",
         "{style} {look} in {shade}"),
    ),
    "activity": (
        ("occasion", "style"),
        ("{style} for {activity}", "{look} {filler} for {activity}", "{activity} {style}",
         "{style} {look} for {event} {activity}"),
    ),
    "season": (
        ("season", "style"),
        ("{season} {style}", "{look} {filler} for {season}", "{style} {season} {filler}",
         "{style} {look} for {season}"),
    ),
    "lifestyle": (
        ("style", "occasion"),
        ("{lifestyle} {event}", "{lifestyle} {filler} for {event}", "{event} {lifestyle} {look}"),
    ),
    "mood": (
        ("style", "family"),
        ("{mood} {shade}", "{mood} {filler} in {shade}", "{mood} and {look} in {shade}"),
    ),
    "trend": (
        ("style", "season"),
        ("{trend} {season}", "{season} {trend} {filler}", "{trend} {look} for {season}"),
    ),
    "function": (
        ("occasion", "family"),
        ("{function} {shade}", "{function} {filler} in {shade}", "{shade} {function} for {event}",
         "{function} for {activity} in {shade}"),
    ),
    "hybrid": (
        ("style", "occasion", "family"),
        ("{shade} {style} for {event}", "{look} {event} in {shade}", "{look} {function} {shade}",
         "{style} {event} {filler} in {shade}", "{mood} {activity} in {shade}"),
    ),
}  # fmt: skip
"""Kind of an OAR query → the facets it names, and its phrasings."""

OUTFIT_PHRASES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("style", "occasion"): (
        "{style} {event}",
        "{look} {event} {filler}",
        "{style} {filler} for {activity}",
        "{style} {look} for {event}",
        "{mood} {event} {function} {look}",
        "{look} and {style} for {activity} and {event}",
    ),
    ("style", "occasion", "family"): (
        "{style} {event} in {shade}",
        "{shade} {look} for {activity}",
        "{style} {filler} for {event} in {shade}",
        "{look} {function} {shade} {filler}",
        "{mood} {style} for {event} in {shade}",
        "{shade} {look} {style} for {activity} and {event}",
    ),
}
"""Facets that the query of an outfit names → its phrasings."""


def _role_words(role: str, facets: Facets, said: Said) -> tuple[str, ...]:
    """Words for one role; where none of them is said in the catalog, any word of its facet."""
    if role == "filler":
        return FILLERS
    facet, wanted = {
        "style": ("style", lambda v: (v,)),
        "look": ("style", lambda v: said["style", v]),
        "mood": ("style", lambda v: STYLES[v].moods),
        "trend": ("style", lambda v: (STYLES[v].trend,)),
        "lifestyle": ("style", lambda v: (STYLES[v].lifestyle,)),
        "event": ("occasion", lambda v: (v,)),
        "activity": ("occasion", lambda v: OCCASIONS[v].activities),
        "function": ("occasion", lambda v: OCCASIONS[v].functions),
        "shade": ("family", lambda v: said["family", v]),
        "season": ("season", lambda v: said["season", v]),
    }[role]
    value = facets[facet]
    known = tuple(said[facet, value])
    words = tuple(word for word in wanted(value) if word in known)
    return words if words else known


def phrase(rng: random.Random, template: str, facets: Facets, said: Said) -> str:
    """Fill a template with words of the facet values; no word is used twice.

    Args:
        rng: Source of the choices.
        template: Words and {role} fields.
        facets: Facet → value, with every facet that a role of the template belongs to.
        said: (facet, value) → the words that occur in titles.
    """
    used: list[str] = []
    for part in template.split():
        if not part.startswith("{"):
            used.append(part)
            continue
        words = _role_words(part.strip("{}"), facets, said)
        fresh = [word for word in words if word not in used]
        if fresh:
            used.append(rng.choice(fresh))
    return " ".join(used)
