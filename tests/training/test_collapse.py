"""Every rule on series whose windows are worked out by hand: a hit and a near miss."""

import math

import pytest
import torch

from r4t.errors import InputError
from r4t.training.collapse import (
    REWARD,
    AuditGap,
    BestWindow,
    CollapseDetector,
    Deaf,
    Fades,
    FirstWindow,
    Narrows,
    Rises,
    standard_rules,
)

AUDIT = "train/alignment/mean"


def detector_of(rows, window=2, reference=None, audited=()):
    """A detector that holds ``rows``."""
    detector = CollapseDetector(standard_rules(), window, 1, reference, audited)
    detector.rows = rows
    return detector


def evidence(rule, reference=None, audited=(), **series):
    """The evidence of a rule in windows of two."""
    names = {"reward": REWARD, "audit": AUDIT}
    columns = {names.get(name, name): values for name, values in series.items()}
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return rule.evidence(detector_of(rows, 2, reference, audited))


def of_x(values, window=2, reference=None):
    """A detector that holds one metric; None means not logged."""
    rows = [{} if value is None else {"x": value} for value in values]
    return detector_of(rows, window, reference)


def test_the_mean_of_a_window_skips_missing_values():
    detector = of_x([1.0, 3.0, math.nan, 5.0, None, math.inf])
    assert detector.mean("x", 0) == 2
    assert detector.mean("x", 1) == 3
    assert detector.mean("x", 2) == 5
    assert math.isnan(detector.mean("x", 4))
    assert math.isnan(detector.mean("y", 0))


def test_the_latest_value_that_was_measured():
    assert of_x([1.0, 3.0, math.nan, None]).latest("x") == {"x": 3.0}
    assert of_x([math.nan, None]).latest("x") == {}


def test_rules_are_checked_once_two_windows_do_not_overlap():
    detector = CollapseDetector([Rises("x", rise=0.5)], window=2, patience=1)
    values = [0.0, 0.0, 9.0, 9.0]
    assert [len(detector.see({"x": value})) for value in values] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "reference, sign, before",
    # Means of the windows that end before the last two: 2, 6, 7, 3 (the last would be 5.5, 9).
    [(FirstWindow(), 1, 2), (BestWindow(), 1, 7), (BestWindow(), -1, 2)],
)
def test_the_reference_never_overlaps_with_the_latest_window(reference, sign, before):
    detector = of_x([1.0, 3.0, 9.0, 5.0, 1.0, 10.0, 8.0], reference=reference)
    assert detector.compare("x", sign) == (before, 9.0, "")


def test_a_window_without_a_value_is_never_the_best():
    assert BestWindow().place(torch.tensor([torch.nan, -3.0, -2.0])) == 2
    detector = of_x([None, None, 1.0, 1.0, 0.0, 0.0], reference=BestWindow())
    assert detector.compare("x") == (1.0, 0.0, "")


def test_narrows():
    rule = Narrows("items", fall=0.25)
    # Means of two: reward 0.25 → 0.45; items 8 → 5.9, below 0.75 · 8 = 6.
    up = [0.2, 0.3, 0.4, 0.5]
    assert evidence(rule, reward=up, items=[7, 9, 6, 5.8]) == (
        "train/reward/mean 0.25 → 0.45 while items 8 → 5.9 (lost 26%, more than 25%)"
    )
    assert evidence(rule, reward=up, items=[7, 9, 6, 6]) == ""  # 6: just the share that it may lose
    assert evidence(rule, reward=[0.2, 0.3, 0.3, 0.2], items=[7, 9, 1, 1]) == ""  # reward level
    assert evidence(rule, reward=up[::-1], items=[7, 9, 1, 1]) == ""  # reward down
    assert evidence(rule, reward=up, items=[0, 0, -1, -1]) == ""  # no share of nothing
    assert evidence(rule, reward=up, other=[7, 9, 1, 1]) == ""  # not logged


