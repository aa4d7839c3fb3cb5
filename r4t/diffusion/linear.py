"""A generator → the linear set network that is nearest to it, to be refined (stage 5)."""

import math

import torch
from torch import Tensor

from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import LinearSet
from r4t.diffusion.sampler import Euler
from r4t.diffusion.schedule import Karras
from r4t.run import Run

SAMPLE = 256  # queries whose rows are generated at a time
LEVEL = 80.0  # of the one evaluation, in units of sigma_data: nothing of the noise is left


def linear_start(generator: DirectionGenerator, run: Run) -> DirectionGenerator:
    """Return the ``LinearSet`` nearest to a generator's rows for the run's training queries.

    A generator that is linear already stays as it is.
    """
    if isinstance(generator.network, LinearSet):
        return generator
    generator.noises = 1
    searcher = run.searcher()
    queries, _ = searcher.searchable(run.read_queries("train"))
    vectors = searcher.encode_queries([query.text for query in queries])
    rows = torch.cat([generator(part, [0] * len(part)) for part in vectors.split(SAMPLE)])
    sigma_data = generator.denoiser.sigma_data
    schedule, sampler = Karras(0.01, LEVEL), Euler(1)
    network = nearest_linear(rows, vectors)
    return DirectionGenerator(network, schedule, sampler, 0.0, sigma_data, noises=1)


@torch.no_grad()
def nearest_linear(rows: Tensor, queries: Tensor, ridge: float = 1.0) -> LinearSet:
    """Return the ``LinearSet`` that is nearest to a model's rows, by least squares.

    It minimizes ``Σ_q Σ_i ‖A q + √d·o_i − r_i(q)‖² / L + ridge · ‖A‖²``. The offsets take the rows' means,
    so A is the ridge regression of the mean row on the query, both centered.

    Args:
        rows: Unit rows r (n, L, d) that a model generated for n queries, from one noise: row i
            plays the same part in every set.
        queries: Unit query embeddings (n, d).
        ridge: Weight, at least 0, of the squared entries of A; above 0 if n ≤ d.
    """
    targets = rows.double().mean(1)  # the same A serves all rows
    centered = queries.double() - queries.double().mean(0)
    size = queries.shape[1]
    squares = centered.T @ centered + ridge * torch.eye(size, dtype=torch.float64)
    weights = torch.linalg.solve(squares, centered.T @ (targets - targets.mean(0)))  # (d, d)
    network = LinearSet(size, rows.shape[1])
    network.map.weight.copy_(weights.T)
    offsets = rows.double().mean(0) - (queries.double() @ weights).mean(0)
    network.offsets.copy_(offsets / math.sqrt(size))
    return network
