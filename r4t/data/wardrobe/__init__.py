"""Seed → the embedded benchmark: a generated wardrobe with items, outfits, queries and their truth.

Items are public: title, category, color, material, price, brand. Style, occasions, slot, color
family and season are latent: they decide how items, outfits and queries are drawn, show only partly
in titles, and are kept in `Truth`, which only the evaluation opens, and the simulated judge
`shopper`. `docs/benchmark.md` describes all of it, with the measured difficulty.

Examples:
    >>> wardrobe = generate(seed=0, size=2000)
    >>> len(wardrobe.items), sorted(wardrobe.items.metadata)
    (2000, ['brand', 'category', 'color', 'material', 'price'])
"""

import json
import random
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from r4t.data.queries import SPLITS, Query
from r4t.data.source import Items, ReferenceSet
from r4t.data.wardrobe.items import Item, draw_items, title_words
from r4t.data.wardrobe.outfits import draw_outfits
from r4t.data.wardrobe.queries import open_queries, outfit_queries
from r4t.errors import InputError
from r4t.support.files import write_text

SMALLEST = 2000  # fewest items: with fewer, too few combinations of facets fill an outfit
TRUTH_FILE = "truth.json"
OUTFITS_PER_ITEM = 0.4
OPEN_QUERIES = 2000


@dataclass(frozen=True)
class Truth:
    """The latent truth; training and retrieval must not see it, except through the judge ``shopper``.

    The facets are style, occasion, family, season, and "slot", which no query names.
    """

    items: dict[str, dict[str, tuple[str, ...]]]  # item id → facet → the values it matches
    queries: dict[str, dict[str, str]]  # query id → facet → the value it names
    texts: dict[str, str] = field(default_factory=dict)  # query id → its text
    splits: dict[str, str] = field(default_factory=dict)  # query id → train, val or test


@dataclass(frozen=True)
class Wardrobe:
    """The benchmark of one seed."""

    items: Items  # what a catalog is made of, all of it public
    outfits: list[ReferenceSet]  # each with one query, in the order they were drawn
    oar: dict[str, list[Query]]  # split → open queries of the paper's eight kinds, no references
    wscr: dict[str, list[Query]]  # split → queries of outfits, with references
    truth: Truth

    def outfit_truth(self) -> Truth:
        """Return the truth of a catalog of outfits: the values that most items of an outfit match.

        An outfit may hold one item of a neighboring style or in a quiet color; more than half of
        its items must match a value, so these do not count.
        """
        outfits: dict[str, dict[str, tuple[str, ...]]] = {}
        for outfit in self.outfits:
            counts: dict[str, Counter[str]] = {}
            for item in outfit.items:
                for facet, values in self.truth.items[item].items():
                    counts.setdefault(facet, Counter()).update(values)
            outfits[outfit.id] = {
                facet: tuple(value for value, n in tally.items() if 2 * n > len(outfit.items))
                for facet, tally in counts.items()
            } | {"slot": ("outfit",)}
        return replace(self.truth, items=outfits)

    def write_truth(self, folder: str | Path, *, outfits: bool = False) -> Path:
        """Write `folder/truth.json`, apart from what training reads; the truth of items or outfits."""
        truth = self.outfit_truth() if outfits else self.truth
        path = Path(folder) / TRUTH_FILE
        write_text(path, json.dumps(asdict(truth)) + "\n")
        return path


def generate(seed: int, size: int = 6000) -> Wardrobe:
    """Generate the benchmark of one seed; the same on every machine and in every process.

    Args:
        seed: Any integer. 0 is for development; report figures of another seed.
        size: Number of items, at least `SMALLEST`; outfits grow with it.

    Raises:
        InputError: If `size` is below `SMALLEST`.
    """
    if size < SMALLEST:
        raise InputError(
            expected=f"at least {SMALLEST} items, so that combinations of facets fill outfits",
            found=f"size {size}",
            remedy="Ask for more.",
        )
    # Each part has its own random stream, so that a change to one leaves the others unchanged.
    items = draw_items(random.Random(f"{seed}/items"), size)
    words = title_words(items)
    outfits = draw_outfits(random.Random(f"{seed}/outfits"), items, round(OUTFITS_PER_ITEM * size))
    wscr, outfit_facets = outfit_queries(random.Random(f"{seed}/wscr"), outfits, words)
    oar, open_facets = open_queries(random.Random(f"{seed}/oar"), items, OPEN_QUERIES, words)
    latent = {item.id: item.facets | {"slot": (item.slot,)} for item in items}
    asked = [(split, query) for task in (oar, wscr) for split in SPLITS for query in task[split]]
    truth = Truth(
        latent,
        outfit_facets | open_facets,
        {query.id: query.text for _, query in asked},
        {query.id: split for split, query in asked},
    )
    queries = sorted((q for split in wscr.values() for q in split), key=lambda query: query.id)
    sets = [ReferenceSet(query.id, query.text, query.references) for query in queries]
    return Wardrobe(_public(items), sets, oar, wscr, truth)


def _public(items: list[Item]) -> Items:
    columns: dict[str, list[Any]] = {
        "category": [item.design.category for item in items],
        "color": [item.color for item in items],
        "material": [item.design.material for item in items],
        "price": [round(item.design.price, 2) for item in items],
        "brand": [item.design.brand for item in items],
    }
    return Items([item.id for item in items], [item.title for item in items], columns)
