"""An objective → nothing, or every rule of the contract that it breaks, a sentence each."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective, load_objective
from r4t.sets import SetBatch
from r4t.testing.examples import example_sets
from r4t.testing.rules import FIRST, RULES, scoring
from r4t.testing.subject import Subject
from r4t.testing.uses import DOORS, copies


class ContractError(AssertionError):
    """An objective breaks the contract.

    Attributes:
        faults: Name of each rule that is broken → the sentences about it.
    """

    def __init__(self, name: str, faults: Mapping[str, list[str]]) -> None:
        self.faults = {rule: list(sentences) for rule, sentences in faults.items()}
        told = [sentence for sentences in faults.values() for sentence in sentences]
        super().__init__("\n".join([f"Objective '{name}' breaks {len(faults)} rule(s):", *told]))


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
        sets: What to score, with all the fields it needs; ``example_sets`` of three seeds by
            default.
        arguments: Of the constructor, for a class or a name.
        padded: Scores (B,) and their sets → what they become when a member more is asked for and
            missing. By default both usual answers will do: the same (a mean over the members there
            are), or k/(k + 1) of them (a share of k).

    Raises:
        ContractError: A rule is broken.
        InputError: It is no objective, its class cannot be built with these arguments, arguments
            are given for an object, there are no sets, or ``load_objective`` refuses the name.

    Examples:
        >>> check_objective("diversity", arguments={"q": 2.0})
    """
    found = _built(objective, arguments)
    if sets is None:
        sets = [example_sets(seed) for seed in range(3)]
    given = [sets] if isinstance(sets, SetBatch) else list(sets)
    if not given:
        raise InputError(
            "An objective is checked on sets — found an empty list of them — leave sets= out for "
            "example_sets(), or give some."
        )
    faults: dict[str, list[str]] = {}
    cause: Exception | None = None
    for one in given:
        subject = Subject(found, one, given, padded)
        for rule in (*RULES, copies, *DOORS):
            name = rule.__name__.replace("_", " ")
            known = name in faults or (rule in DOORS and scoring.__name__ in faults)
            if not known:  # once is enough, and doors would repeat what the rule on scoring said
                try:
                    sentences = list(rule(subject))
                except Exception as error:  # whatever a stranger's class does, it is told
                    sentences = [_raised(subject, name, error)]
                    cause = error if cause is None else cause
                if sentences:
                    faults[name] = sentences
            if name in faults and rule in FIRST:
                break
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
    if isinstance(objective, str):
        return load_objective(objective, **given)
    if not (isinstance(objective, type) and issubclass(objective, Objective)):
        raise InputError(
            "What is checked is an Objective class, or one built, or the name of an installed one — "
            f"found {objective!r} — give one of these."
        )
    _check_arguments(objective, given)
    return objective(**given)


def _check_arguments(made: type[Objective], arguments: Mapping[str, Any]) -> None:
    """Refuse a class that cannot be called with these; what else it raises is its own."""
    if inspect.isabstract(made):
        missing = ", ".join(f"{method}()" for method in sorted(made.__abstractmethods__))
        raise InputError(
            f"An objective defines score() — found class {made.__name__} without {missing} — write it."
        )
    signature = inspect.signature(made)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        wanted = signature.parameters.values()
        needed = [one.name for one in wanted if one.default is one.empty] or signature.parameters
        given = ", ".join(f'"{name}": ...' for name in needed)
        raise InputError(
            f"Class {made.__name__} is built with the arguments {signature} — found {error} — give "
            f"arguments={{{given}}}, or one built."
        ) from None


def _raised(subject: Subject, rule: str, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    return (
        f"{subject.name} must pass the check '{rule}' — found {type(error).__name__}: {error} — see "
        "the traceback above, and correct what raises it."
    )
