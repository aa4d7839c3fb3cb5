"""An objective → a sentence for each use that it does not serve: reward, filter, metric, copies."""

import copy
import json
import pickle
from collections.abc import Callable

import torch
from torch import Tensor

from r4t.filters import Filter
from r4t.geometry import distinct_count
from r4t.metrics import objective_metrics
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.sets import SetBatch
from r4t.testing.subject import Subject, close, copied, rounded, rule

DIFFERENTIABLE = ("query", "directions", "item_embeddings")
USUAL = "Define score() and leave __call__() as it is."


@rule("Define its class at the top of a module, and keep no lambdas, files or locks in it.")
def copies(subject: Subject) -> str:
    """Score the same as a copy by copy.deepcopy or pickle, for other processes."""
    try:
        twins = copy.deepcopy(subject.objective), pickle.loads(pickle.dumps(subject.objective))
        scores = [Subject(twin, subject.sets).scores() for twin in twins]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if all(close(score, subject.scores()) for score in scores) else "other scores"


@rule(
    "Set differentiable = True and compute scores smoothly from query, directions or "
    "item_embeddings in their own dtype, or set it to False and detach() the scores."
)
def gradient(subject: Subject) -> str:
    """Have the gradient that differentiable declares."""
    objective, sets = subject.objective, subject.sets
    if not objective.differentiable:
        leaves, score = _leaves(objective, sets)
        return "one that it does not declare" if score(*leaves).requires_grad else ""
    distinct = distinct_count(sets.items.masked_fill(~sets.mask, -1))
    rows = (distinct == sets.mask.sum(-1)) & (distinct > 0)  # repeated items may be at a kink
    if not rows.any():
        return ""
    leaves, score = _leaves(objective, sets.select(rows.nonzero().flatten()))
    if not score(*leaves).requires_grad:
        return "scores without one"
    gradients = torch.autograd.grad(score(*leaves).sum(), leaves, allow_unused=True)
    if not any(values is not None and bool(values.any()) for values in gradients):
        return "0 everywhere"
    try:
        torch.autograd.gradcheck(score, leaves)
    except RuntimeError as error:
        return f"other values than finite differences: {' '.join(str(error).split())[:200]}"
    return ""


@rule(USUAL)
def use_as_reward(subject: Subject) -> str:
    """Serve as a reward, where its weight multiplies its score."""
    objective, sets, scores = subject.objective, subject.sets, subject.scores()
    # The name of the objective has a rule of its own.
    total, parts = Reward({"term": 2.0}, {"term": objective})(copied(sets))
    audit = Reward({"term": 0.0, "same": 1.0}, {"term": objective, "same": objective})
    audited, _ = audit(copied(sets))
    if close(total, 2 * scores) and close(parts["term"], scores) and close(audited, scores):
        return ""
    return f"{rounded(total)} for weight 2 and scores {rounded(scores)}"


@rule(USUAL)
def use_as_filter(subject: Subject) -> str:
    """Serve as a filter, which can keep every set that has a score."""
    scores = subject.objective(copied(subject.sets))
    kept = Filter(share=1.0)(scores.unsqueeze(0)).kept
    if kept.shape == (1, len(subject.sets)) and kept.equal(~scores.isnan().unsqueeze(0)):
        return ""
    return f"scores of shape {tuple(scores.shape)} for {len(subject.sets)} sets"


@rule("Keep no state from one call to the next.")
def use_as_metric(subject: Subject) -> str:
    """Serve as a metric, the mean of its scores."""
    mean = subject.objective(copied(subject.sets)).double().nanmean()
    metrics = objective_metrics({"term": subject.objective})
    for _ in range(2):
        metrics.update(copied(subject.sets))
    measured = metrics.compute()["term/mean"]
    if close(measured, mean.float()):
        return ""
    return f"{measured.item():g} instead of {mean.item():g} over two equal batches"


@rule("Correct its reasons().")
def reasons(subject: Subject) -> str:
    """Give no reasons, or one for each set of the last call."""
    subject.objective(copied(subject.sets))
    count = len(subject.objective.reasons())
    return "" if count in (0, len(subject.sets)) else f"{count} for {len(subject.sets)} sets"


@rule("Return numbers, texts, lists and dicts from facts().")
def facts(subject: Subject) -> str:
    """Return facts that JSON can hold."""
    subject.objective(copied(subject.sets))
    try:
        json.dumps(subject.objective.facts(), allow_nan=False)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


USES = (gradient, use_as_reward, use_as_filter, use_as_metric, reasons, facts)


def _leaves(objective: Objective, sets: SetBatch) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """Return the float tensors of sets as float64 leaves, and the scores as their function."""
    present = [field for field in DIFFERENTIABLE if getattr(sets, field) is not None]
    leaves = [getattr(sets, field).detach().double().requires_grad_() for field in present]
    return leaves, lambda *values: objective(sets.extended(**dict(zip(present, values))))