def test_narrows_from_a_peak():
    rule = Narrows("items", fall=0.25)
    # Items rise 4 → 8 and fall to 5: above the first window, 37.5 % below the best. The reward
    # is compared with what it was at the peak (0.35).
    items = [4, 4, 8, 8, 5, 5]
    reward = [0.1, 0.1, 0.3, 0.4, 0.5, 0.5]
    assert evidence(rule, reward=reward, items=items) == ""
    assert evidence(rule, BestWindow(), reward=reward, items=items) == (
        "train/reward/mean 0.35 → 0.5 while items 8 → 5 (lost 38%, more than 25%)"
    )
    assert evidence(rule, BestWindow(), reward=[0.1, 0.1, 0.6, 0.6, 0.5, 0.5], items=items) == ""


def test_rises():
    rule = Rises("copies", rise=0.25)
    # 0.125 → 0.5: up 0.375, whether or not the reward rises.
    assert (
        evidence(rule, copies=[0.25, 0.0, 0.5, 0.5])
        == "copies 0.125 → 0.5 (up 0.375, more than 0.25)"
    )
    assert evidence(rule, copies=[0.25, 0.0, 0.25, 0.5]) == ""  # 0.375: up just 0.25
    assert evidence(rule, copies=[0.5, 0.5, 0.0, 0.0]) == ""
    # From its lowest, 0 in the second window: up 0.375; from the first, up 0.125.
    dip = [0.25, 0.25, 0.0, 0.0, 0.25, 0.5]
    assert evidence(rule, copies=dip) == ""
    assert evidence(rule, BestWindow(), copies=dip) != ""


def test_fades():
    rule = Fades("entropy", least=0.5)
    # 2 → 0.9: 45 % left.
    assert (
        evidence(rule, entropy=[1.5, 2.5, 0.8, 1.0]) == "entropy 2 → 0.9 (45% left, less than 50%)"
    )
    assert evidence(rule, entropy=[1.5, 2.5, 0.8, 1.2]) == ""  # 1: just half
    assert evidence(rule, entropy=[0.0, 0.0, -1.0, -1.0]) == ""
    assert evidence(rule, other=[1.5, 2.5, 0.8, 1.0]) == ""


def test_audit_gap():
    rule = AuditGap(fall=0.25)
    up = [0.2, 0.3, 0.4, 0.5]
    # 0 → −0.375: an audited objective may be 0 or negative.
    falls = [0.25, -0.25, -0.25, -0.5]
    assert evidence(rule, audited=[AUDIT], reward=up, audit=falls) == (
        "train/reward/mean 0.25 → 0.45 while audited train/alignment/mean 0 → -0.375 "
        "(down 0.375, more than 0.25)"
    )
    assert evidence(rule, audited=[AUDIT], reward=up, audit=[0.25, -0.25, -0.25, -0.25]) == ""
    assert evidence(rule, audited=[AUDIT], reward=up[::-1], audit=falls) == ""
    assert evidence(rule, reward=up, audit=falls) == ""  # trained on, not audited
    second = "train/novelty/mean"
    both = evidence(
        rule, audited=[AUDIT, second], reward=up, audit=falls, **{second: [1, 1, 0.5, 0.5]}
    )
    assert len(both.split("; ")) == 2


def test_deaf():
    rule = Deaf(fall=0.25, free=0.5)
    told, free = "train/specificity/mean", "train/query_free/share"
    falls = [0.75, 0.75, 0.25, 0.5]  # 0.75 → 0.375
    # The share was measured in one rollout of each window.
    shares = [0.25, math.nan, math.nan, 0.75]
    assert evidence(rule, **{told: falls, free: shares}) == (
        "train/specificity/mean 0.75 → 0.375 (down 0.375, more than 0.25) while 75% of the reward "
        "does not depend on the query"
    )
    assert evidence(rule, **{told: [0.75, 0.75, 0.5, 0.5], free: shares}) == ""  # down just 0.25
    assert evidence(rule, **{told: falls, free: [0.25, 0.25, 0.5, 0.5]}) == ""  # just half
    assert evidence(rule, **{told: falls}) == ""  # not measured
    assert evidence(rule, **{free: shares}) == ""
    assert rule.metrics == {told, free}


def test_missing_values_never_raise_an_alarm():
    detector = CollapseDetector(standard_rules(), window=1, patience=1, audited=[AUDIT])
    for _ in range(4):
        assert detector.see({}) == []
        assert detector.see({name: float("nan") for name in detector.metrics}) == []


