import itertools

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from r4t.catalog import write_catalog
from r4t.data.queries import Query
from r4t.data.source import Items
from r4t.geometry import normalize, vendi
from r4t.index import TorchIndex
from r4t.methods.kmeans import KMeansFacets, facet_order
from r4t.methods.nearest import NoFanout
from r4t.search import Searcher
from r4t.support.seeds import query_seed

EAST = Query("1", "east", "set")


def names(rows):
    return ["".join("abcdef"[row] for row in line) for line in rows.tolist()]


def answer(method, *queries):
    return method(list(queries), method.searcher.encode_queries([q.text for q in queries]))


def slow_facets(labels, size):
    groups = {}
    for place, label in enumerate(labels):
        groups.setdefault(label, []).append(place)
    turns = itertools.zip_longest(*groups.values())
    return [place for turn in turns for place in turn if place is not None][:size]


def test_facets_in_turn_against_a_slow_loop():
    labels = torch.randint(0, 6, (20, 40), generator=torch.Generator().manual_seed(0))
    for size in (3, 10, 40):
        expected = [slow_facets(line, size) for line in labels.tolist()]
        assert facet_order(labels, size).tolist() == expected


def test_k_means_facets_by_hand(plane):
    # Nearest to the east: a 0, b 10, c 30, then d 90 and f 270. Three facets: abc, d, f.
    sets = answer(KMeansFacets(plane, set_size=3, pool_size=5, depth=1), EAST)
    assert names(sets.items)[0][0] == "a"
    assert sorted(names(sets.items)[0]) == ["a", "d", "f"]
    assert names(sets.pool)[0][3:] == "bc"


@pytest.fixture
def crowd(tmp_path):
    """200 items of 16 dimensions; the last 40 are all the same."""
    rows = normalize(torch.randn(200, 16, generator=torch.Generator().manual_seed(0)))
    rows[160:] = rows[160]
    items = Items([str(n) for n in range(200)], [f"item {n}" for n in range(200)])
    catalog = write_catalog(tmp_path / "crowd", items, rows, None)
    return Searcher(catalog, None, TorchIndex(catalog.embeddings))


def test_k_means_facets_are_those_of_scikit_learn(crowd):
    queries = [Query(f"q{n}", "?", "mood") for n in range(3)]
    z = crowd.catalog.embeddings[[3, 50, 170]]
    sets = KMeansFacets(crowd, set_size=6, pool_size=30, depth=4)(queries, z)
    for row, query in enumerate(queries):
        _, near = crowd.index.search(z[row : row + 1], 120)
        vectors = crowd.catalog.embeddings[near[0]].numpy()
        seed = query_seed(query.id, 0)
        labels = KMeans(6, n_init=1, random_state=seed).fit(vectors).labels_
        assert sets.pool[row].tolist() == near[0][slow_facets(labels.tolist(), 30)].tolist()
    alone = KMeansFacets(crowd, set_size=6, pool_size=30, depth=4)(queries[1:2], z[1:2])
    assert torch.equal(alone.pool, sets.pool[1:2])


def test_k_means_facets_of_the_pool_keep_the_pool(crowd):
    queries, z = [Query("q", "?", "mood")], crowd.catalog.embeddings[[3]]
    plain, facets = (method(crowd, 6, 30)(queries, z) for method in (NoFanout, KMeansFacets))
    assert sorted(facets.pool[0].tolist()) == sorted(plain.pool[0].tolist())
    assert vendi(facets.item_embeddings) > vendi(plain.item_embeddings)


def test_k_means_facets_of_equal_items(crowd, recwarn):
    # All 40 candidates of this query are one and the same item: one facet, by relevance.
    sets = KMeansFacets(crowd, 5, 40, depth=1)([Query("q", "?", "mood")], crowd.embeddings(
        torch.tensor([170])))  # fmt: skip
    assert sorted(sets.pool[0].tolist()) == list(range(160, 200))
    assert not [warning for warning in recwarn if "distinct clusters" in str(warning.message)]
    assert np.unique(sets.item_embeddings[0].numpy(), axis=0).shape == (1, 16)
