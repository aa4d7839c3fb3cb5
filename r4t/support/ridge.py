"""Queries and the points where their items are → an affine map between them: ridge regression."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Ridge:
    """``x ↦ x · slope + intercept``, in float64."""

    slope: Tensor  # (d, d)
    intercept: Tensor  # (d,)
    penalty: float  # the chosen one

    def __call__(self, vectors: Tensor) -> Tensor:
        """Map (B, d) to (B, d), of the same dtype."""
        return (vectors.double() @ self.slope + self.intercept).to(vectors.dtype)


def fit_ridge(queries: Tensor, targets: Tensor, penalties: Sequence[float] = PENALTIES) -> Ridge:
    """Fit a map of queries (n, d) to targets (n, d), with intercept, in closed form.

    What is fitted is target minus query: both are in one space, so the penalty draws the map toward
    the identity rather than toward zero.

    Args:
        queries: (n, d).
        targets: (n, d).
        penalties: Candidates, each above 0; the one with the least leave-one-out error is taken.
            X'X of unit vectors has the trace n.
    """
    from sklearn.linear_model import RidgeCV

    queries, targets = queries.double(), targets.double()
    fitted = RidgeCV(penalties).fit(queries.numpy(), (targets - queries).numpy())
    slope = torch.from_numpy(fitted.coef_.T.copy()) + torch.eye(queries.shape[1]).double()
    return Ridge(slope, torch.from_numpy(fitted.intercept_), float(fitted.alpha_))
