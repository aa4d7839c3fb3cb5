"""Reference sets → a network of k directions: a set regression, by either of two losses.

A baseline for query-to-set retrieval, as in multi-vector retrieval (AMER, arXiv:2511.02770): the
training references alone teach it, without a language model, synthesized sets or a reward.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from r4t.data.queries import Query
from r4t.diffusion.mixture import log_draws, log_mixture
from r4t.geometry import RankFusion, take_turns
from r4t.methods.set_regression import Fit, Fitted, SetRegression
from r4t.methods.training_sets import TrainingSets, all_keys
from r4t.methods.votes import mean_recall
from r4t.search import Merge
from r4t.support.progress import progress

TEMPERATURES = (0.03, 0.05)
# Against overfitting to few sets; chosen by the validation queries of five folds of recipes, which are
# test queries of other folds: on recipes these methods know a little more than the others.
DROPOUT, ANCHOR, LEARNING_RATE = 0.5, 0.5, 3e-4
MOST_STEPS, EVERY, PATIENCE = 300, 10, 6  # of the optimizer; between checks; checks without a gain
DEFAULT_STEPS = 60  # without validation queries
MERGES: dict[str, Merge] = {"turns": take_turns, "fused": RankFusion(members_first=True)}
SETTINGS = {
    "temperatures": TEMPERATURES,
    "dropout": DROPOUT,
    "anchor": ANCHOR,
    "learning_rate": LEARNING_RATE,
    "steps": [MOST_STEPS, EVERY, PATIENCE, DEFAULT_STEPS],
}

SetLoss = Callable[..., Tensor]  # directions, items, references and temperature → ()


def matching_loss(
    directions: Tensor, items: Tensor, references: Tensor, temperature: float
) -> Tensor:
    """Return the mean of −log ``softmax_y(d·e_y / τ)`` () over directions d and the items y they match.

    Each set's directions and reference items are matched one to one, so that the sum of the cosines
    is the largest (the Hungarian method); what is left over of the larger side counts nothing. The
    mean is over the pairs of each query, then over queries. With 1 − cosine in place of the softmax,
    directions drift to the middle of all items: it recalls a sixth less on recipes (validation).

    Args:
        directions: (B, k, d) unit vectors.
        items: (N, d) unit vectors.
        references: (B, R) catalog rows of reference sets with an item each, −1 padded.
        temperature: τ, above 0.
    """
    from scipy.optimize import linear_sum_assignment

    draws = log_draws(directions, items, temperature)
    cosines = (directions @ items[references.clamp(min=0)].mT).detach()  # (B, k, R)
    means = []
    for table, drawn, row in zip(cosines, draws, references):
        wanted = row[row >= 0]
        pairs = linear_sum_assignment(table[:, row >= 0].numpy(), maximize=True)
        members, places = map(torch.from_numpy, pairs)
        means.append(drawn[members, wanted[places]].mean())
    return -torch.stack(means).mean()


def mixture_loss(
    directions: Tensor, items: Tensor, references: Tensor, temperature: float
) -> Tensor:
    """Return the mean of −log P(y) () over the reference items y of each query, then over queries.

    ``P(y) = (1/k) Σ_j softmax_y(d_j·e_y / τ)``: one of the k directions, at random, draws the item.

    Args:
        directions: (B, k, d) unit vectors.
        items: (N, d) unit vectors.
        references: (B, R) catalog rows of reference sets with an item each, −1 padded.
        temperature: τ, above 0.
    """
    present, targets = references >= 0, items[references.clamp(min=0)]
    logs = log_mixture(directions, targets, items, temperature)  # (B, R)
    return -((logs * present).sum(1) / present.sum(1)).mean()


LOSSES: dict[str, SetLoss] = {"matched": matching_loss, "mixture": mixture_loss}


def fit_regression(
    kind: str, memory: TrainingSets, validation: Sequence[Query], set_size: int, pool_size: int
) -> Fitted:
    """Fit a network on reference sets; validation queries choose how, by recall in their pools.

    They choose the temperature, the number of steps, and whether directions take turns in the pool or
    are fused. Without any, those are the last of ``TEMPERATURES``, ``DEFAULT_STEPS``, and turns. The
    result is the same on every call.

    Args:
        kind: A key of ``LOSSES``: "matched" or "mixture".
        memory: The training sets.
        validation: Queries with references, none of them among the training sets.
        set_size: Number k of directions.
        pool_size: Number P of distinct items.
    """
    fitted = []
    for temperature in TEMPERATURES if validation else TEMPERATURES[-1:]:
        loss = partial(LOSSES[kind], temperature=temperature)
        found = _fitted(loss, memory, validation, set_size, pool_size)
        facts = {"loss": kind, "temperature": temperature, **found.facts}
        fitted.append(Fitted(found.network.requires_grad_(False), facts))
    return better(fitted)


def better(fitted: Sequence[Fitted]) -> Fitted:
    """Return the network with the highest validation recall; of equal ones, or without any, the last."""
    return max(reversed(fitted), key=lambda each: each.facts["recall"] or 0.0)


def _fitted(
    loss: SetLoss, memory: TrainingSets, validation: Sequence[Query], set_size: int, pool_size: int
) -> Fitted:
    """Fit by one loss; stop early if there are validation queries."""
    searcher, rows = memory.searcher, memory.rows()
    items = searcher.catalog.embeddings

    def of_rows(directions: Tensor, chosen: Tensor) -> Tensor:
        return loss(directions, items, rows[chosen])

    fit = Fit(memory.vectors, of_rows, set_size, LEARNING_RATE, dropout=DROPOUT, anchor=ANCHOR)
    if not validation:
        for _ in progress("fit the set regression", range(DEFAULT_STEPS)):
            fit.step()
        return Fitted(fit.network, {"recall": None, "steps": DEFAULT_STEPS, "merge": "turns"})
    vectors = searcher.encode([query.text for query in validation])
    best, waited = Fitted(fit.network, {"recall": -1.0}), 0  # checks without a gain
    for step in progress("fit the set regression", range(1, MOST_STEPS + 1)):
        fit.step()
        if step % EVERY:
            continue
        waited += 1
        for name, merge in MERGES.items():
            method = SetRegression(searcher, fit.network, set_size, pool_size, merge=merge)
            recall = mean_recall(method, searcher, validation, vectors)
            if recall > best.facts["recall"]:
                facts = {"recall": recall, "steps": step, "merge": name}
                best, waited = Fitted(copy.deepcopy(fit.network), facts), 0
        if waited == PATIENCE:
            break
    return best


def set_regression(
    fitted: Fitted, memory: TrainingSets, set_size: int, pool_size: int, key: str, name: str
) -> SetRegression:
    """Return the method of a network that ``fit_regression`` fitted; it refuses its training queries."""
    merge, seen = MERGES[fitted.facts["merge"]], all_keys(memory.queries)
    return SetRegression(
        memory.searcher, fitted.network, set_size, pool_size, key, name, merge=merge, seen=seen
    )
