"""Catalog rows → sets of a wardrobe's items, and a closet of five items with their truth."""

import torch

from r4t.data.facet_truth import FacetTruth
from r4t.data.wardrobe import Truth
from r4t.sets import SetBatch

PUNK, GLAM = {"style": ("punk",)}, {"style": ("glam",)}
ITEMS = [  # two tops and shoes are punk; no bag is
    PUNK | {"slot": ("top",)},
    PUNK | {"slot": ("top",)},
    PUNK | {"slot": ("shoes",)},
    GLAM | {"slot": ("bag",)},
    GLAM | {"slot": ("shoes",)},
]
STYLES = {"q1": "punk", "q2": "glam", "q3": "gothic", "q4": "glam"}
TRUTH = Truth(
    {f"i{row}": facets for row, facets in enumerate(ITEMS)},
    {query: {"style": style} for query, style in STYLES.items()},
    {"q1": "punk looks", "q2": "glam looks", "q3": "gothic looks", "q4": "secret looks"},
    {"q1": "train", "q2": "val", "q3": "train", "q4": "test"},
)


def sets_of(catalog, texts, items):
    """Sets of catalog rows (B, k), −1 where a member is missing."""
    items = torch.as_tensor(items)
    mask = items >= 0
    embeddings = catalog.embeddings[items.clamp(min=0)] * mask.unsqueeze(-1)
    query = catalog.embeddings[:1].expand(len(texts), -1)
    return SetBatch(query, items, embeddings, mask, query_texts=list(texts), catalog=catalog)


def drawn(wardrobe, catalog, count, k, seed=0):
    """Sets of items that fit more often than by chance, some missing, one twice."""
    generator = torch.Generator().manual_seed(seed)
    queries = wardrobe.oar["train"][:count]
    fits = FacetTruth(wardrobe.truth, catalog.ids).fits([query.id for query in queries]).float()
    items = torch.multinomial(fits + 0.02, k, generator=generator)
    items[torch.rand(count, k, generator=generator) < 0.15] = -1
    items[:, 0] = items[:, 1]
    return sets_of(catalog, [query.text for query in queries], items)
