"""Graded training queries → a network of k directions, which draw a fitting item of each slot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from r4t.data.queries import Query
from r4t.errors import check_least
from r4t.geometry import normalize
from r4t.methods.graded import GradedQueries
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.files import replacing
from r4t.support.progress import progress

ANCHOR = 0.2  # weight of the query in each direction
TEMPERATURE = 0.07  # of the draw of an item by a direction
BATCH = 48  # queries in a step
LEARNING_RATE = 1e-3
LONGEST_GRADIENT = 1.0


class SlotNetwork(nn.Module):
    """A query (B, d) → k directions (B, k, d): k learned vectors, each moved by the query."""

    def __init__(self, dim: int, set_size: int, width: int = 256) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(set_size, width) / 2)
        self.query = nn.Linear(dim, width)
        self.block = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.out = nn.Linear(width, dim)

    def forward(self, query: Tensor) -> Tensor:
        """Return unit vectors (B, k, d)."""
        moved = self.query(query * query.shape[-1] ** 0.5)  # entries of a unit vector are small
        hidden = self.rows + rearrange(moved, "b w -> b 1 w")
        hidden = hidden + self.block(hidden)
        return normalize(ANCHOR * rearrange(query, "b d -> b 1 d") + normalize(self.out(hidden)))


def slot_likelihood(directions: Tensor, items: Tensor, fits: Tensor, slots: Tensor) -> Tensor:
    """Return the mean log-probability () that a random direction draws a fitting item, slot by slot.

    A direction d draws item y with ``softmax_y(d·e_y / τ)``, and each of the k is taken with 1/k. The
    mean is over the slots of each query in which an item fits, then over queries. It is a mixture
    likelihood of which *any* fitting item of a slot is an answer, so a wrong verdict on an item far
    from the others costs little.

    Args:
        directions: (B, k, d) unit vectors.
        items: (N, d) unit vectors.
        fits: (B, N) bool, with an item for each query.
        slots: (N, S), 1 for the slot of each item, else 0.
    """
    drawn = (directions @ items.T / TEMPERATURE).softmax(-1).mean(1)  # (B, N)
    in_slot = (drawn * fits) @ slots  # (B, S)
    has_answer = (fits.float() @ slots > 0).float()
    logs = in_slot.clamp(min=1e-9).log() * has_answer
    return (logs.sum(-1) / has_answer.sum(-1)).mean()


@dataclass
class SetRegression:
    """k directions of a network fitted on a judge's verdicts.

    Args:
        searcher: The frozen retriever.
        network: Makes the directions.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
    """

    searcher: Searcher
    network: SlotNetwork
    set_size: int = 10
    pool_size: int = 150
    key: str = "graded-regression"
    name: str = "Graded regression"
    draws: int | None = 1

    @torch.no_grad()
    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        texts = [query.text for query in queries]
        return self.searcher.retrieve(
            vectors, self.network(vectors), query_texts=texts, pool_size=self.pool_size
        )


def fit_network(
    graded: GradedQueries, embeddings: Tensor, set_size: int, steps: int = 200
) -> SlotNetwork:
    """Fit a network by ``slot_likelihood``; the same on every call.

    Args:
        graded: Training queries.
        embeddings: (N, d) unit vectors of the items.
        set_size: Number k of directions.
        steps: Of the optimizer; 200 take half a minute on one core for 6,000 items.
    """
    check_least({"steps": (steps, 1)})
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SlotNetwork(embeddings.shape[1], set_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    slots = nn.functional.one_hot(graded.slots).to(embeddings)
    with torch.enable_grad(), progress("fit the set regression", total=steps) as bar:
        for _ in range(steps):
            rows = torch.randperm(len(graded.vectors), generator=generator)[:BATCH]
            directions = network(graded.vectors[rows])
            loss = -slot_likelihood(directions, embeddings, graded.fits[rows], slots)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
            optimizer.step()
            bar.update()
    return network.eval().requires_grad_(False)


def kept_network(
    path: Path, graded: GradedQueries, embeddings: Tensor, set_size: int
) -> SlotNetwork:
    """Return the network kept in a file, or fit it and keep it there."""
    if not path.is_file():
        with replacing(path) as part:
            save_file(fit_network(graded, embeddings, set_size).state_dict(), part)
    network = SlotNetwork(embeddings.shape[1], set_size)
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)
