"""The watchdog on a real (tiny) tuning: it reads what is logged, and acts."""

import json
import warnings
from dataclasses import dataclass

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, LightningModule

from r4t.errors import InputError
from r4t.fanout.model import FanoutModel
from r4t.grpo.monitor.gaming import gaming
from r4t.reward import Reward
from r4t.training.callbacks import Export
from r4t.training.collapse import REWARD, AuditGap, BestWindow, Narrows, Rises, Rule
from r4t.training.watchdog import RollBack, Stop, Warn, Watchdog


@dataclass(frozen=True)
class After(Rule):
    """Holds once the detector has a number of rows."""

    rollouts: int

    def evidence(self, detector):
        return "enough seen" if len(detector.rows) >= self.rollouts else ""


def dog(rollouts, action=None, patience=2, window=2):
    return Watchdog(action, window=window, patience=patience, rules=[After(rollouts)])


def messages(caught):
    return [str(one.message) for one in caught if "collapse" in str(one.message)]


def test_a_warning_has_the_evidence_and_the_run_goes_on(tiny):
    watchdog, ends = dog(4), tiny.Ends()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny.fit(watchdog, ends, rollouts=7)
    assert len(ends.rollouts) == 7
    # The rule holds from rollout 4 on, for the second time after 5; said once.
    assert messages(caught) == [
        "Training shows signs of a collapse after rollout 5, in means over 2 rollouts: enough seen. "
        "The run goes on. Look at its answers, weight an objective that rewards spread, or lower the "
        "learning rate."
    ]
    assert [(a.rollout, a.rule) for a in watchdog.alarms] == [(5, "After(rollouts=4)")]
    assert type(watchdog.action) is Warn


def test_alarms_are_logged(tiny):
    ends = tiny.Ends()
    with pytest.warns(UserWarning, match="signs of a collapse"):
        tiny.fit(dog(4), ends, rollouts=6)
    assert [row["train/alarms/count"] for row in ends.logged] == [0, 0, 0, 0, 1, 1]


def test_it_reads_what_was_logged_and_what_was_written(tiny):
    watchdog, ends = Watchdog(window=2), tiny.Ends()
    tiny.fit(watchdog, ends, rollouts=3)
    assert watchdog.detector.audited == ("train/diversity/mean",)
    assert "train/specificity/mean" in ends.logged[0]
    rows = watchdog.detector.rows
    assert len(rows) == 3
    for row, logged, rollout in zip(rows, ends.logged, ends.rollouts):
        assert {"train/diversity/mean", "train/distinct_items/mean", REWARD} <= row.keys()
        written = gaming([query.text for query in rollout.queries], rollout.fanouts.subqueries)
        expected = {name: (logged | written).get(name, torch.nan) for name in row}
        if rollout is ends.rollouts[1]:  # the share is measured once a window of two
            expected["train/query_free/share"] = torch.nan
        assert row == pytest.approx(expected, nan_ok=True)


def test_watching_does_not_change_the_tuning(tiny):
    weights = []
    for callbacks in ((), (Watchdog(window=1),)):
        reward = Reward({"noisy": 1.0}, {"noisy": tiny.Noisy()})  # reads the global random state
        module = tiny.fit(*callbacks, rollouts=3, module=tiny.tuner(reward=reward))
        weights.append(tiny.flat(module))
    assert torch.equal(*weights)


def test_stop(tiny):
    ends = tiny.Ends()
    with pytest.warns(UserWarning, match=r"The run stops\. Look at its answers"):
        tiny.fit(dog(4, Stop()), ends, rollouts=8)
    assert len(ends.rollouts) == 5
    assert tiny.last.global_step == 10


def optimizer_of(trainer):
    state = trainer.optimizers[0].state_dict()
    moments = [
        {name: torch.as_tensor(value).clone() for name, value in one.items()}
        for one in state["state"].values()
    ]
    schedule = trainer.lr_scheduler_configs[0].scheduler
    return moments, state["param_groups"][0]["lr"], schedule.last_epoch


class Moments(Callback):
    """Records optimizer and schedule after each rollout."""

    def __init__(self):
        self.states = []

    def on_train_start(self, trainer, pl_module):
        self.states.append(optimizer_of(trainer))

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.states.append(optimizer_of(trainer))


def same(one, other):
    moments, rate, step = one
    assert (rate, step) == other[1:]
    assert len(moments) == len(other[0])
    for state, expected in zip(moments, other[0]):
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in state)


