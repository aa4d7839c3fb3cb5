"""benchmarks.real_rewards: one run per reward from the same warm start, with its file, table and figure."""

import json
from dataclasses import replace

import pytest

from benchmarks import real_rewards
from benchmarks.real_models import SETS, commands, run_name
from r4t.__main__ import run as run_verb
from r4t.fanout.language_model import TinyQwen3
from r4t.run import Run


def test_weights_name_every_objective_so_that_the_others_are_audited():
    assert real_rewards.weights("groundedness") == (
        "{groundedness: 0.6, diversity: 0.0, alignment: 0.0, specific_coverage: 0.0}"
    )
    assert "specific_coverage: 1.0" in real_rewards.weights("specific coverage")


def test_credit_is_one_advantage_a_set_for_the_rewards_of_the_paper(small_run):
    words = real_rewards.command("6:2:2", small_run.folder, small_run)
    assert words[words.index("--model.init_args.credit") + 1] == "WholeSet"
    assert "benchmarks/real_rewards.yaml" in words
    words = real_rewards.command("specific coverage", small_run.folder, small_run)
    assert words[words.index("--model.init_args.credit") + 1] == "LeaveOneOut"


@pytest.fixture
def started(small_run, tmp_path, monkeypatch):
    """Runs with a warm start of one step, on the small run's data."""
    model, tokenizer = TinyQwen3(32, 1, 300).build(["red hat linen"] * 4, None)
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    one = replace(SETS["recipes"], pool=10, tokens=48)
    monkeypatch.setattr(real_rewards, "ONE", one)
    runs = tmp_path / "runs"
    run = Run.begin(runs / run_name(one, 0, "warm-start"), small_run.catalog, small_run.queries)
    (words,) = commands(one, 0, runs, tmp_path / "lm", 2)["warm-start"]
    run_verb([*words, "--trainer.max_steps", "1", "--trainer.val_check_interval", "1"])
    return runs, run


def test_a_setting_is_tuned_measured_and_drawn_once(started, tmp_path, capsys):
    runs, run = started
    words = ["--runs", str(runs), "--results", str(tmp_path / "out"), "--settings", "6:2:2"]
    words += ["--more", "--trainer.max_steps", "2", "--data.init_args.batch_size", "2"]
    real_rewards.main(words)
    content = json.loads((tmp_path / "out" / "622.json").read_text())
    assert content["weights"] == {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}
    assert len(content["rollouts"]) == 2
    assert [row["rollout"] for row in content["held_out"]] == [0]  # then every tenth
    assert {*content["held_out"][0]} >= {"recall", "universal_subqueries", "specific_coverage"}
    assert list(content["methods"]) == ["warm start", "best of 5", "tuned"]
    assert len(content["clusters"]) == len(content["methods"]["tuned"]["reward"])
    table = (tmp_path / "out" / "rewards.md").read_text()
    assert "| 6:2:2: tuned − best of 5 | " in table
    assert (tmp_path / "out" / "rewards.png").stat().st_size > 10_000
    assert (run.step("warm_start") / "model").is_dir()  # of all settings, and still there
    capsys.readouterr()
    real_rewards.main(words)
    assert "skipped: " in capsys.readouterr().out


def test_the_table_by_hand():
    values = {key: [0.5, 0.25] for key in ("reward", *real_rewards.MEASURES)}
    higher = values | {"reward": [0.75, 0.5]}
    methods = {"warm start": values, "best of 5": values, "tuned": higher}
    run = {"setting": "6:2:2", "methods": methods, "clusters": [0, 1]}
    text = real_rewards.table([run])
    assert "| 6:2:2 | tuned | 0.625 | 0.375 | 0.375 | 0.375 |" in text
    assert (
        "| 6:2:2: tuned − best of 5 | +0.250 (+0.250 … +0.250) | +0.000 (+0.000 … +0.000) |" in text
    )
