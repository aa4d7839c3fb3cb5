"""Metrics of one rollout after another → alarms: the definition of a collapse.

Every rule compares two means over ``window`` rollouts: the latest ones, and a *reference* that does
not overlap with them (the first ones, or the healthiest so far). Rules are checked from rollout
2·window on; one that holds for ``patience`` rollouts in a row raises an alarm. A metric that was
not logged, or is NaN, never breaks a rule.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from r4t.errors import InputError, check_least

REWARD = "train/reward/mean"


class Reference(Protocol):
    """Chooses the earlier window that a metric is compared with."""

    def place(self, healths: torch.Tensor) -> int:
        """Return the place of a window, given the mean (n,) of each; higher is healthier."""


class FirstWindow:
    """The first rollouts."""

    def place(self, healths: torch.Tensor) -> int:
        """Return 0."""
        return 0


class BestWindow:
    """The rollouts with the healthiest mean so far, so that a slide from a peak counts as well."""

    def place(self, healths: torch.Tensor) -> int:
        """Return the place of the highest; NaN is the lowest."""
        return int(healths.nan_to_num(-torch.inf).argmax())


class Rule(ABC):
    """One sign of a collapse."""

    @property
    def metrics(self) -> frozenset[str]:
        """Log keys that it reads besides the reward and the audited objectives."""
        return frozenset()

    @abstractmethod
    def evidence(self, detector: "CollapseDetector") -> str:
        """Return the numbers that show it; empty if the rule does not hold."""


@dataclass(frozen=True)
class MetricRule(Rule):
    """A rule about one metric, given by its log key."""

    metric: str

    @property
    def metrics(self) -> frozenset[str]:
        """The metric."""
        return frozenset({self.metric})


@dataclass(frozen=True)
class Narrows(MetricRule):
    """The reward rises while a metric loses more than a share ``fall`` of its positive reference."""

    fall: float = 0.25

    def evidence(self, detector: "CollapseDetector") -> str:
        """Return both moves."""
        before, now, rise = detector.compare(self.metric)
        if not (rise and before > 0 and now < (1 - self.fall) * before):
            return ""
        loss = f"lost {1 - now / before:.0%}, more than {self.fall:.0%}"
        return f"{rise} while {_move(self.metric, before, now)} ({loss})"


@dataclass(frozen=True)
class Rises(MetricRule):
    """A metric grows by more than ``rise`` above its reference, whatever the reward does."""

    rise: float

    def evidence(self, detector: "CollapseDetector") -> str:
        """Return the move."""
        before, now, _ = detector.compare(self.metric, sign=-1)
        if not now - before > self.rise:
            return ""
        growth = f"up {now - before:.3g}, more than {self.rise:g}"
        return f"{_move(self.metric, before, now)} ({growth})"


@dataclass(frozen=True)
class Fades(MetricRule):
    """Less than a share ``least`` is left of a positive reference, whatever the reward does."""

    least: float

    def evidence(self, detector: "CollapseDetector") -> str:
        """Return the move."""
        before, now, _ = detector.compare(self.metric)
        if not (before > 0 and now < self.least * before):
            return ""
        rest = f"{now / before:.0%} left, less than {self.least:.0%}"
        return f"{_move(self.metric, before, now)} ({rest})"


@dataclass(frozen=True)
class AuditGap(Rule):
    """The reward rises while an audited objective (weight 0) falls by more than ``fall``.

    The fall is in the objective's own unit: it can be 0 or negative, so that a share says nothing.
    """

    fall: float = 0.1

    def evidence(self, detector: "CollapseDetector") -> str:
        """Return the moves of the audited objectives that fell too far."""
        gaps = []
        for metric in detector.audited:
            before, now, rise = detector.compare(metric)
            if rise and before - now > self.fall:
                fall = f"down {before - now:.3g}, more than {self.fall:g}"
                gaps.append(f"{rise} while audited {_move(metric, before, now)} ({fall})")
        return "; ".join(gaps)


def standard_rules() -> list[Rule]:
    """Return the default rules of a watchdog.

    Their thresholds, a window of 5 and a patience of 3 were fixed on seed 0 of the embedded
    benchmark (docs/tuning.md). There they raise an alarm in the three runs of five that collapse,
    8 rollouts ahead, and in no other.
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
    """A rule that held for ``patience`` rollouts, the last of them number ``rollout``, from 1."""

    rollout: int
    rule: str
    evidence: str


