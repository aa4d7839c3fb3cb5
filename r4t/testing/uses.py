"""An objective → a sentence for each use that it does not serve: reward, filter, metric, copies."""

import copy
import json
import pickle
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from r4t.filters import Filter
from r4t.metrics import objective_metrics
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.sets import SetBatch
from r4t.testing.subject import Subject, close, copied, rounded, scores_of

DIFFERENTIABLE = ("query", "directions", "item_embeddings")


def gradient(subject: Subject) -> Iterator[str]:
    """It flows if it is declared, and only then."""
    objective, sets = subject.objective, subject.sets
    if not objective.differentiable:
        leaves, score = _leaves(objective, sets)
        if score(*leaves).requires_grad:
            yield (
                f"{subject.name} must declare whether gradients flow through it — found "
                "differentiable = False, and scores with a gradient — declare True, or detach()."
            )
        return
    rows = _without_repeats(sets)  # where items repeat there may be a kink
    if not len(rows):
        return
    leaves, score = _leaves(objective, sets.select(rows))
    if not score(*leaves).requires_grad:
        yield (
            f"{subject.name} must have the gradient that it declares — found scores without one — "
            "compute them from query, directions or item_embeddings, or declare False."
        )
        return
    found = torch.autograd.grad(score(*leaves).sum(), leaves, allow_unused=True)
    if not any(one is not None and bool(one.abs().sum() > 0) for one in found):
        yield (
            f"{subject.name} must have the gradient that it declares — found 0 everywhere — use "
            "smooth functions instead of comparisons, or declare False."
        )
    try:
        torch.autograd.gradcheck(score, leaves)
    except RuntimeError as error:
        yield (
            f"{subject.name} must have a gradient that equals finite differences in float64 — found "
            f"{' '.join(str(error).split())[:200]} — compute in the dtype of its inputs, detach() "
            "nothing that matters."
        )


def reward_door(subject: Subject) -> Iterator[str]:
    """It serves as reward, trained on and audited."""
    objective, sets = subject.objective, subject.sets
    # The name has a rule of its own.
    total, parts = Reward({"term": 2.0}, {"term": objective})(copied(sets))
    right = close(total, 2 * parts["term"]) and close(parts["term"], scores_of(objective, sets))
    other = _Half()
    audited, _ = Reward({"term": 0.0, "rest": 1.0}, {"term": objective, "rest": other})(sets)
    if not (right and close(audited, other(sets))):
        yield (
            f"{subject.name} must serve as a reward: its score times its weight — found "
            f"{rounded(total)} for weight 2 of {rounded(scores_of(objective, sets))} — define score() "
            "and leave __call__() as it is."
        )


def filter_door(subject: Subject) -> Iterator[str]:
    """It serves as filter: the best stay."""
    scores = subject.objective(copied(subject.sets))
    kept = Filter(share=1.0)(scores.unsqueeze(0)).kept
    if kept.shape != (1, len(subject.sets)) or not kept.equal(~scores.isnan().unsqueeze(0)):
        yield (
            f"{subject.name} must serve as a filter: a number for each set, of which those that are "
            f"known may stay — found {tuple(scores.shape)} numbers for {len(subject.sets)} sets — "
            "define score() and leave __call__() as it is."
        )


def metric_door(subject: Subject) -> Iterator[str]:
    """It serves as metric: a mean over two batches."""
    scores = subject.objective(copied(subject.sets))
    metrics = objective_metrics({"term": subject.objective})
    for _ in range(2):
        metrics.update(copied(subject.sets))
    mean = metrics.compute()["term/mean"]
    if not close(mean, scores.double().nanmean().float()):
        yield (
            f"{subject.name} must serve as a metric: the mean of its scores, "
            f"{scores.double().nanmean().item():g} — found {mean.item():g} over two equal batches — "
            "keep nothing from one call to the next."
        )


def facts_and_reasons(subject: Subject) -> Iterator[str]:
    """What it stores beside its scores can be stored."""
    objective = subject.objective
    objective(copied(subject.sets))
    reasons = objective.reasons()
    if reasons and len(reasons) != len(subject.sets):
        yield (
            f"{subject.name} must give one reason for each of the {len(subject.sets)} sets of the "
            f"last call, or none — found {len(reasons)} — write reasons() accordingly."
        )
    try:
        json.dumps(objective.facts(), allow_nan=False)
    except (TypeError, ValueError) as error:
        yield (
            f"{subject.name} must return facts that JSON can hold — found {error} — return numbers, "
            "texts, lists and dicts from facts()."
        )


def copies(subject: Subject) -> Iterator[str]:
    """It can be sent to another process, and scores there as here."""
    objective, sets = subject.objective, subject.sets
    ways: dict[str, Callable[[], Objective]] = {
        "copy.deepcopy": lambda: copy.deepcopy(objective),
        "pickle": lambda: pickle.loads(pickle.dumps(objective)),
    }
    for way, made in ways.items():
        try:
            alike = close(scores_of(made(), sets), scores_of(objective, sets))
            found = "" if alike else "other scores"
        except Exception as error:
            found = f"{type(error).__name__} ({error})"
        if found:
            yield (
                f"{subject.name} must survive {way}: other processes get copies — found {found} — "
                "define its class at the top of a module, and keep no lambdas, files or locks in it."
            )


DOORS: tuple[Callable[[Subject], Iterator[str]], ...] = (
    *(gradient, reward_door, filter_door, metric_door, facts_and_reasons),
)


class _Half(Objective):
    """Half for every set."""

    bounds = (0.0, 1.0)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) halves."""
        return torch.full((len(sets),), 0.5)


def _leaves(objective: Objective, sets: SetBatch) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """The float tensors of sets as leaves in float64, and the scores as a function of them."""
    present = [field for field in DIFFERENTIABLE if getattr(sets, field) is not None]
    leaves = [getattr(sets, field).detach().double().requires_grad_() for field in present]

    def score(*values: Tensor) -> Tensor:
        return objective(sets.extended(**dict(zip(present, values))))

    return leaves, score


def _without_repeats(sets: SetBatch) -> Tensor:
    """Rows of the queries that have members, all of different items."""
    rows = [
        row
        for row, (items, mask) in enumerate(zip(sets.items, sets.mask))
        if 0 < int(mask.sum()) == items[mask].unique().numel()
    ]
    return torch.tensor(rows, dtype=torch.long)
