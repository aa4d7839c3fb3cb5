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
from typing import Any

import torch

from r4t.errors import InputError, check_least

REWARD = "train/reward/mean"
SPECIFICITY, QUERY_FREE = "train/specificity/mean", "train/query_free/share"


class FirstWindow:
    """Reference: the first rollouts."""

    def place(self, healths: torch.Tensor) -> int:
        """Return the place of a window, given the mean (n,) of each; higher is healthier."""
        return 0


class BestWindow(FirstWindow):
    """Reference: the rollouts with the healthiest mean, so that a slide from a peak counts too."""

    def place(self, healths: torch.Tensor) -> int:
        """Return the place of the highest; NaN is the lowest."""
        return int(healths.nan_to_num(-torch.inf).argmax())


class Rule(ABC):
    """One sign of a collapse."""

    @property
    def metrics(self) -> set[str]:
        """Log keys that it reads besides the reward and audited objectives: its ``metric``, if any."""
        return {value for name, value in vars(self).items() if name == "metric"}

    @abstractmethod
    def evidence(self, detector: "CollapseDetector") -> str:
        """Return the numbers that show it; empty if the rule does not hold."""


@dataclass(frozen=True)
class Narrows(Rule):
    """The reward rises while a metric loses more than a share ``fall`` of its positive reference."""

    metric: str
    fall: float = 0.25

    def evidence(self, detector: "CollapseDetector") -> str:
        """Return both moves."""
        before, now, rise = detector.compare(self.metric)
        if not (rise and before > 0 and now < (1 - self.fall) * before):
            return ""
        loss = f"lost {1 - now / before:.0%}, more than {self.fall:.0%}"
        return f"{rise} while {_move(self.metric, before, now)} ({loss})"


@dataclass(frozen=True)
class Rises(Rule):
    """A metric grows by more than ``rise`` above its reference, whatever the reward does."""

    metric: str
    rise: float

    def evidence(self, detector: "CollapseDetector") -> str:
        """Return the move."""
        before, now, _ = detector.compare(self.metric, sign=-1)
        if not now - before > self.rise:
            return ""
        growth = f"up {now - before:.3g}, more than {self.rise:g}"
        return f"{_move(self.metric, before, now)} ({growth})"


@dataclass(frozen=True)
class Fades(Rule):
    """Less than a share ``least`` is left of a positive reference, whatever the reward does."""

    metric: str
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


@dataclass(frozen=True)
class Deaf(Rule):
    """The sets tell their queries apart less and less, and the reward pays for lists that suit all.

    The mean specificity fell by more than ``fall``, while more than a share ``free`` of the reward's
    variance within a query does not depend on the query. It needs no truth.
    """

    fall: float = 0.05
    free: float = 0.5

    @property
    def metrics(self) -> set[str]:
        """Specificity and the query-free share."""
        return {SPECIFICITY, QUERY_FREE}

    def evidence(self, detector: "CollapseDetector") -> str:
        """Return the move, and the share."""
        before, now, _ = detector.compare(SPECIFICITY)
        _, free, _ = detector.compare(QUERY_FREE)
        if not (before - now > self.fall and free > self.free):
            return ""
        return (
            f"{_move(SPECIFICITY, before, now)} (down {before - now:.3g}, more than {self.fall:g}) "
            f"while {free:.0%} of the reward does not depend on the query"
        )


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
        Deaf(fall=0.05, free=0.5),
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
        reference: FirstWindow | None = None,
        audited: Sequence[str] = (),
    ) -> None:
        check_least({"window": (window, 1), "patience": (patience, 1)})
        if not rules:
            remedy = "Leave out rules to use the standard ones."
            raise InputError(expected="at least one rule", found="none", remedy=remedy)
        self.rules, self.window, self.patience = list(rules), window, patience
        self.reference = FirstWindow() if reference is None else reference
        self.begin(audited)

    def begin(self, audited: Sequence[str]) -> None:
        """Begin a run, with nothing seen."""
        self.audited = tuple(audited)
        self.rows: list[dict[str, float]] = []  # metrics of the rollouts that count
        self.rollouts = 0  # seen, forgotten ones included
        self._streaks = [0] * len(self.rules)  # rollouts in a row for which each rule has held

    @property
    def metrics(self) -> list[str]:
        """Log keys that are read, sorted."""
        return sorted({REWARD, *self.audited}.union(*(rule.metrics for rule in self.rules)))

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

    def latest(self, metric: str) -> dict[str, float]:
        """Return the last finite value of a metric by its name; nothing if there is none."""
        values = [row.get(metric, math.nan) for row in self.rows]
        finite = [value for value in values if math.isfinite(value)]
        return {metric: finite[-1]} if finite else {}

    def compare(self, metric: str, sign: int = 1) -> tuple[float, float, str]:
        """Return reference and latest mean of a metric, and the reward's move if it rose.

        A ``sign`` of 1 means that higher is healthier, −1 that lower is.
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
        return {"rows": list(self.rows), "streaks": streaks, "rollouts": self.rollouts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state`` returned; rules that it does not know begin at 0."""
        self.rows, self.rollouts = list(state["rows"]), state["rollouts"]
        self._streaks = [state["streaks"].get(str(rule), 0) for rule in self.rules]


def _move(metric: str, before: float, now: float) -> str:
    return f"{metric} {before:.3g} → {now:.3g}"
