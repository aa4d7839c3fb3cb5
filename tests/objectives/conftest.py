"""Catalogs on disk and sets of their items."""

import itertools
import json
from dataclasses import asdict

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.data.source import Items
from r4t.data.wardrobe import SMALLEST, generate
from r4t.encoder import LsaEncoder
from r4t.sets import SetBatch
from tests.objectives.wardrobe_sets import TRUTH


@pytest.fixture
def catalog_of(tmp_path):
    """Embeddings and metadata columns → a catalog."""
    number = itertools.count()

    def make(embeddings, **metadata):
        rows = torch.as_tensor(embeddings, dtype=torch.float32)
        names = [f"i{row}" for row in range(len(rows))]
        items = Items(names, [f"item {name}" for name in names], metadata)
        return write_catalog(tmp_path / f"catalog{next(number)}", items, rows, None)

    return make


@pytest.fixture
def chosen():
    """A catalog and rows of it (−1: no member) → the sets of these members."""

    def make(catalog, rows, **fields):
        items = torch.tensor(rows)
        mask = items >= 0
        embeddings = catalog.embeddings[items.clamp(min=0)] * mask.unsqueeze(-1)
        query = torch.eye(catalog.dim)[:1].repeat(len(items), 1)
        return SetBatch(query, items, embeddings, mask, catalog=catalog, **fields)

    return make


@pytest.fixture
def closet(catalog_of):
    """The catalog of five items with their truth."""
    made = catalog_of(torch.eye(5))
    (made.folder / "truth").mkdir()
    (made.folder / "truth" / "truth.json").write_text(json.dumps(asdict(TRUTH)))
    return made


@pytest.fixture(scope="package")
def wardrobe():
    return generate(7, SMALLEST)


@pytest.fixture(scope="package")
def shop(wardrobe, tmp_path_factory):
    """The catalog of a small wardrobe, with its truth."""
    encoder = LsaEncoder.fit(wardrobe.items.texts, dim=8)
    folder = tmp_path_factory.mktemp("shop") / "catalog"
    catalog = write_catalog(folder, wardrobe.items, encoder.encode(wardrobe.items.texts), encoder)
    wardrobe.write_truth(catalog.folder / "truth")
    return catalog
