"""Every rule on series whose windows are worked out by hand: a hit, and what just misses it."""

import re

import pytest

from r4t.errors import InputError
from r4t.grpo.monitor.collapse import (
    REWARD,
    AuditGap,
    Fades,
    Judge,
    Narrows,
    Rises,
    standard_rules,
)
from r4t.grpo.monitor.history import BestWindow, FirstWindow, History

AUDIT = "train/alignment/mean"


def told(rule, reference=None, audited=(), **series):
    """What a rule finds in windows of two."""
    history = History(2, FirstWindow() if reference is None else reference, audited)
    names = {"reward": REWARD, "audit": AUDIT}
    columns = {names.get(name, name): values for name, values in series.items()}
    history.rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return rule.found(history)


def test_narrows():
    rule = Narrows("items", fall=0.25)
    # Means of two: reward 0.25 → 0.45; items 8 → 5.9, below 0.75 · 8 = 6.
    up = [0.2, 0.3, 0.4, 0.5]
    assert told(rule, reward=up, items=[7, 9, 6, 5.8]) == (
        "train/reward/mean 0.25 → 0.45 while items 8 → 5.9 (lost 26%, more than 25%)"
    )
    assert told(rule, reward=up, items=[7, 9, 6, 6]) == ""  # 6: just the share that it may lose
    assert told(rule, reward=[0.2, 0.3, 0.3, 0.2], items=[7, 9, 1, 1]) == ""  # reward level
    assert told(rule, reward=up[::-1], items=[7, 9, 1, 1]) == ""  # reward down
    assert told(rule, reward=up, items=[0, 0, -1, -1]) == ""  # no share of nothing
    assert told(rule, reward=up, other=[7, 9, 1, 1]) == ""  # not logged


def test_narrows_from_a_peak():
    rule = Narrows("items", fall=0.25)
    # Items rise 4 → 8 and fall to 5: above the first window, 37.5 % below the best. The reward
    # is compared with what it was at the peak (0.35).
    items = [4, 4, 8, 8, 5, 5]
    reward = [0.1, 0.1, 0.3, 0.4, 0.5, 0.5]
    assert told(rule, reward=reward, items=items) == ""
    assert told(rule, BestWindow(), reward=reward, items=items) == (
        "train/reward/mean 0.35 → 0.5 while items 8 → 5 (lost 38%, more than 25%)"
    )
    assert told(rule, BestWindow(), reward=[0.1, 0.1, 0.6, 0.6, 0.5, 0.5], items=items) == ""


def test_rises():
    rule = Rises("copies", rise=0.25)
    # 0.125 → 0.5: up 0.375, whether or not the reward rises.
    assert (
        told(rule, copies=[0.25, 0.0, 0.5, 0.5]) == "copies 0.125 → 0.5 (up 0.375, more than 0.25)"
    )
    assert told(rule, copies=[0.25, 0.0, 0.25, 0.5]) == ""  # 0.375: up just 0.25
    assert told(rule, copies=[0.5, 0.5, 0.0, 0.0]) == ""
    # From its lowest, 0 in the second window: up 0.375; from the first, up 0.125.
    dip = [0.25, 0.25, 0.0, 0.0, 0.25, 0.5]
    assert told(rule, copies=dip) == ""
    assert told(rule, BestWindow(), copies=dip) != ""


def test_fades():
    rule = Fades("entropy", least=0.5)
    # 2 → 0.9: 45 % left.
    assert told(rule, entropy=[1.5, 2.5, 0.8, 1.0]) == "entropy 2 → 0.9 (45% left, less than 50%)"
    assert told(rule, entropy=[1.5, 2.5, 0.8, 1.2]) == ""  # 1: just half
    assert told(rule, entropy=[0.0, 0.0, -1.0, -1.0]) == ""
    assert told(rule, other=[1.5, 2.5, 0.8, 1.0]) == ""


