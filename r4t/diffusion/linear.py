"""What a run knows → the linear set network that stage 5 begins with."""

import math

import torch
from torch import Tensor

from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import LinearSet
from r4t.diffusion.sampler import Euler
from r4t.diffusion.schedule import Karras
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.run import Run
from r4t.support.ridge import fit_ridge

SAMPLE = 256  # queries whose rows are generated at a time
LEVEL = 80.0  # of the one evaluation, in units of sigma_data: nothing of the noise is left


def nearest_to_rows(generator: DirectionGenerator, run: Run) -> LinearSet:
    """Return the ``LinearSet`` nearest to a generator's rows for the run's training queries."""
    generator.noises = 1
    searcher = run.searcher()
    queries, _ = searcher.searchable(run.read_queries("train"))
    vectors = searcher.encode_queries([query.text for query in queries])
    rows = torch.cat([generator(part, [0] * len(part)) for part in vectors.split(SAMPLE)])
    return nearest_linear(rows, vectors)


def spread_ridge_map(run: Run, set_size: int, spread: float = 1.0) -> LinearSet:
    """Return the ridge map of the training references, with ``set_size`` parts around it.

    Row i of a query lies at ``m(q) + spread · |m| · u_i``. The ridge map m leads to the mean of the query's
    reference items, and u_i are the k-means centers of what these items have beside it, their parts
    orthogonal to ``m(q)``. So every set covers the ways in which items differ from the middle of
    their sets.

    Raises:
        InputError: If there are fewer reference items than rows.
    """
    from sklearn.cluster import KMeans

    searcher = run.searcher()
    training, _ = searcher.searchable(run.read_queries("train"))
    training = [query for query in training if query.references]
    items = [searcher.catalog.embeddings[searcher.catalog.rows(q.references)] for q in training]
    if sum(len(each) for each in items) < set_size:
        raise InputError(
            expected=f"at least {set_size} reference items, one for each row",
            found=f"{sum(len(each) for each in items)} of {len(training)} training queries",
            remedy="Begin with linear: rows, or lower start.set_size.",
        )
    queries = searcher.encode_queries([query.text for query in training])
    ridge = fit_ridge(queries, torch.stack([normalize(each.mean(0)) for each in items]))
    moved = ridge(queries)
    middles = normalize(moved).repeat_interleave(torch.tensor([len(each) for each in items]), 0)
    members = torch.cat(items)
    beside = members - middles * (members * middles).sum(-1, keepdim=True)
    clusters = KMeans(set_size, n_init=3, random_state=0).fit(beside.double().numpy())
    parts = spread * moved.norm(dim=-1).mean() * torch.from_numpy(clusters.cluster_centers_)
    network = LinearSet(queries.shape[1], set_size)
    with torch.no_grad():
        network.map.weight.copy_(ridge.slope.T)
        network.offsets.copy_((ridge.intercept + parts) / math.sqrt(network.dim))
    return network


def one_evaluation(network: LinearSet, sigma_data: float) -> DirectionGenerator:
    """Return a generator that evaluates the network once, at a level without anything of the rows."""
    schedule, sampler = Karras(0.01, LEVEL), Euler(1)
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
