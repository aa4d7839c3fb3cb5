"""A query's nearest items, and numbers that tell whether one belongs to its set: how close, how crowded."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r4t.geometry import normalize
from r4t.search import Searcher

CANDIDATES = 80
NEAR_COPIES = (0.5, 0.6, 0.7, 0.8, 0.9)  # cosines
CENTERS = (5, 15)  # nearest candidates whose mean is looked at


@dataclass
class Candidates:
    """P items for each of B queries.

    Args:
        items: (B, P) catalog rows, the nearest first.
        features: (B, P, F) numbers about each.
        cosines: (B, P, P) between the items of a query.
    """

    items: Tensor
    features: Tensor
    cosines: Tensor


class CandidateFeatures:
    """Finds the candidates of a query and describes them.

    Candidates are nearest to the sum of the query and of where a map that training sets taught expects
    its items. The features of each say how close it is to both, compared with the other candidates; how
    crowded it is among them; and how near training queries are, since an item near all of them says
    little about one.

    Args:
        searcher: The frozen retriever.
        training: (n, d) unit vectors of training queries.
    """

    def __init__(self, searcher: Searcher, training: Tensor) -> None:
        self.searcher, self.training = searcher, training
        self.count = min(CANDIDATES, len(searcher.catalog))

    def __call__(
        self,
        vectors: Tensor,
        mapped: Tensor,
        own: Sequence[Sequence[int]] | None = None,
    ) -> Candidates:
        """Describe the candidates of B queries.

        Args:
            vectors: (B, d) unit vectors of the queries.
            mapped: (B, d) unit vectors near which their items are expected.
            own: For each query the training queries that are the query itself.
        """
        items = self.searcher.nearest(normalize(vectors + mapped), self.count)[1]
        found = self.searcher.embeddings(items)  # (B, P, d)
        cosines = found @ found.mT
        closeness, expected = _closeness(found, vectors), _closeness(found, mapped)
        features = [
            *_compared(closeness),
            *_compared(expected),
            *_crowd(found, cosines, expected),
            *self._commonness(found, closeness, own),
            *_of_the_query(closeness, cosines),
        ]
        return Candidates(items, torch.stack(features, dim=2), cosines)

    def _commonness(
        self, found: Tensor, closeness: Tensor, own: Sequence[Sequence[int]] | None
    ) -> list[Tensor]:
        """How near training queries are to each item, and how much nearer the query is."""
        near = found @ self.training.T  # (B, P, n)
        others = near.new_ones(len(near), 1, near.shape[2])
        for row, places in enumerate(own or []):
            others[row, 0, list(places)] = 0
        count = others.sum(2).clamp(min=1)
        mean = (near * others).sum(2) / count
        nearest = near.masked_fill(others == 0, -1.0).topk(min(10, near.shape[2]), dim=2).values
        first, ten = nearest[..., 0], nearest.mean(2)
        return [mean, first, ten, closeness - first, closeness - ten]


def _closeness(found: Tensor, vectors: Tensor) -> Tensor:
    """Return the cosines (B, P) of items (B, P, d) with unit vectors (B, d)."""
    return (found @ vectors.unsqueeze(2)).squeeze(2)


def _compared(scores: Tensor) -> list[Tensor]:
    """Return scores (B, P), their gap to the best, in deviations from the mean, and by rank."""
    deviation = scores.std(1, keepdim=True, correction=0) + 1e-6
    ranks = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return [
        scores,
        scores - scores.amax(1, keepdim=True),
        (scores - scores.mean(1, keepdim=True)) / deviation,
        ranks.to(scores),
    ]


def _crowd(found: Tensor, cosines: Tensor, expected: Tensor) -> list[Tensor]:
    """Return how near items (B, P, d) are to the candidates' middle and to each other, each (B, P)."""
    shares = (20 * expected).softmax(1).unsqueeze(1)
    middles = [found.mean(1), (shares @ found).squeeze(1)]
    middles += [found[:, :count].mean(1) for count in CENTERS]
    features = [_closeness(found, normalize(middle)) for middle in middles]
    others = cosines - 2 * torch.eye(
        cosines.shape[1], device=cosines.device
    )  # an item is no copy of itself
    features += [(others > cosine).sum(2).to(cosines) for cosine in NEAR_COPIES]
    nearest = others.topk(min(10, others.shape[2]), dim=2).values
    return [*features, nearest[..., 0], nearest[..., :3].mean(2), nearest.mean(2)]


def _of_the_query(closeness: Tensor, cosines: Tensor) -> list[Tensor]:
    """Return what all candidates of a query share, each (B, P): how close and how alike they are."""
    facts = [
        closeness.amax(1),
        closeness.std(1, correction=0),
        closeness[:, :10].mean(1),
        cosines.mean((1, 2)),
        (cosines > NEAR_COPIES[1]).to(cosines).mean((1, 2)),
    ]
    return [fact.unsqueeze(1).expand(closeness.shape) for fact in facts]
