"""An objective → nothing, or every rule of the contract that it breaks, a sentence each."""

import copy
import json
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.filters import Filter
from r4t.metrics import objective_metrics
from r4t.objective import TOLERANCE, Objective
from r4t.plugins import load_objective
from r4t.reward import Reward
from r4t.sets import OPTIONAL, SetBatch
from r4t.testing.examples import example_sets, masked, padded, reordered, repeated

CLOSE = 1e-5  # float32 round-off, absolute and relative
DIFFERENTIABLE = ("query", "directions", "item_embeddings")


class ContractError(AssertionError):
    """An objective breaks the contract.

    Attributes:
        faults: Name of each rule that is broken → the sentences about it.
    """

    def __init__(self, name: str, faults: Mapping[str, list[str]]) -> None:
        self.faults = {rule: list(sentences) for rule, sentences in faults.items()}
        told = [sentence for sentences in faults.values() for sentence in sentences]
        super().__init__("\n".join([f"Objective '{name}' breaks {len(faults)} rule(s):", *told]))


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        objective: The objective.
        sets: What it scores.
        every: All that it is given to score, one after another.
        padded: Scores and sets → what they should be once a missing member more is asked for; None
            if both usual answers will do.
    """

    objective: Objective
    sets: SetBatch
    every: Sequence[SetBatch]
    padded: Callable[[Tensor, SetBatch], Tensor] | None

    @property
    def name(self) -> str:
        """As sentences call it."""
        return f"Objective '{self.objective.name}'"


def check_objective(
    objective: Objective | type[Objective] | str,
    *,
    sets: SetBatch | Sequence[SetBatch] | None = None,
    arguments: Mapping[str, Any] | None = None,
    padded: Callable[[Tensor, SetBatch], Tensor] | None = None,
) -> None:
    """Check that an objective keeps the whole contract; for the tests of those who write one.

    It must declare sensible bounds and needs; read no field that it does not declare; score whole,
    empty, single and repeated sets within its bounds; tell sets apart; score a batch as one by one;
    know no order of members; count no missing ones; change nothing that it is given; answer the
    same twice; have a gradient, or say that it has none; and serve, itself and as a copy, as reward,
    filter and metric. Of all that is broken you are told at once.

    Args:
        objective: An object, a class, or the name of an installed objective.
        sets: What to score, with all the fields it needs; ``example_sets`` of three seeds by default.
        arguments: Of the constructor, for a class or a name.
        padded: Scores (B,) and their sets → what they become when a member more is asked for and missing. By
            default both usual answers will do: the same (a mean over the members there are), or
            k/(k + 1) of them (a share of k).

    Raises:
        ContractError: A rule is broken.
        InputError: Arguments are given for an object, or ``load_objective`` refuses the name.

    Example:
        >>> check_objective("diversity", arguments={"q": 2.0})
    """
    found = _built(objective, arguments)
    if sets is None:
        sets = [example_sets(seed) for seed in range(3)]
    given = [sets] if isinstance(sets, SetBatch) else list(sets)
    faults: dict[str, list[str]] = {}
    cause: BaseException | None = None
    for one in given:
        subject = Subject(found, one, given, padded)
        for rule in RULES:
            name = rule.__name__.removeprefix("_").replace("_", " ")
            try:
                sentences = list(rule(subject))
            except Exception as error:  # whatever a stranger's class does, it is told
                sentences = [_raised(subject, name, error)]
                cause = error if cause is None else cause
            told = faults.setdefault(name, [])
            told += [sentence for sentence in sentences if sentence not in told]
            if sentences and rule in FIRST:  # the rest would only repeat it
                break
    faults = {rule: told for rule, told in faults.items() if told}
    if faults:
        raise ContractError(found.name, faults) from cause


def _built(
    objective: Objective | type[Objective] | str, arguments: Mapping[str, Any] | None
) -> Objective:
    if isinstance(objective, Objective):
        if arguments is not None:
            raise InputError(
                "Arguments build an objective from its class or name — found them beside an object, "
                f"'{objective.name}' — leave them out, or give the class."
            )
        return objective
    given = {} if arguments is None else arguments
    return load_objective(objective, **given) if isinstance(objective, str) else objective(**given)


def _raised(subject: Subject, rule: str, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    return (
        f"{subject.name} must pass the check '{rule}' — found {type(error).__name__}: {error} — see "
        "the traceback above, and correct what raises it."
    )


# Rules. Each yields a sentence for what is broken; those of FIRST end the check.


def _declarations(subject: Subject) -> Iterator[str]:
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


def _docstring(subject: Subject) -> Iterator[str]:
    text = type(subject.objective).__doc__
    if text is None or not text.strip().split("\n")[0].strip():
        yield (
            f"{subject.name} must say in the first line of its docstring what it measures — found "
            "none — write one: `r4t objectives` shows it."
        )


def _name(subject: Subject) -> Iterator[str]:
    name = subject.objective.name
    try:
        Reward({name: 1.0}, {name: subject.objective})
    except InputError as error:
        if "name begins" in str(error):
            yield str(error)


def _fields(subject: Subject) -> Iterator[str]:
    """It can read what it declares, and reads no more."""
    objective, sets = subject.objective, subject.sets
    missing = sorted(objective.needs - sets.present)
    if missing:
        yield (
            f"{subject.name} must be checked on sets with all that it needs — found sets without "
            f"{missing} — give it others with sets=."
        )
        return
    _scores(objective, sets)  # raises what scoring raises, so that what follows speaks of fields
    bare = sets.extended(**dict.fromkeys(OPTIONAL - objective.needs))
    try:
        alike = _close(_scores(objective, bare), _scores(objective, sets))
        found = "" if alike else "other scores"
    except Exception as error:
        found = f"{type(error).__name__} ({error})"
    if found:
        yield (
            f"{subject.name} must read no optional field but its needs, {sorted(objective.needs)} — "
            f"found {found} on sets that carry these alone — add what it reads to needs."
        )


def _scoring(subject: Subject) -> Iterator[str]:
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
    for kind, variant in kinds.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                subject.objective(_copied(variant))
        except Exception as error:
            yield (
                f"{subject.name} must score {kind} — found {type(error).__name__}: {error} — see the "
                "policy for such sets in the docstring of r4t.sets.SetBatch."
            )


def _difference(subject: Subject) -> Iterator[str]:
    """It tells sets apart."""
    scores = torch.cat(
        [_scores(subject.objective, sets)[sets.mask.any(-1)] for sets in subject.every]
    )
    known = scores[~scores.isnan()]
    if len(known) > 1 and bool((known - known[0]).abs().max() <= CLOSE):
        yield (
            f"{subject.name} must tell sets apart — found {known[0].item():g} for all {len(known)} "
            "that have members — correct its score(), or give sets that differ in it with sets=, "
            "such as example_sets(columns={...})."
        )


def _batch(subject: Subject) -> Iterator[str]:
    """A batch scores as its queries one by one."""
    objective, sets = subject.objective, subject.sets
    whole = _scores(objective, sets)
    alone = torch.cat(
        [_scores(objective, sets.select(torch.tensor([row]))) for row in range(len(sets))]
    )
    yield from _differ(
        subject, whole, alone, "score a query alone as within a batch", "let no query see another"
    )


def _order(subject: Subject) -> Iterator[str]:
    """Members have no order."""
    places = list(range(subject.sets.set_size))
    turned = [*places[1::2], *reversed(places[::2])]
    yield from _differ(
        subject,
        _scores(subject.objective, subject.sets),
        _scores(subject.objective, reordered(subject.sets, turned)),
        "not depend on the order of the members",
        "use sums, means or maxima over them",
    )


def _missing_members(subject: Subject) -> Iterator[str]:
    """What is masked does not count."""
    sets = subject.sets
    there = sets.mask.any(-1)
    before = _scores(subject.objective, sets)[there]
    after = _scores(subject.objective, padded(sets))[there]
    share = sets.set_size / (sets.set_size + 1)
    wanted = [before, before * share]
    if subject.padded is not None:
        wanted = [subject.padded(_scores(subject.objective, sets), sets)[there]]
    if not any(_close(after, one) for one in wanted):
        answers = " or ".join(str(_rounded(one)) for one in wanted)
        yield (
            f"{subject.name} must not count a missing member: with one more asked for, which is "
            f"missing, {answers} was expected — found {_rounded(after)} — multiply by sets.mask "
            "before you sum, or tell with padded= what is right here."
        )


def _inputs(subject: Subject) -> Iterator[str]:
    """Nothing that it is given is changed."""
    sets = _copied(subject.sets)
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


def _repetition(subject: Subject) -> Iterator[str]:
    """The same sets score the same again."""
    scores = [_scores(subject.objective, subject.sets) for _ in range(2)]
    yield from _differ(
        subject, *scores, "score the same sets alike each time", "seed what it draws, keep no count"
    )


def _gradient(subject: Subject) -> Iterator[str]:
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


def _reward_door(subject: Subject) -> Iterator[str]:
    """It serves as reward, trained on and audited."""
    objective, sets = subject.objective, subject.sets
    # The name has a rule of its own.
    total, parts = Reward({"term": 2.0}, {"term": objective})(_copied(sets))
    right = _close(total, 2 * parts["term"]) and _close(parts["term"], _scores(objective, sets))
    other = _Half()
    audited, _ = Reward({"term": 0.0, "rest": 1.0}, {"term": objective, "rest": other})(sets)
    if not (right and _close(audited, other(sets))):
        yield (
            f"{subject.name} must serve as a reward: its score times its weight — found "
            f"{_rounded(total)} for weight 2 of {_rounded(_scores(objective, sets))} — define score() "
            "and leave __call__() as it is."
        )


def _filter_door(subject: Subject) -> Iterator[str]:
    """It serves as filter: the best stay."""
    scores = subject.objective(_copied(subject.sets))
    kept = Filter(share=0.5)(scores.unsqueeze(0)).kept.squeeze(0)
    known = ~scores.isnan()
    if known.any() and not bool(kept[scores == scores[known].max()].any()):
        yield (
            f"{subject.name} must serve as a filter that keeps the best of its sets — found "
            f"{_rounded(scores)} with {kept.tolist()} kept — return plain numbers, higher for better."
        )


def _metric_door(subject: Subject) -> Iterator[str]:
    """It serves as metric: a mean over two batches."""
    scores = subject.objective(_copied(subject.sets))
    metrics = objective_metrics({"term": subject.objective})
    for _ in range(2):
        metrics.update(_copied(subject.sets))
    mean = metrics.compute()["term/mean"]
    if not _close(mean, scores.double().nanmean().float()):
        yield (
            f"{subject.name} must serve as a metric: the mean of its scores, "
            f"{scores.double().nanmean().item():g} — found {mean.item():g} over two equal batches — "
            "keep nothing from one call to the next."
        )


def _facts_and_reasons(subject: Subject) -> Iterator[str]:
    """What it stores beside its scores can be stored."""
    objective = subject.objective
    objective(_copied(subject.sets))
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


def _copies(subject: Subject) -> Iterator[str]:
    """It can be sent to another process, and scores there as here."""
    objective, sets = subject.objective, subject.sets
    ways: dict[str, Callable[[], Objective]] = {
        "copy.deepcopy": lambda: copy.deepcopy(objective),
        "pickle": lambda: pickle.loads(pickle.dumps(objective)),
    }
    for way, copied in ways.items():
        try:
            alike = _close(_scores(copied(), sets), _scores(objective, sets))
            found = "" if alike else "other scores"
        except Exception as error:
            found = f"{type(error).__name__} ({error})"
        if found:
            yield (
                f"{subject.name} must survive {way}: other processes get copies — found {found} — "
                "define its class at the top of a module, and keep no lambdas, files or locks in it."
            )


FIRST = (_declarations, _fields)
RULES: tuple[Callable[[Subject], Iterator[str]], ...] = (
    *(_docstring, _name, _declarations, _fields),
    *(_scoring, _difference, _batch, _order, _missing_members),
    *(_inputs, _repetition, _gradient),
    *(_reward_door, _filter_door, _metric_door, _facts_and_reasons, _copies),
)


class _Half(Objective):
    """Half for every set."""

    bounds = (0.0, 1.0)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) halves."""
        return torch.full((len(sets),), 0.5)


