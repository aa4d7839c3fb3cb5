"""An affine map by ridge regression, against scikit-learn."""

import numpy as np
import torch
from sklearn.linear_model import Ridge as PeerRidge

from r4t.geometry import normalize
from r4t.support.ridge import fit_ridge


def test_the_ridge_against_a_peer():
    random = torch.Generator().manual_seed(0)
    queries = normalize(torch.randn(40, 5, generator=random))
    targets = normalize(queries + 0.5 * torch.randn(40, 5, generator=random))
    ridge = fit_ridge(queries, targets, [3.0])
    peer = PeerRidge(alpha=3.0).fit(queries.double().numpy(), (targets - queries).double().numpy())
    expected = queries.double().numpy() + peer.predict(queries.double().numpy())
    assert np.allclose(ridge(queries).numpy(), expected, atol=1e-5)
    assert ridge.penalty == 3.0
    assert torch.equal(ridge(queries).double(), ridge(queries.double()).float().double())


def test_the_penalty_draws_toward_the_identity():
    queries = normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
    ridge = fit_ridge(queries, torch.zeros(20, 3), [1e9])
    moved = ridge(queries) - ridge(torch.zeros(1, 3))  # without the intercept
    assert torch.allclose(moved, queries, atol=1e-5)
