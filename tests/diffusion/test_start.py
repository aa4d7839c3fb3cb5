"""A network linear in the query: by its formula, against scikit-learn, and against the ridge map."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as PeerRidge

from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import LinearSet, Relay
from r4t.diffusion.start import nearest_linear, nearest_to_rows, one_evaluation, spread_ridge_map
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.methods.training_sets import RidgeMap
from tests.diffusion.conftest import build_network
from tests.diffusion.test_refiner import place  # noqa: F401


def test_a_row_by_hand():
    network = LinearSet(2, 2)
    with torch.no_grad():
        network.map.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
        network.offsets.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    query = torch.tensor([[0.6, 0.8]])
    # A q = (0.8, 1.2); √2·(A q + √2·o) = √2·A q + 2·o.
    root = math.sqrt(2)
    expected = [[0.8 * root + 2, 1.2 * root], [0.8 * root, 1.2 * root - 2]]
    rows, noise = torch.randn(1, 2, 2), torch.zeros(1)
    output = network(rows, noise, network.memory(query))
    assert torch.allclose(output, torch.tensor([expected]))
    without = network(rows, noise, network.memory(query, torch.tensor([True])))
    assert torch.allclose(without, torch.tensor([[[2.0, 0.0], [0.0, -2.0]]]))


def test_its_directions_ignore_the_seed_up_to_what_is_left_of_the_noise(queries):
    network = LinearSet(8, 5)
    torch.nn.init.normal_(network.offsets, std=0.2)
    generator = one_evaluation(network, 8**-0.5)
    expected = normalize(queries.unsqueeze(1) + math.sqrt(8) * network.offsets)
    assert torch.allclose(generator(queries, [0] * 4), expected, atol=0.05)
    assert torch.equal(generator(queries, [0] * 4), generator(queries, [1, 2, 3, 4]))
    assert generator.evaluations() == 1


def test_it_has_no_rows_beyond_its_offsets(tmp_path, queries):
    generator = one_evaluation(LinearSet(8, 5), 8**-0.5)
    with pytest.raises(InputError, match="at most 5 rows, each with an offset of its own"):
        generator.resize(6)
    generator.resize(3)
    generator.save(tmp_path)
    loaded = DirectionGenerator.load(tmp_path)
    assert loaded.set_size == len(loaded.network.offsets) == 3
    assert torch.equal(loaded(queries, [0] * 4), generator.eval()(queries, [0] * 4))
    with pytest.raises(InputError, match="dim .*at least 1.*found 0"):
        LinearSet(0, 5)


def test_a_hybrid_with_it_is_resized_in_both_parts(queries):
    relay = Relay(LinearSet(8, 5), build_network(), until=1.0)
    DirectionGenerator(relay, guidance=0.0).resize(2)
    assert len(relay.first.offsets) == relay.then.set_size == 2
    relay.keep_condition()
    assert not relay.then.null_tokens.requires_grad


def test_the_nearest_is_what_least_squares_of_all_rows_finds():
    """Against scikit-learn: one regression of all rows, whose offsets are indicator columns."""
    random = torch.Generator().manual_seed(0)
    queries = normalize(torch.randn(30, 4, generator=random))
    rows = normalize(torch.randn(30, 3, 4, generator=random))
    network = nearest_linear(rows, queries, ridge=2.0)
    # Σ over 3 rows is 3 times their mean, so the penalty is 3 times as high; unpenalized offsets:
    # both sides minus their means per row.
    stacked = (queries - queries.mean(0)).repeat_interleave(3, 0).double().numpy()
    targets = (rows - rows.mean(0)).flatten(0, 1).double().numpy()
    peer = PeerRidge(alpha=6.0, fit_intercept=False).fit(stacked, targets)
    assert np.allclose(network.map.weight.detach().numpy(), peer.coef_, atol=1e-5)
    predicted = queries @ network.map.weight.T
    offsets = (rows - predicted.unsqueeze(1)).mean(0) / 2  # √4
    assert torch.allclose(network.offsets, offsets, atol=1e-5)


def test_a_linear_generator_is_its_own_nearest(place):  # noqa: F811
    torch.manual_seed(0)
    true = LinearSet(place.searcher().catalog.dim, 3)
    torch.nn.init.normal_(true.offsets, std=0.3)
    torch.nn.init.normal_(true.map.weight, std=0.1)
    generator = one_evaluation(true, true.dim**-0.5)
    found = one_evaluation(nearest_to_rows(generator, place), true.dim**-0.5)
    vectors = place.searcher().encode_queries([q.text for q in place.read_queries("val")])
    cosines = (found(vectors, [0] * len(vectors)) * generator(vectors, [0] * len(vectors))).sum(-1)
    assert cosines.mean() > 0.97


def test_parts_that_are_not_spread_are_the_ridge_map(place):  # noqa: F811
    searcher = place.searcher()
    vectors = searcher.encode_queries([q.text for q in place.read_queries("val")])
    mapped = RidgeMap(searcher, place.read_queries("train")).map(vectors)
    near, far = (one_evaluation(spread_ridge_map(place, 4, x)) for x in (0.0, 1.0))
    flat, spread = (each(vectors, [0] * len(vectors)) for each in (near, far))
    assert torch.allclose(flat, mapped.unsqueeze(1).expand_as(flat), atol=0.05)
    assert (spread[:, 0] * spread[:, 1]).sum(-1).mean() < (flat[:, 0] * flat[:, 1]).sum(-1).mean()
    middle = normalize(spread.mean(1))
    assert (middle * mapped).sum(-1).mean() > 0.8
    with pytest.raises(InputError, match="at least 999 reference items, one for each row"):
        spread_ridge_map(place, 999)
