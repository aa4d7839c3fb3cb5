"""Metrics of one rollout after another → alarms: the written definition of a collapse.

Every rule compares two means of ``window`` rollouts: the last ones, and a *reference* that does
not overlap with them (the first ones, or the healthiest so far). It is judged from rollout
2·window on, and raises an alarm when it holds for ``patience`` rollouts in a row. A metric that was
not logged, or is NaN, never holds.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r4t.errors import InputError
from r4t.grpo.monitor.history import FirstWindow, History, Reference

REWARD = "train/reward/mean"


class Rule(ABC):
    """One sign of a collapse."""

    @property
    @abstractmethod
    def metrics(self) -> frozenset[str]:
        """Log keys that it reads, beside the reward and the audited objectives."""

    @abstractmethod
    def found(self, history: History) -> str:
        """Return what it found, with its numbers; empty if nothing."""


@dataclass(frozen=True)
class Narrows(Rule):
    """The reward rises while a metric loses more than a share of its reference.

    Attributes:
        metric: Log key of what should not fall; compared where its reference is above 0.
        fall: Share in [0, 1) that it may lose.
    """

    metric: str
    fall: float = 0.25

    @property
    def metrics(self) -> frozenset[str]:
        """The metric."""
        return frozenset({self.metric})

    def found(self, history: History) -> str:
        """Return both moves if the reward rose and the metric fell too far."""
        place = history.before(self.metric, 1)
        before, now = history.mean(self.metric, place), history.now(self.metric)
        if before > 0 and now < (1 - self.fall) * before and (rise := _rise(history, place)):
            lost = f"lost {1 - now / before:.0%}, more than {self.fall:.0%}"
            return f"{rise} while {_move(self.metric, before, now)} ({lost})"
        return ""


@dataclass(frozen=True)
class Rises(Rule):
    """A share grows by more than it may, whatever the reward does.

    Attributes:
        metric: Log key of what should not grow.
        rise: How far it may grow above its reference.
    """

    metric: str
    rise: float

    @property
    def metrics(self) -> frozenset[str]:
        """The metric."""
        return frozenset({self.metric})

    def found(self, history: History) -> str:
        """Return the move if it is too long."""
        before = history.mean(self.metric, history.before(self.metric, -1))
        now = history.now(self.metric)
        if now - before > self.rise:
            grown = f"up {now - before:.3g}, more than {self.rise:g}"
            return f"{_move(self.metric, before, now)} ({grown})"
        return ""


@dataclass(frozen=True)
class Fades(Rule):
    """A metric falls below a share of its reference, whatever the reward does.

    Attributes:
        metric: Log key of what should not fade; compared where its reference is above 0.
        least: Share in (0, 1] of its reference that must remain.
    """

    metric: str
    least: float

    @property
    def metrics(self) -> frozenset[str]:
        """The metric."""
        return frozenset({self.metric})

    def found(self, history: History) -> str:
        """Return the move if too little remains."""
        before = history.mean(self.metric, history.before(self.metric, 1))
        now = history.now(self.metric)
        if before > 0 and now < self.least * before:
            left = f"{now / before:.0%} left, less than {self.least:.0%}"
            return f"{_move(self.metric, before, now)} ({left})"
        return ""


@dataclass(frozen=True)
class AuditGap(Rule):
    """The reward rises while an audited objective (weight 0) falls by more than it may.

    Attributes:
        fall: How far an audited objective may fall, in its own unit: an objective can be 0 or
            negative, so that a share of it says nothing.
    """

    fall: float = 0.1

    @property
    def metrics(self) -> frozenset[str]:
        """None beside the audited objectives."""
        return frozenset()

    def found(self, history: History) -> str:
        """Return the moves of the audited objectives that fell too far."""
        gaps = []
        for metric in history.audited:
            place = history.before(metric, 1)
            before, now = history.mean(metric, place), history.now(metric)
            if before - now > self.fall and (rise := _rise(history, place)):
                fallen = f"down {before - now:.3g}, more than {self.fall:g}"
                gaps.append(f"{rise} while audited {_move(metric, before, now)} ({fallen})")
        return "; ".join(gaps)


def standard_rules() -> list[Rule]:
    """Return the rules that a watchdog has unless told otherwise.

    Their thresholds, a window of 5 and a patience of 3 were fixed on seed 0 of the embedded
    benchmark (docs/tuning.md): there they alarm for the three runs of five that collapse, 8 rollouts
    before it, and for no other.
    """
    return [
        Narrows("train/diversity/mean", fall=0.25),
        Narrows("train/distinct_items/mean", fall=0.25),
        Rises("train/duplicate_subqueries/share", rise=0.2),
        Rises("train/query_copies/share", rise=0.1),
        Rises("train/universal_subqueries/share", rise=0.3),
        Fades("train/entropy/mean", least=0.3),
        Fades("train/parsed/share", least=0.7),
        AuditGap(fall=0.1),
    ]


@dataclass(frozen=True)
class Alarm:
    """A rule that held for long enough.

    Attributes:
        rollout: After which rollout of the run, counted from 1.
        rule: The rule with its thresholds.
        found: What it found, with its numbers.
    """

    rollout: int
    rule: str
    found: str


class Judge:
    """Sees the metrics of one rollout after another and tells which rules raise an alarm.

    Args:
        rules: What counts as a collapse.
        window: Rollouts in a mean, at least 1.
        patience: Rollouts in a row for which a rule must hold, at least 1.
        reference: Which window a metric is compared with.
        audited: Log keys of the objectives of weight 0.

    Raises:
        InputError: ``window`` or ``patience`` is below 1, or there is no rule.

    Examples:
        >>> judge = Judge([Rises("repeats", rise=0.5)], window=1, patience=1)
        >>> [len(judge.see({"repeats": value})) for value in (0.1, 0.6, 0.7, 0.9, 0.2)]
        [0, 0, 1, 0, 0]
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        window: int,
        patience: int,
        reference: Reference | None = None,
        audited: Sequence[str] = (),
    ) -> None:
        for name, value in (("window", window), ("patience", patience)):
            if value < 1:
                raise InputError(
                    f"A watchdog's {name} is a number of rollouts, at least 1, found {value}; 5 "
                    "rollouts a window and a patience of 3 are usual."
                )
        if not rules:
            raise InputError(
                "A watchdog needs at least one rule, found none; leave out rules for the standard "
                "ones."
            )
        self.rules = list(rules)
        self.patience = patience
        self.history = History(window, FirstWindow() if reference is None else reference, audited)
        self.held = [0] * len(self.rules)
        self.rollouts = 0

    @property
    def metrics(self) -> list[str]:
        """Log keys that are read, sorted."""
        read = frozenset().union(*(rule.metrics for rule in self.rules))
        return sorted(read | {REWARD, *self.history.audited})

    @property
    def suspicious(self) -> bool:
        """Whether a rule holds, for however long."""
        return any(self.held)

    @property
    def raised(self) -> int:
        """How many rules hold for ``patience`` rollouts or longer."""
        return sum(held >= self.patience for held in self.held)

    def see(self, row: Mapping[str, float]) -> list[Alarm]:
        """Take the metrics of the next rollout; return the alarms that it raises, each once."""
        self.rollouts += 1
        self.history.rows.append({name: row[name] for name in self.metrics if name in row})
        if not self.history.judged:
            return []
        found = [rule.found(self.history) for rule in self.rules]
        self.held = [held + 1 if text else 0 for held, text in zip(self.held, found)]
        return [
            Alarm(self.rollouts, str(rule), text)
            for rule, text, held in zip(self.rules, found, self.held)
            if held == self.patience
        ]

    def forget(self, rows: int) -> None:
        """Keep the first ``rows`` rollouts seen, as if the later ones had not been."""
        del self.history.rows[rows:]
        self.held = [0] * len(self.rules)

    def state(self) -> dict[str, Any]:
        """Return what has been seen, as plain lists and numbers."""
        rows = [dict(row) for row in self.history.rows]
        return {
            "rows": rows,
            "held": dict(zip(map(str, self.rules), self.held)),
            "rollouts": self.rollouts,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned; rules that it does not know begin at 0."""
        self.history.rows = [dict(row) for row in state["rows"]]
        self.held = [state["held"].get(str(rule), 0) for rule in self.rules]
        self.rollouts = state["rollouts"]


def _rise(history: History, place: int) -> str:
    """Return the move of the reward since the window at ``place``; empty if it did not rise."""
    before, now = history.mean(REWARD, place), history.now(REWARD)
    return _move(REWARD, before, now) if now > before else ""


def _move(metric: str, before: float, now: float) -> str:
    return f"{metric} {before:.3g} → {now:.3g}"