@pytest.mark.parametrize(
    "holds, healthy",
    # Windows of 2, patience 2. Snapshots after rollouts 0, 2, 4 … while the rule does not hold;
    # one is healthy when the next is taken.
    [
        (4, 0),  # held at 4 and 5: that of 2 is in doubt, as nobody passed 4
        (5, 2),  # held at 5 and 6: that of 4 is in doubt, that of 2 passed 4
        (6, 2),
        (7, 4),
    ],
)
def test_a_rollback_restores_every_bit_of_the_healthy_model_and_exports_it(
    tiny, tmp_path, holds, healthy
):
    ends, moments = tiny.Ends(), Moments()
    callbacks = [ends, moments, dog(holds, RollBack()), Export(str(tmp_path / "out"))]
    message = f"are those after rollout {healthy}, and the run stops"
    with pytest.warns(UserWarning, match=message):
        module = tiny.fit(*callbacks, rollouts=12)
    assert len(ends.rollouts) == holds + 1
    assert torch.equal(tiny.flat(module), ends.weights[healthy])
    assert not torch.equal(tiny.flat(module), ends.weights[-1])
    assert all(not torch.equal(a, b) for a, b in zip(ends.weights, ends.weights[1:]))
    exported = FanoutModel.load(tmp_path / "out")
    weights = torch.cat([p.detach().flatten() for p in exported.parameters()])
    assert torch.equal(weights, ends.weights[healthy])
    same(optimizer_of(tiny.last), moments.states[healthy])


def test_going_on_slower_after_each_rollback(tiny):
    """Two rollbacks to the same snapshot, which the updates in between must not change."""
    action, before, after, moments = RollBack(slower=0.5), tiny.Ends(), tiny.Ends(), Moments()
    watchdog = dog(5, action)
    with pytest.warns(UserWarning, match="goes on with 0.5 of the learning rate") as caught:
        tiny.fit(before, watchdog, after, moments, rollouts=12)
    # The rule holds at 5 and 6; back to 2, so that 7 to 10 are rollouts 3 to 6 of the windows. The
    # snapshot of 8 falls to the rule that holds at 9: the healthy one is still that of 2.
    assert [alarm.rollout for alarm in watchdog.alarms] == [6, 10]
    assert all("are those after rollout 2, and" in text for text in messages(caught))
    assert not torch.equal(before.weights[6], before.weights[2])
    for rollout in (6, 10):
        assert torch.equal(after.weights[rollout], before.weights[2])
        states = moments.states
        same((states[rollout][0], *states[2][1:]), states[2])  # all but the rate
    # A warm-up of 10 steps: rate · (step + 1) / 10 after 2 rollouts of 2 updates, halved, twice.
    assert before.rates[1] == pytest.approx(1e-2 * 5 / 10)
    assert after.rates[5] == pytest.approx(1e-2 * 5 / 10 / 2)
    assert before.rates[6] == pytest.approx(1e-2 * 7 / 10 / 2)
    assert after.rates[9] == pytest.approx(1e-2 * 5 / 10 / 4)
    assert len(before.rollouts) == 12


def test_windows_alarms_and_snapshots_survive_a_resume(tiny, tmp_path):
    first, ends, moments = dog(7, RollBack()), tiny.Ends(), Moments()
    tiny.fit(first, ends, moments, rollouts=6)
    tiny.last.save_checkpoint(tmp_path / "sixth.ckpt")
    second, more = dog(7, RollBack()), tiny.Ends()
    module = tiny.tuner()
    with pytest.warns(UserWarning, match="after rollout 8, .* are those after rollout 4, and"):
        tiny.fit(second, more, rollouts=12, ckpt_path=tmp_path / "sixth.ckpt", module=module)
    # Rollouts 7 and 8 raise the alarm; the snapshot of 4 was taken before the resume.
    assert len(more.rollouts) == 2
    assert second.detector.rows == first.detector.rows[:4]
    assert torch.equal(tiny.flat(module), ends.weights[4])
    same(optimizer_of(tiny.last), moments.states[4])
    tiny.last.save_checkpoint(tmp_path / "end.ckpt")
    third = dog(7, Warn())
    third.load_state_dict(
        torch.load(tmp_path / "end.ckpt", weights_only=True)["callbacks"]["Watchdog"]
    )
    assert third.alarms == second.alarms
    assert third.detector.state() == second.detector.state()


def test_a_watchdog_begins_anew_in_each_fit(tiny):
    watchdog = dog(4, RollBack())
    for _ in range(2):
        ends = tiny.Ends()
        with pytest.warns(UserWarning, match="are those after rollout 0"):
            module = tiny.fit(watchdog, ends, rollouts=8)
        assert [alarm.rollout for alarm in watchdog.alarms] == [5]
        assert torch.equal(tiny.flat(module), ends.weights[0])


