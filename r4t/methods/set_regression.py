"""Training queries and a loss → a network of k directions, fitted once and kept in a file of the run.

Two kinds of knowledge fit it: a judge's verdicts (here) and reference sets (``reference_sets.py``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from r4t.data.queries import Query
from r4t.diffusion.mixture import log_draws
from r4t.diffusion.slots import ANCHOR, SlotSet
from r4t.errors import check_least
from r4t.geometry import take_turns
from r4t.methods.graded import GradedQueries
from r4t.methods.kept import keep_fitted
from r4t.methods.training_sets import check_unseen
from r4t.search import Merge, Searcher
from r4t.sets import SetBatch
from r4t.support.progress import progress

TEMPERATURE = 0.07  # of the draw of an item by a direction
BATCH = 48  # queries in a step
LEARNING_RATE = 1e-3
LONGEST_GRADIENT = 1.0
WIDTH = 256
STEPS = 200
# What every network depends on, besides its data.
FITTING = {
    "batch": BATCH,
    "longest_gradient": LONGEST_GRADIENT,
    "width": WIDTH,
}
# And those that are fitted on verdicts.
GRADED_SETTINGS = {
    "anchor": ANCHOR,
    "temperature": TEMPERATURE,
    "learning_rate": LEARNING_RATE,
    "steps": STEPS,
}

Loss = Callable[[Tensor, Tensor], Tensor]  # directions (b, k, d) and whose they are (b,) → ()


def slot_likelihood(directions: Tensor, items: Tensor, fits: Tensor, slots: Tensor) -> Tensor:
    """Return the mean log-probability () that a random direction draws a fitting item, slot by slot.

    A direction draws an item as ``log_draws`` says, and each of the k is taken with 1/k. The
    mean is over the slots of each query in which an item fits, then over queries. It is a mixture
    likelihood of which *any* fitting item of a slot is an answer, so a wrong verdict on an item far
    from the others costs little.

    Args:
        directions: (B, k, d) unit vectors.
        items: (N, d) unit vectors.
        fits: (B, N) bool, with an item for each query.
        slots: (N, S), 1 for the slot of each item, else 0.
    """
    drawn = log_draws(directions, items, TEMPERATURE).exp().mean(1)  # (B, N)
    in_slot = (drawn * fits) @ slots  # (B, S)
    has_answer = (fits.float() @ slots > 0).float()
    logs = in_slot.clamp(min=1e-9).log() * has_answer
    return (logs.sum(-1) / has_answer.sum(-1)).mean()


@dataclass
class SetRegression:
    """k directions of a network fitted on a judge's verdicts or on reference sets.

    Args:
        searcher: The frozen retriever.
        network: Makes the directions.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
        merge: Makes the pool from the directions' rankings.
        seen: ``keys`` of the queries whose answers the network was fitted on.

    Raises:
        InputError: When called, if a query has one of the keys in ``seen``.
    """

    searcher: Searcher
    network: SlotSet
    set_size: int = 10
    pool_size: int = 150
    key: str = "graded-regression"
    name: str = "Graded regression"
    draws: int | None = 1
    merge: Merge = take_turns
    seen: set[tuple[str, str]] = field(default_factory=set, repr=False)

    @torch.no_grad()
    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        check_unseen(self.name, queries, self.seen)
        texts = [query.text for query in queries]
        return self.searcher.retrieve(
            vectors,
            self.network.directions(vectors),
            query_texts=texts,
            pool_size=self.pool_size,
            merge=self.merge,
        )


class Fit:
    """Fits a new network in place, some steps at a time; the same on every call.

    Args:
        vectors: (n, d) unit vectors of the training queries.
        loss: What each step lowers.
        set_size: Number k of directions.
        learning_rate: Of AdamW, above 0.
        dropout: As of ``SlotSet``.
        anchor: As of ``SlotSet``.
    """

    def __init__(
        self,
        vectors: Tensor,
        loss: Loss,
        set_size: int,
        learning_rate: float = LEARNING_RATE,
        dropout: float = 0.0,
        anchor: float = ANCHOR,
    ) -> None:
        self.vectors, self.loss, self.done = vectors, loss, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = SlotSet(vectors.shape[1], set_size, dropout=dropout, anchor=anchor)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=learning_rate)
        self._generator = torch.Generator().manual_seed(0)

    @torch.enable_grad()
    def step(self) -> None:
        """Lower the loss of one batch."""
        rows = torch.randperm(len(self.vectors), generator=self._generator)[:BATCH]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.done)  # of the dropout
            loss = self.loss(self.network.train().directions(self.vectors[rows]), rows)
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST_GRADIENT)
        self._optimizer.step()
        self.network.eval()
        self.done += 1


def fit_network(
    graded: GradedQueries, embeddings: Tensor, set_size: int, steps: int = STEPS
) -> SlotSet:
    """Fit a network by ``slot_likelihood``; the same on every call.

    Args:
        graded: Training queries.
        embeddings: (N, d) unit vectors of the items.
        set_size: Number k of directions.
        steps: Of the optimizer; 200 take half a minute on one core for 6,000 items.
    """
    check_least({"steps": (steps, 1)})
    slots = nn.functional.one_hot(graded.slots).to(embeddings)

    def loss(directions: Tensor, rows: Tensor) -> Tensor:
        return -slot_likelihood(directions, embeddings, graded.fits[rows], slots)

    fit = Fit(graded.vectors, loss, set_size)
    with progress("fit the set regression", total=steps) as bar:
        for _ in range(steps):
            fit.step()
            bar.update()
    return fit.network.requires_grad_(False)


@dataclass(frozen=True)
class Fitted:
    """A network, and plain facts about how it was fitted."""

    network: SlotSet
    facts: dict[str, Any] = field(default_factory=dict)


def kept(
    folder: Path,
    about: Mapping[str, Any],
    vectors: Tensor,
    set_size: int,
    fit: Callable[[], Fitted],
) -> Fitted:
    """Return the network kept in a folder, or fit it and keep it there; see ``keep_fitted``.

    Args:
        folder: Where files are kept.
        about: Plain values on which the network depends, but for the vectors.
        vectors: (n, d) unit vectors of the training queries.
        set_size: Number k of directions.
        fit: Fits the network.
    """

    def build(state: dict[str, Tensor], facts: dict[str, Any]) -> Fitted:
        network = SlotSet(vectors.shape[1], set_size)
        network.load_state_dict(state)
        return Fitted(network.eval().requires_grad_(False), facts)

    about = {**about, **FITTING, "set_size": set_size}
    return keep_fitted(
        folder, about, vectors, fit, lambda each: (each.network.state_dict(), each.facts), build
    )