class CollapseDetector:
    """Reads the metrics of one rollout after another, and raises alarms.

    Args:
        rules: What counts as a collapse.
        window: Rollouts in a mean, at least 1.
        patience: Rollouts in a row for which a rule must hold, at least 1.
        reference: Which window a metric is compared with; by default ``FirstWindow``.
        audited: Log keys of the objectives of weight 0.

    Attributes:
        rows: Metrics of the rollouts that count.
        rollouts: Rollouts seen, forgotten ones included.

    Raises:
        InputError: If ``window`` or ``patience`` is below 1, or there is no rule.

    Examples:
        >>> detector = CollapseDetector([Rises("repeats", rise=0.5)], window=1, patience=1)
        >>> [len(detector.see({"repeats": value})) for value in (0.1, 0.6, 0.7, 0.9, 0.2)]
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
        check_least({"window": (window, 1), "patience": (patience, 1)})
        if not rules:
            raise InputError(
                expected="at least one rule of a collapse",
                found="none",
                remedy="Leave out rules to use the standard ones.",
            )
        self.rules, self.audited = list(rules), tuple(audited)
        self.window, self.patience = window, patience
        self.reference = FirstWindow() if reference is None else reference
        self.rows: list[dict[str, float]] = []
        self.rollouts = 0
        self._streaks = [0] * len(rules)  # rollouts in a row for which each rule has held

    def anew(self, audited: Sequence[str]) -> "CollapseDetector":
        """Return a detector with the same settings that has seen nothing."""
        return CollapseDetector(self.rules, self.window, self.patience, self.reference, audited)

    @property
    def metrics(self) -> list[str]:
        """Log keys that are read, sorted."""
        read = frozenset().union(*(rule.metrics for rule in self.rules))
        return sorted(read | {REWARD, *self.audited})

    @property
    def suspicious(self) -> bool:
        """Whether a rule holds, for however long."""
        return any(self._streaks)

    @property
    def raised(self) -> int:
        """How many rules hold for ``patience`` rollouts or longer."""
        return sum(streak >= self.patience for streak in self._streaks)

    def mean(self, metric: str, place: int) -> float:
        """Return the mean of a metric's finite values in the window that begins at row ``place``."""
        values = [row.get(metric, math.nan) for row in self.rows[place : place + self.window]]
        finite = [value for value in values if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else math.nan

    def compare(self, metric: str, sign: int = 1) -> tuple[float, float, str]:
        """Return the reference and the latest mean of a metric, and the reward's move if it rose.

        Args:
            metric: Log key.
            sign: 1 if higher is healthier, −1 if lower is.
        """
        values = [row.get(metric, math.nan) for row in self.rows[: -self.window]]
        windows = torch.tensor(values, dtype=torch.float64).unfold(0, self.window, 1)
        first, last = self.reference.place(sign * windows.nanmean(1)), len(self.rows) - self.window
        before, now = self.mean(REWARD, first), self.mean(REWARD, last)
        rise = _move(REWARD, before, now) if now > before else ""
        return self.mean(metric, first), self.mean(metric, last), rise

    def see(self, row: Mapping[str, float]) -> list[Alarm]:
        """Add the metrics of the next rollout; return the alarms that it raises, each once."""
        self.rollouts += 1
        self.rows.append({name: row[name] for name in self.metrics if name in row})
        if len(self.rows) < 2 * self.window:
            return []
        evidence = [rule.evidence(self) for rule in self.rules]
        self._streaks = [n + 1 if text else 0 for n, text in zip(self._streaks, evidence)]
        return [
            Alarm(self.rollouts, str(rule), text)
            for rule, text, streak in zip(self.rules, evidence, self._streaks)
            if streak == self.patience
        ]

    def forget(self, rows: int) -> None:
        """Keep the first ``rows`` rows, as if the later ones had not been seen."""
        del self.rows[rows:]
        self._streaks = [0] * len(self.rules)

    def state(self) -> dict[str, Any]:
        """Return what has been seen, as plain lists and numbers."""
        streaks = dict(zip(map(str, self.rules), self._streaks))
        rows = [dict(row) for row in self.rows]
        return {"rows": rows, "streaks": streaks, "rollouts": self.rollouts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state`` returned; rules that it does not know begin at 0."""
        self.rows = [dict(row) for row in state["rows"]]
        self._streaks = [state["streaks"].get(str(rule), 0) for rule in self.rules]
        self.rollouts = state["rollouts"]


def _move(metric: str, before: float, now: float) -> str:
    return f"{metric} {before:.3g} → {now:.3g}"