def test_audit_gap():
    rule = AuditGap(fall=0.25)
    up = [0.2, 0.3, 0.4, 0.5]
    # 0 → −0.375: an audited objective may be 0 or negative.
    falls = [0.25, -0.25, -0.25, -0.5]
    assert told(rule, audited=[AUDIT], reward=up, audit=falls) == (
        "train/reward/mean 0.25 → 0.45 while audited train/alignment/mean 0 → -0.375 "
        "(down 0.375, more than 0.25)"
    )
    assert told(rule, audited=[AUDIT], reward=up, audit=[0.25, -0.25, -0.25, -0.25]) == ""
    assert told(rule, audited=[AUDIT], reward=up[::-1], audit=falls) == ""
    assert told(rule, reward=up, audit=falls) == ""  # trained on, not audited
    second = "train/novelty/mean"
    both = told(rule, audited=[AUDIT, second], reward=up, audit=falls, **{second: [1, 1, 0.5, 0.5]})
    assert len(both.split("; ")) == 2


def test_missing_values_never_raise_an_alarm():
    judge = Judge(standard_rules(), window=1, patience=1, audited=[AUDIT])
    for _ in range(4):
        assert judge.see({}) == []
        assert judge.see({name: float("nan") for name in judge.metrics}) == []


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
    }
    assert len(sick) == len(standard_rules())
    for rule, (name, value) in zip(standard_rules(), sick.items()):
        judge = Judge(standard_rules(), window=2, patience=1, audited=[AUDIT])
        rows = [healthy] * 2 + [healthy | {REWARD: 0.5, name: value}] * 2
        alarms = [alarm for row in rows for alarm in judge.see(row)]
        assert [alarm.rule for alarm in alarms] == [str(rule)]
        assert name in alarms[0].found
        # Trained without a collapse: none.
        calm = Judge(standard_rules(), window=2, patience=1, audited=[AUDIT])
        assert [calm.see(row | {name: healthy[name]}) for row in rows] == [[]] * 4


def test_an_alarm_needs_patience_and_comes_once():
    judge = Judge([Rises("x", rise=0.5)], window=1, patience=2)
    # Windows of one, first value 0: above 0.5 at rollouts 2, 4 to 7, and 9.
    values = [0.0, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.0, 0.9]
    alarms, raised, suspicious = [], [], []
    for value in values:
        alarms += judge.see({"x": value})
        raised.append(judge.raised)
        suspicious.append(judge.suspicious)
    assert [(alarm.rollout, alarm.rule) for alarm in alarms] == [(5, "Rises(metric='x', rise=0.5)")]
    assert raised == [0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert suspicious == [False, True, False, True, True, True, True, False, True]
    assert [alarm.rollout for alarm in judge.see({"x": 0.9})] == [10]  # again, after it was over


def test_a_judge_goes_on_from_its_state_as_if_never_interrupted():
    rules = [Rises("x", rise=0.5), Narrows("items")]
    rows = [{"x": x, "items": 9 - 8 * x, REWARD: x} for x in (0.0, 0.1, 0.7, 0.8, 0.9, 0.95, 1.0)]
    whole = Judge(rules, window=2, patience=2)
    expected = [whole.see(row) for row in rows]
    assert sum(map(len, expected)) == 2
    for cut in range(len(rows)):
        first, second = (Judge(rules, window=2, patience=2) for _ in range(2))
        seen = [first.see(row) for row in rows[:cut]]
        second.restore(first.state())
        assert seen + [second.see(row) for row in rows[cut:]] == expected
        assert second.state() == whole.state()


def test_what_is_forgotten_has_no_part_in_later_windows():
    judge = Judge([Rises("x", rise=0.5)], window=1, patience=1)
    for value in (0.0, 0.1, 0.9):
        judge.see({"x": value})
    judge.forget(2)
    assert not judge.suspicious
    assert judge.see({"x": 0.2}) == []
    assert [row["x"] for row in judge.history.rows] == [0.0, 0.1, 0.2]
    assert judge.rollouts == 4  # rollouts of the run are counted on
    assert [alarm.rollout for alarm in judge.see({"x": 0.8})] == [5]


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"window": 0}, "A watchdog's window is a number of rollouts, at least 1, found 0; 5"),
        ({"patience": 0}, "A watchdog's patience is a number of rollouts, at least 1, found 0; 5"),
        ({"rules": []}, "A watchdog needs at least one rule, found none; leave out rules"),
    ],
)
def test_bad_input(arguments, said):
    with pytest.raises(InputError, match=re.escape(said)):
        Judge(**{"rules": standard_rules(), "window": 2, "patience": 1, **arguments})
