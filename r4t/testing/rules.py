"""An objective → a sentence for each rule of scoring that it breaks."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, PluginError
from r4t.reward import check_names
from r4t.sets import OPTIONAL, SetBatch
from r4t.testing.examples import masked, moved_on, padded, reordered, repeated
from r4t.testing.subject import CLOSE, Subject, close, copied, differ, rounded, scores_of

MOVES = (0, 11, 23, 37, 45)  # of 50 rows: the last and the first then differ in every column


def declarations(subject: Subject) -> Iterator[str]:
    """Bounds, needs and flags are such as the contract has."""
    objective = subject.objective
    try:
        objective.check()
    except InputError as error:
        yield str(error)
    for flag in ("differentiable", "partial", "costly"):
        value = getattr(objective, flag)
        if not isinstance(value, bool):
            yield (
                f"{subject.name} must declare {flag} as True or False — found {value!r} — write for "
                f"instance {flag} = False."
            )


def docstring(subject: Subject) -> Iterator[str]:
    """It says what it measures."""
    text = type(subject.objective).__doc__
    if text is None or not text.strip().split("\n")[0].strip():
        yield (
            f"{subject.name} must say in the first line of its docstring what it measures — found "
            "none — write one: `r4t objectives` shows it."
        )


def name(subject: Subject) -> Iterator[str]:
    """Logs, tables and YAML can carry its name."""
    try:
        check_names([subject.objective.name])
    except InputError as error:
        yield str(error)


def needs(subject: Subject) -> Iterator[str]:
    """The sets have what it declares."""
    missing = sorted(subject.objective.needs - subject.sets.present)
    if missing:
        yield (
            f"{subject.name} must be checked on sets with all that it needs — found sets without "
            f"{missing} — give it others with sets=."
        )


def score(subject: Subject) -> Iterator[str]:
    """There is one number a query, the same each time."""
    yield from differ(
        subject,
        scores_of(subject.objective, subject.sets),
        scores_of(subject.objective, subject.sets),
        "score the same sets alike each time",
        "seed what it draws, keep no count",
    )


def fields(subject: Subject) -> Iterator[str]:
    """It reads no optional field but those it declares."""
    objective, sets = subject.objective, subject.sets
    bare = sets.extended(**dict.fromkeys(OPTIONAL - objective.needs))
    try:
        alike = close(scores_of(objective, bare), scores_of(objective, sets))
        found = "" if alike else "other scores"
    except Exception as error:
        found = f"{type(error).__name__} ({error})"
    if found:
        yield (
            f"{subject.name} must read no optional field but its needs, {sorted(objective.needs)} — "
            f"found {found} on sets that carry these alone — add what it reads to needs."
        )


def scoring(subject: Subject) -> Iterator[str]:
    """One float a query, finite and in bounds, also for degenerate sets."""
    sets = subject.sets
    first = torch.zeros_like(sets.mask)
    first[:, :1] = True
    ahead = sets.mask.int().argsort(dim=1, descending=True, stable=True)
    leading = torch.zeros_like(sets.mask).scatter(1, ahead, first)  # the first that is there
    kinds = {
        "the sets given": sets,
        "sets without a member": masked(sets, torch.zeros_like(sets.mask)),
        "sets of one member": masked(sets, leading),
        "sets of one item k times": repeated(sets),
    }
    found: dict[str, tuple[Exception, list[str]]] = {}  # a fault → the kinds that have it
    for kind, variant in kinds.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                subject.objective(copied(variant))
        except Exception as error:
            found.setdefault(_fault(error), (error, []))[1].append(kind)
    for one, alike in found.values():
        yield _told(subject, one, alike, policy=next(iter(kinds)) not in alike)


def _fault(error: Exception) -> str:
    """What is wrong, without the score and query at which it was found."""
    own = isinstance(error, InputError) and not isinstance(error, PluginError)
    return str(error).split(" — found ")[0] if own else repr(error.__cause__ or error)


def _told(subject: Subject, error: Exception, kinds: Sequence[str], policy: bool) -> str:
    """Sentence about an error raised for some kinds of sets; an objective's own check has one."""
    listed = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    hint = "see the policy for such sets in the docstring of r4t.sets.SetBatch."
    if isinstance(error, InputError) and not isinstance(error, PluginError):
        more = f" — {hint}" if policy else "."
        return f"{error} Found with {listed}{more}"
    cause = error.__cause__ or error
    remedy = hint if policy else "correct its score()."
    return f"{subject.name} must score {listed} — found {type(cause).__name__}: {cause} — {remedy}"