class Report(Callback):
    """Writes the end of a rank into a file, as forked processes return little."""

    def __init__(self, folder, watchdog, ends):
        self.folder, self.watchdog, self.ends = folder, watchdog, ends

    def on_fit_end(self, trainer, pl_module):
        content = {
            "rollouts": len(self.ends.rollouts),
            "rows": self.watchdog.detector.rows,
            "own": [row[REWARD] for row in self.ends.logged],
            "alarms": [alarm.rollout for alarm in self.watchdog.alarms],
            "healthy": self.ends.weights[0].tolist(),
            "weights": self.ends.flat(pl_module).tolist(),
        }
        path = self.folder / f"rank-{trainer.global_rank}.json"
        path.write_text(json.dumps(content))


@dataclass(frozen=True)
class Shift(Rule):
    """Holds if the last rollout's reward differs from the first's."""

    def evidence(self, detector):
        before, now = (detector.mean(REWARD, place) for place in (0, len(detector.rows) - 1))
        return f"{before} → {now}" if before != now else ""


def test_two_processes_act_together_on_the_same_numbers(tiny, tmp_path):
    ends = tiny.Ends()
    watchdog = Watchdog(RollBack(), window=1, patience=2, rules=[Shift(), Rises("x", 0.1)])
    callbacks = [watchdog, ends, Report(tmp_path, watchdog, ends)]
    ranks = {"strategy": "ddp_fork", "devices": 2}
    tiny.fit(*callbacks, rollouts=8, **ranks)
    first, second = (json.loads((tmp_path / f"rank-{r}.json").read_text()) for r in range(2))
    assert first["rollouts"] == second["rollouts"] == 3
    assert first["alarms"] == second["alarms"] == [3]
    assert first["own"] != second["own"]
    assert first["weights"] == second["weights"] == first["healthy"]
    # After the rollback to the beginning, windows are empty.
    assert first["rows"] == second["rows"] == []


def test_means_of_two_processes(tiny, tmp_path):
    ends, watchdog = tiny.Ends(), Watchdog(window=2)
    ranks = {"strategy": "ddp_fork", "devices": 2}
    tiny.fit(watchdog, ends, Report(tmp_path, watchdog, ends), rollouts=3, **ranks)
    first, second = (json.loads((tmp_path / f"rank-{r}.json").read_text()) for r in range(2))
    assert json.dumps(first["rows"]) == json.dumps(second["rows"])
    means = [(one + other) / 2 for one, other in zip(first["own"], second["own"])]
    assert [row[REWARD] for row in first["rows"]] == pytest.approx(means)


WRITTEN = """
watchdog:
  window: 5
  reference: r4t.training.collapse.BestWindow
  action: {class_path: r4t.training.watchdog.RollBack, init_args: {slower: 0.5}}
  rules:
  - {class_path: r4t.training.collapse.Narrows, init_args: {metric: train/diversity/mean, fall: 0.2}}
  - {class_path: r4t.training.collapse.AuditGap, init_args: {fall: 0.05}}
"""


def test_a_config_names_its_classes():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Watchdog, "watchdog")
    built = parser.instantiate(parser.parse_string(WRITTEN)).watchdog
    assert (built.detector.window, built.detector.patience, built.action.slower) == (5, 3, 0.5)
    assert type(built.detector.reference) is BestWindow
    assert built.detector.rules == [Narrows("train/diversity/mean", fall=0.2), AuditGap(fall=0.05)]


def test_a_module_without_rollouts_is_refused():
    with pytest.raises(
        InputError,
        match="a FanoutTuner or a RetrieverRefiner, whose rollouts Watchdog reads, but found a L",
    ):
        Watchdog().setup(None, LightningModule(), "fit")


@pytest.mark.parametrize("slower", [0.0, 1.0, -0.5])
def test_a_factor_outside_0_to_1_is_refused(slower):
    with pytest.raises(
        InputError, match=rf"slower in \(0, 1\), but found {slower}. Leave it out to stop"
    ):
        RollBack(slower)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"window": 0}, "window to be at least 1, but found 0"),
        ({"patience": 0}, "patience to be at least 1, but found 0"),
        ({"rules": []}, "at least one rule, but found none"),
    ],
)
def test_bad_input_is_refused_before_the_fit(arguments, message):
    with pytest.raises(InputError, match=message):
        Watchdog(**arguments)
