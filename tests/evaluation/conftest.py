from typing import ClassVar

import pytest
import torch
from torch import Tensor

from r4t.catalog import write_catalog
from r4t.data.source import Items
from r4t.evaluation.latency import TimedSearcher
from r4t.geometry import normalize
from r4t.index import TorchIndex
from r4t.search import Searcher


class Compass:
    """Knows four words, each a direction of the plane; a text is the mean of its words."""

    dim = 2
    words: ClassVar = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "south": (0, -1)}

    def encode(self, texts: list[str]) -> Tensor:
        rows = [[self.words.get(word, (0, 0)) for word in text.split()] for text in texts]
        return normalize(torch.stack([torch.tensor(row).float().sum(0) for row in rows]))


@pytest.fixture
def plane(tmp_path):
    """Items a … f at 0, 10, 30, 90, 180 and 270 degrees."""
    angles = torch.tensor([0.0, 10.0, 30.0, 90.0, 180.0, 270.0]).deg2rad()
    items = Items(list("abcdef"), [f"item {name}" for name in "abcdef"])
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    catalog = write_catalog(tmp_path / "catalog", items, embeddings, None)
    return TimedSearcher(Searcher(catalog, Compass(), TorchIndex(catalog.embeddings)))
