"""Facet combinations → broad queries in words: the paper's eight kinds, and queries of outfits."""

import random
from collections.abc import Mapping, Sequence

from r4t.data.wardrobe.facets import OCCASIONS, STYLES, VOCABULARY
from r4t.data.wardrobe.items import FILLERS

Facets = Mapping[str, str]
Said = Mapping[tuple[str, str], Sequence[str]]

KINDS: dict[str, tuple[tuple[str, ...], Sequence[str]]] = {
    kind: (tuple(row["facets"].split()), row["templates"])
    for kind, row in VOCABULARY["open_queries"].items()
}
"""Kind of an OAR query → the facets it names, and its templates."""
OUTFIT_PHRASES: dict[tuple[str, ...], Sequence[str]] = {
    tuple(row["facets"].split()): row["templates"] for row in VOCABULARY["outfit_queries"]
}
"""Facets that the query of an outfit names → its templates."""


def _role_words(role: str, facets: Facets, said: Said) -> Sequence[str]:
    """Words for one role that titles say; if they say none of them, any said word of its facet."""
    if role == "filler":
        return FILLERS
    facet, words_of = {
        "style": ("style", lambda v: (v,)),
        "look": ("style", lambda v: said["style", v]),
        "mood": ("style", lambda v: STYLES[v].moods),
        "trend": ("style", lambda v: STYLES[v].trend),
        "lifestyle": ("style", lambda v: STYLES[v].lifestyle),
        "event": ("occasion", lambda v: (v,)),
        "activity": ("occasion", lambda v: OCCASIONS[v].activities),
        "function": ("occasion", lambda v: OCCASIONS[v].functions),
        "shade": ("family", lambda v: said["family", v]),
        "season": ("season", lambda v: said["season", v]),
    }[role]
    value = facets[facet]
    said_words = said[facet, value]
    return [word for word in words_of(value) if word in said_words] or said_words


def phrase(rng: random.Random, template: str, facets: Facets, said: Said) -> str:
    """Fill a template with words of the facet values; no word is used twice.

    Args:
        rng: Source of the choices.
        template: Words and {role} fields.
        facets: Facet → value, with every facet that a role of the template belongs to.
        said: (facet, value) → the words that occur in titles.
    """
    words: list[str] = []
    for part in template.split():
        if part.startswith("{"):
            options = [w for w in _role_words(part.strip("{}"), facets, said) if w not in words]
            words += [rng.choice(options)] if options else []
        else:
            words.append(part)
    return " ".join(words)
