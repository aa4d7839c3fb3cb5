"""An objective → nothing, or every rule of the contract that it breaks, a sentence each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective, load_objective
from r4t.sets import SetBatch
from r4t.testing.examples import example_sets
from r4t.testing.rules import FIRST, RULES, USES, scoring
from r4t.testing.subject import Subject


class ContractError(AssertionError):
    """An objective breaks the contract.

    Attributes:
        faults: Name of each broken rule → the sentences about it.
    """

    def __init__(self, name: str, faults: Mapping[str, list[str]]) -> None:
        self.faults = dict(faults)
        sentences = [sentence for rule in faults.values() for sentence in rule]
        super().__init__(
            "\n".join([f"Objective '{name}' breaks {len(faults)} rule(s):", *sentences])
        )


def check_objective(
    objective: Objective | type[Objective] | str,
    *,
    sets: SetBatch | Sequence[SetBatch] | None = None,
    arguments: Mapping[str, Any] | None = None,
    padded: Callable[[Tensor, SetBatch], Tensor] | None = None,
) -> None:
    """Check that an objective keeps the whole contract; call it in your tests.

    The rules are the docstrings in ``r4t.testing.rules``; one error reports every broken one.

    Args:
        objective: An object, a class, or the name of an installed objective.
        sets: Sets with all the fields it needs; by default ``example_sets`` with three seeds.
        arguments: Constructor arguments, for a class or a name.
        padded: Scores (B,) and their sets → the right scores when one more member is requested and
            missing. By default both usual answers are right: the same scores (a mean over the
            members present), or k/(k + 1) of them (a share of k).

    Raises:
        ContractError: If a rule is broken.
        InputError: If ``objective`` is not an objective, an object comes with arguments, or there are
            no sets.
        TypeError: If the class cannot be built with these arguments.

    Examples:
        >>> check_objective("diversity", arguments={"q": 2.0})
    """
    subject = _build(objective, arguments)
    sets = [example_sets(seed) for seed in range(3)] if sets is None else sets
    batches = [sets] if isinstance(sets, SetBatch) else list(sets)
    if not batches:
        raise InputError(
            expected="sets to check the objective on",
            found="an empty list",
            remedy="Pass some, or leave sets= out for example_sets().",
        )
    faults, cause = _faults([Subject(subject, batch, batches, padded) for batch in batches])
    if faults:
        raise ContractError(subject.name, faults) from cause


def _faults(subjects: Sequence[Subject]) -> tuple[dict[str, list[str]], Exception | None]:
    """Return the faults by rule, and the first exception that a rule caught from the objective."""
    faults: dict[str, list[str]] = {}
    cause: Exception | None = None
    for subject in subjects:
        for rule in (*RULES, *USES):
            name = rule.__name__.replace("_", " ")
            # Report each rule once, and not again in the uses what is wrong with the scores.
            if name not in faults and not (rule in USES and scoring.__name__ in faults):
                try:
                    sentences = list(rule(subject))
                except Exception as error:  # a stranger's class may raise anything
                    sentences = [_sentence(subject, name, error)]
                    cause = cause or error
                if sentences:
                    faults[name] = sentences
            if name in faults and rule in FIRST:
                break
    return faults, cause


def _sentence(subject: Subject, rule: str, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    found = f"{type(error).__name__}: {error}"
    return subject.fault(f"to pass the check '{rule}'", found, "See the traceback above.")


def _build(
    objective: Objective | type[Objective] | str, arguments: Mapping[str, Any] | None
) -> Objective:
    if isinstance(objective, Objective) and arguments is None:
        return objective
    arguments = {} if arguments is None else arguments
    if isinstance(objective, str):
        return load_objective(objective, **arguments)
    if isinstance(objective, type) and issubclass(objective, Objective):
        return objective(**arguments)
    raise InputError(
        expected="an objective, or its class or installed name with arguments",
        found=f"{objective!r}{' with arguments' if arguments else ''}",
        remedy="Pass one of these.",
    )
