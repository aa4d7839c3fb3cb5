"""Retrieved items and rules about the whole set → share of the rules kept."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from r4t.errors import InputError, nearest
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import entries, is_missed, is_only, one_of_each

ROUND_OFF = 1e-9  # 0.1 + 0.2 keeps a budget of 0.3


class Rule(ABC):
    """A rule that a set keeps or breaks, whatever the query; subclass it for rules of your own.

    Attributes:
        of_chosen: Whether ``kept`` depends on the chosen items and the catalog alone. Then leaving a
            member out, for member credit, needs no new set.
    """

    of_chosen: ClassVar[bool] = False

    @abstractmethod
    def kept(self, sets: SetBatch, chosen: Tensor) -> Tensor:
        """Return (B,) bool; ``chosen`` (B, k) is True for one member of each distinct item."""


@dataclass
class AtMost(Rule):
    """At most ``count`` items with the same value of a field: no more than two of one brand.

    Items without a value do not count.

    Args:
        field: Metadata column of single values.
        count: Most items with the same value, at least 1.
    """

    field: str
    count: int
    of_chosen: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(
                expected=f"a count of at least 1 in AtMost for the field {self.field!r}",
                found=str(self.count),
                remedy="Use 2, for example, to allow two items with the same value.",
            )

    def kept(self, sets: SetBatch, chosen: Tensor) -> Tensor:
        """Whether no value occurs more often than ``count``."""
        assert sets.catalog is not None  # Constraint needs it
        codes, _ = sets.catalog.codes(self.field)
        value = entries(codes, sets).masked_fill(~chosen, -1)
        same = (value.unsqueeze(2) == value.unsqueeze(1)) & (value >= 0).unsqueeze(1)
        return (same.sum(-1) <= self.count).all(-1)


@dataclass
class Budget(Rule):
    """The sum of a field over the items is at most ``total``: the price of the whole outfit.

    An item without a number breaks the rule, because the sum is unknown.

    Args:
        field: Metadata column of numbers.
        total: Largest sum that keeps the rule.
    """

    field: str
    total: float
    of_chosen: ClassVar[bool] = True

    def kept(self, sets: SetBatch, chosen: Tensor) -> Tensor:
        """Whether the sum is known and within the budget."""
        assert sets.catalog is not None
        amount = entries(sets.catalog.numbers(self.field), sets)
        spent = torch.where(chosen, amount, 0.0).sum(-1)  # NaN if one is unknown
        return spent <= self.total + ROUND_OFF * abs(self.total)


@dataclass
class MustInclude(Rule):
    """At least one item has the given value of a field: shoes belong to an outfit.

    Args:
        field: Metadata column of single values.
        value: A value that occurs in the catalog, in its own type or as text: 2003 and "2003" are
            the same year, but True and 1 differ.
    """

    field: str
    value: str | int | float | bool
    of_chosen: ClassVar[bool] = True

    def kept(self, sets: SetBatch, chosen: Tensor) -> Tensor:
        """Whether the value occurs; it must occur in the catalog."""
        assert sets.catalog is not None
        codes, values = sets.catalog.codes(self.field)
        number = next((n for n, value in enumerate(values) if same_value(value, self.value)), None)
        if number is None:
            texts = [str(value) for value in values]
            shown = ", ".join(texts[:10]) + (", …" if len(texts) > 10 else "")
            raise InputError(
                expected=f"MustInclude to name a value of the field {self.field!r} ({shown})",
                found=repr(self.value),
                remedy=f"Choose one of them.{nearest(str(self.value), texts)}",
            )
        return ((entries(codes, sets) == number) & chosen).any(-1)


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are equal, as values or as text, and not True against 1.

    Examples:
        >>> same_value(2003, "2003"), same_value(3, 3.0), same_value(1, True)
        (True, True, False)
    """
    return str(one) == str(other) or (bool not in (type(one), type(other)) and one == other)


def _yaml(rule: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"r4t_objectives.constraint.{rule}", "init_args": arguments}


class Constraint(Objective):
    """Share of set-level rules that a set keeps; in YAML each rule is a ``class_path``.

    From 0 (every rule broken) to 1 (all kept). Each distinct item counts once, so a repeated item
    neither breaks a rule nor costs twice. The query does not matter.

    Args:
        rules: At least one rule: ``AtMost``, ``Budget``, ``MustInclude`` or a class of your own.

    Raises:
        InputError: If there is no rule.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog"})
    example: ClassVar[dict[str, Any]] = {  # `r4t objectives constraint` prints it
        "rules": [
            _yaml("AtMost", field="brand", count=2),
            _yaml("Budget", field="price", total=150),
            _yaml("MustInclude", field="category", value="shoes"),
        ]
    }

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        if not rules:
            raise InputError(
                expected="at least one rule for the constraint",
                found="none",
                remedy="Add one, as in rules: [{class_path: r4t_objectives.constraint.AtMost, "
                "init_args: {field: brand, count: 2}}].",
            )
        self.rules = list(rules)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) shares of rules kept."""
        return self._kept(sets, one_of_each(sets))

    def marginals(self, sets: SetBatch) -> Tensor | None:
        """See ``Objective.marginals``; none with a rule that reads more than the chosen items."""
        if not all(rule.of_chosen for rule in self.rules):
            return None
        chosen, missed = one_of_each(sets), is_missed(sets)
        others = ~torch.eye(sets.set_size, dtype=torch.bool, device=chosen.device)
        parts = [chosen & (row | ~missed) for row in others]  # copies of an item stay
        without = torch.stack([self._kept(sets, part) for part in parts], 1)
        without = torch.where(is_only(sets.mask), self.bounds[0], without)
        return self._kept(sets, chosen).unsqueeze(1) - without

    def _kept(self, sets: SetBatch, chosen: Tensor) -> Tensor:
        """Return the share (B,) of rules that the chosen members keep."""
        kept = torch.stack([rule.kept(sets, chosen) for rule in self.rules])
        return kept.to(sets.item_embeddings).mean(0)
