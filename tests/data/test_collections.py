"""r4t.data.collections: each set is one item, embedded by its text or the mean of its items."""

import pytest
import torch

from r4t.data.collections import collection_items, first_values, mean_embeddings
from r4t.data.source import Items, ReferenceSet, Source
from r4t.errors import InputError

ITEMS = Items(["a", "b", "c"], ["red hat", "blue hat", "boots"])
SETS = [
    ReferenceSet("s1", "hats", ("b", "a"), {"mood": "calm"}),
    ReferenceSet("s2", "hats", ("c",)),
    ReferenceSet("s3", "", ("c", "a"), {"tags": ["x", "y"]}),
]


def test_one_item_a_set_with_its_metadata():
    items = collection_items(Source("shop", ITEMS, SETS), titles=False)
    assert items.ids == ["s1", "s2", "s3"]
    # Equal texts stay two items; a set without a text gets the titles of its items.
    assert items.texts == ["hats", "hats", "boots; red hat"]
    assert items.metadata == {
        "mood": ["calm", None, None],
        "tags": [None, None, ["x", "y"]],
        "size": [2, 1, 2],
        "items": [["b", "a"], ["c"], ["c", "a"]],
    }


def test_titles_follow_the_name_in_the_order_of_the_set():
    items = collection_items(Source("shop", ITEMS, SETS), titles=True)
    assert items.texts == ["hats: blue hat; red hat", "hats: boots", "boots; red hat"]


def test_mean_embeddings_by_hand():
    unit = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
    means = mean_embeddings(unit, [[0, 1], [0, 0, 1], [3], [0, 2], [1, 3]])
    # [[0, 0, 1]]: (2, 1) / 3 → (2, 1) / √5; [[1, 3]]: (0.6, 1.8) / 2 → (1, 3) / √10
    expected = [
        [0.5**0.5, 0.5**0.5],
        [2 / 5**0.5, 1 / 5**0.5],
        [0.6, 0.8],
        [0.0, 0.0],
        [1 / 10**0.5, 3 / 10**0.5],
    ]
    torch.testing.assert_close(means, torch.tensor(expected))


def test_mean_embeddings_equal_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(30, 5, generator=generator), dim=1)
    members = [torch.randperm(30, generator=generator)[:n].tolist() for n in (1, 2, 7, 30)]
    slow = [torch.nn.functional.normalize(unit[rows].mean(0), dim=0) for rows in members]
    torch.testing.assert_close(mean_embeddings(unit, members), torch.stack(slow))


def test_first_values_of_lists():
    items = Items(["a", "b", "c"], ["x", "y", "z"], {"artists": [["Tom", "Ann"], [], None]})
    assert first_values(items, "artists").metadata == {
        "artists": [["Tom", "Ann"], [], None],
        "first_artists": ["Tom", None, None],
    }
    assert "first_artists" not in items.metadata


def test_faulty_sources():
    with pytest.raises(
        InputError, match=r"one set of items, .* found none in shop\. Name a source"
    ):
        collection_items(Source("shop", ITEMS), titles=True)
    clash = [ReferenceSet("s", "hats", ("a",), {"size": 3})]
    with pytest.raises(
        InputError,
        match=r"without the fields size and items, .* found a field 'size' in the sets of shop\. R",
    ):
        collection_items(Source("shop", ITEMS, clash), titles=True)
    named = Items(["a"], ["x"], {"artists": [[]]})
    with pytest.raises(
        InputError,
        match=r"one of \['artists'\]\), but found --first artist\. .* Did you mean 'artists'\?",
    ):
        first_values(named, "artist")