def _scores(objective: Objective, sets: SetBatch) -> Tensor:
    """Scores (B,) without a look at the bounds, which have a rule of their own.

    Raises:
        InputError: The shape or the type is wrong.
        Exception: Whatever ``score`` raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = objective.score(_copied(sets))
    if not isinstance(scores, Tensor) or scores.shape != (len(sets),):
        objective(sets)  # says so in its own words
    scores = scores if scores.is_floating_point() else scores.to(sets.item_embeddings)
    low = torch.full_like(scores, objective.bounds[0])
    return torch.where(sets.mask.any(-1), scores, low)


def _leaves(
    objective: Objective, sets: SetBatch
) -> tuple[list[Tensor], Callable[..., Tensor]]:
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


def _copied(sets: SetBatch) -> SetBatch:
    """The same sets, so that a change of them stays with who made it."""
    own = {n: copy.deepcopy(v) for n, v in vars(sets).items() if isinstance(v, Tensor | list)}
    return sets.extended(**own)


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


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether scores are equal where both are known."""
    known = ~(one.isnan() | other.isnan())
    return torch.allclose(one[known].double(), other[known].double(), rtol=CLOSE, atol=CLOSE)


def _differ(subject: Subject, one: Tensor, other: Tensor, must: str, remedy: str) -> Iterator[str]:
    if not _close(one, other):
        yield (
            f"{subject.name} must {must} — found {_rounded(one)} and {_rounded(other)} — {remedy}."
        )


def _rounded(scores: Tensor) -> list[float]:
    return [round(score, 4) for score in scores.tolist()]