def test_each_standard_rule_is_raised_by_its_own_series():
    healthy = {
        REWARD: 0.3,
        "train/diversity/mean": 0.6,
        "train/distinct_items/mean": 8.0,
        "train/duplicate_subqueries/share": 0.1,
        "train/query_copies/share": 0.0,
        "train/universal_subqueries/share": 0.1,
        "train/entropy/mean": 2.0,
        "train/parsed/share": 1.0,
        AUDIT: 0.5,
        "train/specificity/mean": 0.8,
        "train/query_free/share": 0.8,
    }
    sick = {
        "train/diversity/mean": 0.4,
        "train/distinct_items/mean": 5.0,
        "train/duplicate_subqueries/share": 0.4,
        "train/query_copies/share": 0.2,
        "train/universal_subqueries/share": 0.5,
        "train/entropy/mean": 0.5,
        "train/parsed/share": 0.6,
        AUDIT: 0.3,
        "train/specificity/mean": 0.6,
    }
    assert len(sick) == len(standard_rules())
    for rule, (name, value) in zip(standard_rules(), sick.items()):
        detector = CollapseDetector(standard_rules(), window=2, patience=1, audited=[AUDIT])
        rows = [healthy] * 2 + [healthy | {REWARD: 0.5, name: value}] * 2
        alarms = [alarm for row in rows for alarm in detector.see(row)]
        assert [alarm.rule for alarm in alarms] == [str(rule)]
        assert name in alarms[0].evidence
        # Trained without a collapse: none.
        calm = CollapseDetector(standard_rules(), window=2, patience=1, audited=[AUDIT])
        assert [calm.see(row | {name: healthy[name]}) for row in rows] == [[]] * 4


def test_an_alarm_needs_patience_and_is_raised_once():
    detector = CollapseDetector([Rises("x", rise=0.5)], window=1, patience=2)
    # Windows of one, first value 0: above 0.5 at rollouts 2, 4 to 7, and 9.
    values = [0.0, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.0, 0.9]
    alarms, raised, suspicious = [], [], []
    for value in values:
        alarms += detector.see({"x": value})
        raised.append(detector.raised)
        suspicious.append(detector.suspicious)
    assert [(alarm.rollout, alarm.rule) for alarm in alarms] == [(5, "Rises(metric='x', rise=0.5)")]
    assert raised == [0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert suspicious == [False, True, False, True, True, True, True, False, True]
    assert [alarm.rollout for alarm in detector.see({"x": 0.9})] == [10]  # again, after it was over


def test_a_detector_continues_from_its_state_as_if_never_interrupted():
    rules = [Rises("x", rise=0.5), Narrows("items")]
    rows = [{"x": x, "items": 9 - 8 * x, REWARD: x} for x in (0.0, 0.1, 0.7, 0.8, 0.9, 0.95, 1.0)]
    whole = CollapseDetector(rules, window=2, patience=2)
    expected = [whole.see(row) for row in rows]
    assert sum(map(len, expected)) == 2
    for cut in range(len(rows)):
        first, second = (CollapseDetector(rules, window=2, patience=2) for _ in range(2))
        seen = [first.see(row) for row in rows[:cut]]
        second.restore(first.state())
        assert seen + [second.see(row) for row in rows[cut:]] == expected
        assert second.state() == whole.state()


def test_forgotten_rollouts_do_not_count_in_later_windows():
    detector = CollapseDetector([Rises("x", rise=0.5)], window=1, patience=1)
    for value in (0.0, 0.1, 0.9):
        detector.see({"x": value})
    detector.forget(2)
    assert not detector.suspicious
    assert detector.see({"x": 0.2}) == []
    assert [row["x"] for row in detector.rows] == [0.0, 0.1, 0.2]
    assert detector.rollouts == 4  # rollouts of the run are counted on
    assert [alarm.rollout for alarm in detector.see({"x": 0.8})] == [5]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"window": 0}, "window to be at least 1, but found 0"),
        ({"patience": 0}, "patience to be at least 1, but found 0"),
        ({"rules": []}, "at least one rule, but found none. Leave out rules to use"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        CollapseDetector(**{"rules": standard_rules(), "window": 2, "patience": 1, **arguments})
