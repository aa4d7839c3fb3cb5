"""An objective → a sentence for each rule of scoring that it breaks."""

import copy
import warnings
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, PluginError
from r4t.reward import check_names
from r4t.sets import OPTIONAL, SetBatch
from r4t.testing.examples import masked, members_at, moved_on, padded, repeated
from r4t.testing.subject import CLOSE, Subject, close, copied, difference, rounded, rule

MOVES = (0, 11, 23, 37, 45)  # of 50 rows: together they change every column at both ends
POLICY = "See the policy for such sets in the docstring of r4t.sets.SetBatch."


@rule("Write a docstring; `r4t objectives` shows its first line.")
def docstring(subject: Subject) -> str:
    """Say in its docstring what it measures."""
    return "" if (type(subject.objective).__doc__ or "").strip() else "none"


def name(subject: Subject) -> list[str]:
    """Logs, tables and YAML can carry the name."""
    try:
        check_names([subject.objective.name])
    except InputError as error:
        return [str(error)]
    return []


def declarations(subject: Subject) -> list[str]:
    """Bounds, needs and flags are valid."""
    try:
        subject.objective.check()
    except InputError as error:
        return [str(error)]
    flags = ("differentiable", "partial", "costly")
    return [
        subject.fault(f"to declare {flag}", repr(value), "Set it to True or False.")
        for flag in flags
        if not isinstance(value := getattr(subject.objective, flag), bool)
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
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
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
    """Return what ``score`` raised, in words."""
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
        answers = [answer[present] for answer in answers]
        if not any(close(after, answer) for answer in answers):
            right = " or ".join(str(rounded(answer)) for answer in answers)
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


RULES = (
    *(docstring, name, declarations, needs, score, fields),
    *(scoring, distinction, batch, order, missing_members, inputs),
)
FIRST = (declarations, needs, score)  # if one of these is broken, the later rules would repeat it
