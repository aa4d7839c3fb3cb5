"""An objective → a sentence for each rule that it breaks: of scoring, then of its uses."""

import copy
import json
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from r4t.credit import marginals, part, smaller_sets
from r4t.errors import InputError, PluginError
from r4t.filters import Filter
from r4t.geometry import distinct_count
from r4t.metrics import objective_metrics
from r4t.objective import Objective
from r4t.reward import Reward, check_names
from r4t.sets import OPTIONAL, SetBatch
from r4t.testing.examples import masked, members_at, moved_on, padded, repeated
from r4t.testing.subject import CLOSE, Subject, close, copied, difference, rounded, rule

MOVES = (0, 11, 23, 37, 45)  # of 50 rows: together they change every column at both ends
DIFFERENTIABLE = ("query", "directions", "item_embeddings")
USUAL = "Define score() and leave __call__() unchanged."
FLAGS = ("differentiable", "partial", "costly", "averages")
POLICY = "See the policy for such sets in the docstring of r4t.sets.SetBatch."


@rule("Write a docstring; `r4t objectives` shows its first line.")
def docstring(subject: Subject) -> str:
    """Say in its docstring what it measures."""
    return "" if (type(subject.objective).__doc__ or "").strip() else "none"


def name(subject: Subject) -> list[str]:
    """Logs, tables and YAML can carry the name."""
    check_names([subject.objective.name])
    return []


def declarations(subject: Subject) -> list[str]:
    """Bounds, needs and flags are valid."""
    subject.objective.check()
    flags = {flag: getattr(subject.objective, flag) for flag in FLAGS}
    return [
        subject.fault(f"to declare {flag}", repr(value), "Set it to True or False.")
        for flag, value in flags.items()
        if not isinstance(value, bool)
    ]


@rule("Pass other sets with sets=.")
def needs(subject: Subject) -> str:
    """Be checked on sets with every field that it needs."""
    missing = sorted(subject.objective.needs - subject.sets.present)
    return f"sets without {missing}" if missing else ""


@rule("Seed its random draws, and keep no state from one call to the next.")
def score(subject: Subject) -> str:
    """Score the same sets alike each time."""
    return difference(subject.scores(), subject.scores())


@rule("Add what it reads to its needs.")
def fields(subject: Subject) -> str:
    """Read only the optional fields that it needs."""
    bare = subject.sets.extended(**dict.fromkeys(OPTIONAL - subject.objective.needs))
    only = f"on sets with only {sorted(subject.objective.needs)}"
    try:
        return "" if close(subject.scores(bare), subject.scores()) else f"other scores {only}"
    except Exception as error:
        return f"{_cause(error)} {only}"


def scoring(subject: Subject) -> list[str]:
    """Scores are finite and within the bounds, for degenerate sets too."""
    sets = subject.sets
    is_first = torch.arange(sets.set_size) == sets.mask.int().argmax(-1, keepdim=True)
    kinds = {
        "the sets given": sets,
        "sets without a member": masked(sets, torch.zeros_like(sets.mask)),
        "sets of one member": masked(sets, is_first),
        "sets of one item k times": repeated(sets),
    }
    faults: dict[str, tuple[Exception, list[str]]] = {}  # what is wrong → the kinds of sets
    for kind, variant in kinds.items():
        try:
            with warnings.catch_warnings(action="ignore"):
                subject.objective(copied(variant))
        except Exception as error:
            is_raised = not isinstance(error, InputError) or isinstance(error, PluginError)
            what = _cause(error) if is_raised else str(error).split(", but found ")[0]
            faults.setdefault(what, (error, []))[1].append(kind)
    sentences = []
    for what, (first, broken) in faults.items():
        listed = " and ".join(filter(None, [", ".join(broken[:-1]), broken[-1]]))
        hint = "" if "the sets given" in broken else POLICY
        if what == _cause(first):
            remedy = hint or "Correct its score()."
            sentences.append(subject.fault(f"to score {listed}", what, remedy))
        else:
            sentences.append(f"{first} This happens with {listed}. {hint}".rstrip())
    return sentences


