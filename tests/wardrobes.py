"""A smallest wardrobe, written as a run finds it: catalog with LSA vectors, and truth."""

from pathlib import Path

from r4t.catalog import write_catalog
from r4t.data.wardrobe import SMALLEST, Wardrobe, generate
from r4t.encoder import LsaEncoder


def write_wardrobe(folder: Path, seed: int, dim: int) -> Wardrobe:
    """Write the catalog of a run folder; the queries are the caller's choice."""
    wardrobe = generate(seed, SMALLEST)
    encoder = LsaEncoder.fit(wardrobe.items.texts, dim=dim)
    vectors = encoder.encode(wardrobe.items.texts)
    write_catalog(folder / "catalog", wardrobe.items, vectors, encoder)
    wardrobe.write_truth(folder / "catalog" / "truth")
    return wardrobe
