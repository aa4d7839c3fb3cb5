"""Catalogs on disk and sets of their items."""

import itertools

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.data.source import Items
from r4t.sets import SetBatch


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