def difference(subject: Subject) -> Iterator[str]:
    """It tells sets apart."""
    scores = torch.cat(
        [scores_of(subject.objective, sets)[sets.mask.any(-1)] for sets in subject.every]
    )
    known = scores[~scores.isnan()]
    if len(known) > 1 and bool((known - known[0]).abs().max() <= CLOSE):
        yield (
            f"{subject.name} must tell sets apart — found {known[0].item():g} for all {len(known)} "
            "that have members — correct its score(), or give sets that differ in it with sets=, "
            "such as example_sets(columns={...})."
        )


def batch(subject: Subject) -> Iterator[str]:
    """A batch scores as its queries one by one."""
    objective, sets = subject.objective, subject.sets
    whole = scores_of(objective, sets)
    alone = torch.cat(
        [scores_of(objective, sets.select(torch.tensor([row]))) for row in range(len(sets))]
    )
    yield from differ(
        subject, whole, alone, "score a query alone as within a batch", "let no query see another"
    )


def order(subject: Subject) -> Iterator[str]:
    """Members have no order."""
    places = list(range(subject.sets.set_size))
    turned = [*places[1::2], *reversed(places[::2])]
    yield from differ(
        subject,
        scores_of(subject.objective, subject.sets),
        scores_of(subject.objective, reordered(subject.sets, turned)),
        "not depend on the order of the members",
        "use sums, means or maxima over them",
    )


def missing_members(subject: Subject) -> Iterator[str]:
    """What is masked does not count, whatever item stands where a row of no item points."""
    for sets in (moved_on(subject.sets, by) for by in MOVES):
        there = sets.mask.any(-1)
        before = scores_of(subject.objective, sets)[there]
        after = scores_of(subject.objective, padded(sets))[there]
        share = sets.set_size / (sets.set_size + 1)
        wanted = [before, before * share]
        if subject.padded is not None:
            wanted = [subject.padded(scores_of(subject.objective, sets), sets)[there]]
        if any(close(after, one) for one in wanted):
            continue
        answers = " or ".join(str(rounded(one)) for one in wanted)
        yield (
            f"{subject.name} must not count a missing member: with one more asked for, which is "
            f"missing, {answers} was expected — found {rounded(after)} — multiply by sets.mask "
            "before you sum, or tell with padded= what is right here."
        )
        return


def inputs(subject: Subject) -> Iterator[str]:
    """Nothing that it is given is changed."""
    sets = copied(subject.sets)
    before = {name: copy.deepcopy(value) for name, value in _held(sets).items()}
    subject.objective.score(sets)
    changed = [name for name, value in _held(sets).items() if not _same(value, before[name])]
    if sets.catalog is not None:  # the one thing that all scorings share
        sets.catalog.embeddings.copy_(before["catalog.embeddings"])
    if changed:
        yield (
            f"{subject.name} must leave the sets as they are — found {', '.join(changed)} changed — "
            "work on a copy (no +=, no x[...] = …, no method that ends in _)."
        )


RULES: tuple[Callable[[Subject], Iterator[str]], ...] = (
    *(docstring, name, declarations, needs, score, fields),
    *(scoring, difference, batch, order, missing_members, inputs),
)
FIRST = (declarations, needs, score)  # without these, the others would only repeat what they say


def _held(sets: SetBatch) -> dict[str, Any]:
    """Whatever an objective could change."""
    catalog = {} if sets.catalog is None else {"catalog.embeddings": sets.catalog.embeddings}
    counts = {} if sets.popularity is None else {"popularity.counts": sets.popularity.counts}
    kept = {n: v for n, v in vars(sets).items() if isinstance(v, Tensor | list)}
    return {**kept, **catalog, **counts}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return bool(one == other)
