"""What a run has → the generator that stage 5 begins with: a model, or a network linear in the query."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from r4t.choice import QueryTime
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import LinearSet, SetNetwork
from r4t.diffusion.sampler import Euler
from r4t.diffusion.schedule import Karras
from r4t.diffusion.slots import SlotSet
from r4t.diffusion.student import student_of
from r4t.errors import InputError, check_least
from r4t.geometry import normalize
from r4t.run import Run
from r4t.support.ridge import fit_ridge

BATCH = 256  # queries whose rows are generated at a time
LINEAR = NONE, ROWS, REFERENCES = "none", "rows", "references"
LEVEL = 80.0  # of the one evaluation, in units of sigma_data: hardly anything of the noise is left


@dataclass(frozen=True)
class Start:
    """The generator to refine.

    What a judge or references say of a few thousand training queries teaches a linear network more
    about other queries than it teaches a transformer, which learns those queries by heart.
    Objectives without labels say as much about any other query: keep the model's own network for
    them.

    Args:
        model: Its folder, inside the run; what the gate compares with. With ``references`` it may be
            missing, or None: then the gate compares with the network that training begins with.
        linear: ``none`` for the model's own network. Else a ``LinearSet``: ``rows`` for the one nearest
            to the model's rows, ``references`` for the ridge map of the training references with L
            parts around it, for which the run needs no model at all.
        spread: How far these parts lie from the ridge map, at least 0; see ``spread_ridge_map``.
        levels: Noise levels at which the model's own network is evaluated, decreasing, in units of
            sigma_data; those of the model by default. One level makes a retriever of one evaluation,
            as the linear network always is.
        set_size: Rows L to generate; those of the model if None. The number k of items that users
            ask for needs no row more.
        noises: Of the model's own network, see ``DirectionGenerator``; with one, each row learns a part
            of its own. A linear network always has one, as it does not see the noise.

    Raises:
        InputError: If a number is too small, ``linear`` is unknown, or a model is needed and missing.
    """

    model: str | None = "accelerate/model"
    linear: Literal["none", "rows", "references"] = "none"
    spread: float = 1.0
    levels: tuple[float, ...] | None = None
    set_size: int | None = 10
    noises: int | None = 1

    def __post_init__(self) -> None:
        check_least({"spread": (self.spread, 0)})
        for name, value in (("set_size", self.set_size), ("noises", self.noises)):
            if value is not None:
                check_least({name: (value, 1)})
        if self.linear not in LINEAR:
            raise InputError(
                expected=f"start.linear to be one of {', '.join(LINEAR)}",
                found=f"{self.linear!r}",
                remedy="Choose one.",
            )
        if self.model is None and self.linear != REFERENCES:
            raise InputError(
                expected="a start.model, which only linear: references does without",
                found=f"model: null and linear: {self.linear}",
                remedy="Name the folder of a model in the run, such as accelerate/model.",
            )
        if self.model is None and self.set_size is None:
            raise InputError(
                expected="a start.set_size, as there is no model to take it from",
                found="null",
                remedy="Set it, for example to 10.",
            )

    def load(self, run: Run) -> DirectionGenerator:
        """Return the generator, ready to train; other networks of its folder stay as they are."""
        generator = self._generator(run)
        if self.linear == NONE:
            if self.levels is not None:
                generator = student_of(generator, self.levels)
            generator.noises = self.noises
        generator.network.keep_condition()
        return generator.train()

    def _generator(self, run: Run) -> DirectionGenerator:
        """Return the model's generator or a linear one; one that is linear stays for its rows."""
        if self.linear == REFERENCES:
            return one_evaluation(spread_ridge_map(run, self._rows(run), self.spread))
        generator = DirectionGenerator.load(run.folder / str(self.model))
        if self.set_size is not None:
            generator.resize(self.set_size)
        if self.linear == NONE or isinstance(generator.network, (LinearSet, SlotSet)):
            return generator
        return one_evaluation(nearest_to_rows(generator, run), generator.denoiser.sigma_data)

    def _rows(self, run: Run) -> int:
        """Return the number of rows L."""
        if self.set_size is not None:
            return self.set_size
        return DirectionGenerator.load(run.folder / str(self.model)).set_size

    def reference(
        self, run: Run, query_time: QueryTime
    ) -> tuple[str, DirectionGenerator, QueryTime]:
        """Return what the gate compares with: the model as it was saved, or what training begins with."""
        folder = run.folder / str(self.model)
        if self.linear == REFERENCES and not folder.is_dir():
            return "start", self.load(run), query_time
        return "start", DirectionGenerator.load(folder), QueryTime.load(folder)


def nearest_to_rows(generator: DirectionGenerator, run: Run) -> LinearSet:
    """Return the ``LinearSet`` nearest to a generator's rows for the run's training queries."""
    generator.noises = 1
    searcher = run.searcher()
    queries, _ = searcher.searchable(run.read_queries("train"))
    vectors = searcher.encode_queries([query.text for query in queries])
    rows = torch.cat([generator(part, [0] * len(part)) for part in vectors.split(BATCH)])
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
            remedy="Lower start.set_size, or begin with linear: rows and a model.",
        )
    queries = searcher.encode_queries([query.text for query in training])
    ridge = fit_ridge(queries, torch.stack([normalize(each.mean(0)) for each in items]))
    moved = ridge(queries)
    middles = normalize(moved).repeat_interleave(torch.tensor([len(each) for each in items]), 0)
    members = torch.cat(items)
    beside = members - middles * (members * middles).sum(-1, keepdim=True)
    clusters = KMeans(set_size, n_init=3, random_state=0).fit(beside.double().numpy())
    parts = spread * moved.norm(dim=-1).mean() * torch.from_numpy(clusters.cluster_centers_)
    return _linear(ridge.slope, ridge.intercept + parts)


def one_evaluation(network: SetNetwork, sigma_data: float | None = None) -> DirectionGenerator:
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
    return _linear(weights, rows.double().mean(0) - (queries.double() @ weights).mean(0))


@torch.no_grad()
def _linear(slope: Tensor, shifts: Tensor) -> LinearSet:
    """Return the network whose row i lies in the direction of ``q · slope + shifts_i``, (d, d), (L, d)."""
    network = LinearSet(len(slope), len(shifts))
    network.map.weight.copy_(slope.T)
    network.offsets.copy_(shifts / math.sqrt(network.dim))
    return network
