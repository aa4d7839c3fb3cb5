import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from r4t.catalog import write_catalog
from r4t.data.queries import Query
from r4t.data.source import Items
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.index import TorchIndex
from r4t.methods.training_sets import NearestSets, RidgeMap
from r4t.search import Searcher

EAST, NORTH = Query("1", "east", "set"), Query("2", "north", "set")
TRAINING = [
    Query("t1", "east east north", "set", ("d",)),
    Query("t2", "west", "set", ("e",)),
    Query("t3", "east east east north", "set", ("f",)),
    Query("t4", "north", "mood"),
]


def names(rows):
    return ["".join("abcdef"[row] for row in line) for line in rows.tolist()]


def answer(method, *queries):
    return method(list(queries), method.searcher.encode_queries([q.text for q in queries]))


def test_nearest_sets(plane):
    sets = answer(NearestSets(plane, TRAINING, set_size=2, pool_size=4), EAST)
    # Nearest to the east: t3 (item f, south), then t1 (item d, north); 0.6 east + 0.4 item.
    root = math.hypot(0.6, 0.4)
    expected = [[0.6 / root, -0.4 / root], [0.6 / root, 0.4 / root]]
    assert torch.allclose(sets.directions[0], torch.tensor(expected), atol=1e-6)
    # The direction at -33.7 degrees has a at 33.7, b at 43.7 and f at 56.3 degrees; that at
    # +33.7 has c at 3.7, b, a, d: in turn a, c; then b, b; then f, a; then c, d.
    assert names(sets.items) == ["ac"]
    assert names(sets.pool) == ["acbf"]
    assert sets.query_texts == ["east"]


@pytest.mark.parametrize(
    "query", [Query("t3", "east", "set"), Query("9", "East, EAST east: north!", "set")]
)
def test_a_query_is_no_memory_for_itself(plane, query):
    method = NearestSets(plane, TRAINING, set_size=2, pool_size=4)
    sets = method([query], plane.encode_queries(["east"]))
    # Without t3, by its id or by its words: t1 (item d), then t2 (item e): 0.6 east - 0.4 east.
    root = math.hypot(0.6, 0.4)
    expected = torch.tensor([[0.6 / root, 0.4 / root], [1, 0]])
    assert torch.allclose(sets.directions[0], expected, atol=1e-6)
    with pytest.raises(InputError, match=r"at least 3 .* besides the query's own, but found 2 for"):
        NearestSets(plane, TRAINING, 3, 4)([query], plane.encode_queries(["east"]))


def test_nearest_sets_needs_references(plane):
    with pytest.raises(InputError, match=r"at least 10 training queries .* found 0. Leave"):
        NearestSets(plane, [EAST, NORTH])
    with pytest.raises(InputError, match=r"weight of the query .* found 1.5. Choose"):
        NearestSets(plane, TRAINING, 2, 4, weight=1.5)


def test_nearest_sets_do_not_depend_on_the_batch(plane):
    training = [Query(f"t{n}", "east north"[: 4 + n], "set", tuple("abcd")) for n in (0, 6)]
    training.append(Query("t7", "south", "set", ("f", "e")))
    method = NearestSets(plane, training, 2, 4)
    queries = [Query("a", "north", "set"), Query("b", "west north", "set")]
    together = answer(method, *queries)
    for row, query in enumerate(queries):
        alone = answer(method, query)
        assert torch.equal(alone.directions, together.directions[row : row + 1])
        assert alone.pool.tolist() == together.pool[row : row + 1].tolist()


class Drawer:
    """Encodes the texts that it was given vectors for."""

    def __init__(self, vectors):
        self.vectors, self.dim = vectors, 6

    def encode(self, texts):
        return torch.stack([self.vectors[text] for text in texts])


@pytest.fixture
def turned(tmp_path):
    """60 training and 10 test queries; the items of each lie where an unknown rotation takes it."""
    generator = torch.Generator().manual_seed(0)
    z = normalize(torch.randn(70, 6, generator=generator))
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    rows = normalize(
        (z @ rotation).repeat_interleave(2, 0) + 0.1 * torch.randn(140, 6, generator=generator)
    )
    ids = [f"i{n}" for n in range(140)]
    catalog = write_catalog(tmp_path / "turned", Items(ids, ids), rows, None)
    encoder = Drawer({f"q{n}": z[n] for n in range(70)})
    searcher = Searcher(catalog, encoder, TorchIndex(catalog.embeddings))
    queries = [Query(f"{n}", f"q{n}", "set", (f"i{2 * n}", f"i{2 * n + 1}")) for n in range(70)]
    return searcher, queries[:60], queries[60:]


def test_ridge_map_is_the_closed_form(turned):
    searcher, training, test = turned
    method = RidgeMap(searcher, training, 2, 20)
    x = searcher.encode([query.text for query in training]).double().numpy()
    rows = searcher.catalog.embeddings.double()
    y = normalize(rows[:120].view(60, 2, 6).mean(1)).numpy() - x
    # Leave-one-out errors by leaving one out, for each penalty; then the normal equations.
    errors = {}
    for penalty in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
        left_out = [np.arange(60) != n for n in range(60)]
        found = [RidgeCV([penalty]).fit(x[keep], y[keep]).predict(x[~keep])[0] for keep in left_out]
        errors[penalty] = np.square(np.stack(found) - y).mean()
    assert method.penalty == min(errors, key=errors.get)
    centered = x - x.mean(0)
    slope = np.linalg.solve(
        centered.T @ centered + method.penalty * np.eye(6), centered.T @ (y - y.mean(0))
    )
    z = searcher.encode([query.text for query in test])
    shift = (z.numpy() - x.mean(0)) @ slope + y.mean(0)
    expected = normalize(torch.from_numpy(z.numpy() + shift))
    assert torch.allclose(method.map(z).double(), expected, atol=1e-6)
    # It has learned the rotation: the items of unseen queries come first.
    sets = method(test, z)
    own = torch.tensor([searcher.catalog.rows(query.references) for query in test])
    assert (sets.pool.unsqueeze(1) == own.unsqueeze(2)).any(-1).float().mean() == 1
    assert sets.directions is None
    assert torch.equal(method(test[3:4], z[3:4]).pool, sets.pool[3:4])


def test_ridge_map_under_a_heavy_penalty_moves_every_query_alike(turned):
    searcher, training, test = turned
    z = searcher.encode([query.text for query in test])
    known = searcher.encode([query.text for query in training])
    means = normalize(searcher.catalog.embeddings[:120].view(60, 2, 6).mean(1))
    expected = normalize(z + (means - known).mean(0))
    found = RidgeMap(searcher, training, 2, 20, penalties=[1e9]).map(z)
    assert torch.allclose(found, expected, atol=1e-6)


def test_ridge_map_refuses_what_it_has_seen(turned):
    searcher, training, test = turned
    method = RidgeMap(searcher, training, 2, 20)
    asked = [test[0], training[5]]
    with pytest.raises(
        InputError, match=r"found 1 of 2 among its .* by id or text, such as 'q5' \(id '5'\)"
    ):
        method(asked, searcher.encode([query.text for query in asked]))
    # The same words under another id are the same query.
    twin = Query("typed", " Q5!", "")
    with pytest.raises(InputError, match=r"found 1 of 1 among .* such as ' Q5!' \(id 'typed'\)"):
        method([twin], searcher.encode(["q5"]))
    with pytest.raises(InputError, match=r"at least 2 .* for Ridge map, but found 1. Leave"):
        RidgeMap(searcher, training[:1])