def _cause(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"


@rule("Correct its score(), or pass sets that differ in what it measures with sets=.")
def distinction(subject: Subject) -> str:
    """Give different sets different scores."""
    scores = torch.cat([subject.scores(sets)[sets.mask.any(-1)] for sets in subject.batches])
    known = scores[~scores.isnan()]
    if len(known) > 1 and bool((known - known[0]).abs().max() <= CLOSE):
        return f"{known[0].item():g} for all {len(known)} sets with members"
    return ""


@rule("Score each query without looking at the others.")
def batch(subject: Subject) -> str:
    """Score a query alone as within a batch."""
    rows = torch.arange(len(subject.sets)).split(1)
    alone = [subject.scores(subject.sets.select(row)) for row in rows]
    return difference(subject.scores(), torch.cat(alone))


@rule("Use sums, means or maxima over the members.")
def order(subject: Subject) -> str:
    """Ignore the order of the members."""
    places = list(range(subject.sets.set_size))
    shuffled = torch.tensor([*places[1::2], *reversed(places[::2])])
    sets = members_at(subject.sets, shuffled.expand(len(subject.sets), -1))
    return difference(subject.scores(), subject.scores(sets))


@rule("Multiply by sets.mask before you sum, or pass the right scores with padded=.")
def missing_members(subject: Subject) -> str:
    """Ignore missing members."""
    for sets in (moved_on(subject.sets, by) for by in MOVES):  # other items at rows of no item
        present = sets.mask.any(-1)
        before = subject.scores(sets)
        after = subject.scores(padded(sets))[present]
        answers = [before, before * sets.set_size / (sets.set_size + 1)]
        if subject.padded is not None:
            answers = [subject.padded(before, sets)]
        if not any(close(after, answer[present]) for answer in answers):
            right = " or ".join(str(rounded(answer[present])) for answer in answers)
            return f"{rounded(after)} instead of {right} once one more member is missing"
    return ""


@rule("Work on a copy (no +=, no x[...] = …, no method whose name ends in _).")
def inputs(subject: Subject) -> str:
    """Leave the sets unchanged."""
    sets = copied(subject.sets)
    before = {field: copy.deepcopy(value) for field, value in _contents(sets).items()}
    subject.objective.score(sets)
    changed = [
        field
        for field, value in _contents(sets).items()
        if not (value.equal(before[field]) if isinstance(value, Tensor) else value == before[field])
    ]
    if sets.catalog is not None:  # which all batches share
        sets.catalog.embeddings.copy_(before["catalog.embeddings"])
    return f"{', '.join(changed)} changed" if changed else ""


def _contents(sets: SetBatch) -> dict[str, Any]:
    """Return every value that an objective could change."""
    contents = {n: value for n, value in vars(sets).items() if isinstance(value, Tensor | list)}
    if sets.catalog is not None:
        contents["catalog.embeddings"] = sets.catalog.embeddings
    if sets.popularity is not None:
        contents["popularity.counts"] = sets.popularity.counts
    return contents


@rule("Define its class at the top of a module, and keep no lambdas, files or locks in it.")
def copies(subject: Subject) -> str:
    """Score the same as a copy by copy.deepcopy or pickle, for other processes."""
    try:
        twins = copy.deepcopy(subject.objective), pickle.loads(pickle.dumps(subject.objective))
        scores = [Subject(twin, subject.sets).scores() for twin in twins]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if all(close(score, subject.scores()) for score in scores) else "other scores"


def _leaves(objective: Objective, sets: SetBatch) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """Return the float tensors of sets as float64 leaves, and the scores as their function."""
    present = [field for field in DIFFERENTIABLE if getattr(sets, field) is not None]
    leaves = [getattr(sets, field).detach().double().requires_grad_() for field in present]
    return leaves, lambda *values: objective(sets.extended(**dict(zip(present, values))))


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


@rule("Set averages to False.")
def averages(subject: Subject) -> str:
    """Be the mean of the scores of its members alone, if it declares so."""
    sets, scores = subject.sets, subject.scores()
    if not subject.objective.averages:
        return ""
    owners, places = sets.mask.nonzero().unbind(1)
    alone = subject.scores(part(sets, owners, one_hot(places, sets.set_size).bool()))
    counts = sets.mask.sum(1)
    sums = torch.zeros(len(sets), dtype=alone.dtype).index_add_(0, owners.cpu(), alone.cpu())
    means = (sums / counts.clamp(min=1))[counts > 0]
    return difference(scores[counts > 0].double(), means.double())


@rule("Return f(S) − f(S without member i), or leave marginals() out.")
def own_marginals(subject: Subject) -> str:
    """Return the marginals that the scores of the smaller sets give, if it has its own."""
    sets, objective = subject.sets, subject.objective
    if objective.marginals(copied(sets)) is None:
        return ""
    scores = objective(copied(sets))
    own = marginals(objective, sets, scores).flatten()
    return difference(own, smaller_sets(objective, sets, scores).flatten())


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


RULES = (
    *(docstring, name, declarations, needs, score, fields),
    *(scoring, distinction, batch, order, missing_members, inputs, copies),
)
FIRST = (declarations, needs, score)  # if one of these is broken, the later rules would repeat it
USES = (
    averages,
    own_marginals,
    gradient,
    use_as_reward,
    use_as_filter,
    use_as_metric,
    reasons,
    facts,
)
