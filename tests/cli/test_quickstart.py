import json

import pytest

from r4t.cli.arguments import verb_parser
from r4t.cli.quickstart import commands, is_begun, run
from r4t.errors import InputError
from r4t.support.interruption import Interrupted


def begin(folder, origin):
    (folder / "catalog").mkdir(parents=True)
    (folder / "catalog" / "catalog.json").write_text(json.dumps({"origin": origin}))
    (folder / "run.json").write_text("{}")
    return str(folder)


def test_a_run_on_other_data_is_never_replaced(tmp_path):
    wardrobe = begin(tmp_path / "a", {"name": "wardrobe", "seed": 0, "size": 6000})
    mine = begin(tmp_path / "b", None)
    assert not is_begun(str(tmp_path / "none"), None, 0)
    assert is_begun(wardrobe, None, 0)
    assert is_begun(mine, "items.jsonl", 0)
    for folder, source, seed in (
        (wardrobe, None, 1),
        (wardrobe, "items.jsonl", 0),
        (mine, None, 0),
    ):
        with pytest.raises(InputError, match="to keep its catalog, .* Name another folder"):
            is_begun(folder, source, seed)


def test_the_steps_of_the_method_in_order():
    words = ["--run", "runs/x", "--task", "wscr", "--source", "folder", "--seed", "3"]
    steps = commands(verb_parser("quickstart").parse_args(words))
    assert [command[0] for command in steps] == STEPS
    assert steps[1][-2:] == ["--sets", "folder"]
    for step in steps[2:8]:
        assert step[step.index("--run") + 1] == "runs/x"
        assert step[step.index("--seed_everything") + 1] == "3"
        assert sum("wscr" in word for word in step) == 1


def test_what_is_learned_from_depends_on_what_the_data_has():
    """The wardrobe has a judge, tasks with sets have references, other catalogs have neither."""
    for words, overlay in (([], "shopper"), (["--source", "items.jsonl"], None)):
        steps = commands(verb_parser("quickstart").parse_args(["--run", "x", *words]))
        names = ["1_tune", "2_synthesize", "5_refine"]
        for step in steps[2:8]:
            laid = [word for word in step if "shopper" in word]
            wanted = overlay is not None and any(f"toy/{name}" in " ".join(step) for name in names)
            assert len(laid) == wanted


STEPS = ["catalog", "queries", "fit", "fit", "synthesize", "fit", "fit", "fit", "evaluate"]


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Verbs that do nothing but begin a run, and are stopped where a test wishes."""
    calls: list[list[str]] = []
    stop_at = [None]

    def run_verb(command):
        calls.append(command)
        if len(calls) == 1 and command[0] == "catalog":
            begin(tmp_path / "run", {"name": "wardrobe", "seed": 0})
        if len(calls) == stop_at[0]:
            raise Interrupted("stopped at step 3")

    monkeypatch.setattr("r4t.__main__.run", run_verb)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("r4t.cli.quickstart._show", lambda options: None)
    return calls, stop_at


def test_a_quickstart_goes_on_where_it_was_stopped(called, capsys):
    calls, stop_at = called
    stop_at[0] = 4
    with pytest.raises(Interrupted) as stop:
        run(["--run", "run", "--seed", "0"])
    assert str(stop.value) == (
        "stopped in step 4 of 9 (fit 1_tune); earlier steps are kept; resume with: "
        "r4t quickstart --run run --seed 0 --resume"
    )
    assert [command[0] for command in calls] == STEPS[:4]
    assert "\n[4/9] r4t fit " in capsys.readouterr().out
    tune = calls[3]
    calls.clear()
    stop_at[0] = None
    run(["--run", "run", "--seed", "0", "--resume"])
    assert [command[0] for command in calls] == STEPS[3:]
    assert calls[0] == [*tune, "--ckpt_path", "last"]
    assert "--ckpt_path" not in calls[2]
    printed = capsys.readouterr().out
    assert printed.count("(already done)") == 3
    # All is done now; without --resume the steps are made again, on the same catalog.
    calls.clear()
    run(["--run", "run", "--resume"])
    assert calls == []
    run(["--run", "run"])
    assert [command[0] for command in calls] == STEPS[1:]


def test_a_step_with_other_settings_or_configs_is_made_again(called, tmp_path):
    calls, _ = called
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("trainer: {max_steps: 3}\n")
    run(["--run", "run", "--overlay", "mine.yaml"])
    calls.clear()
    overlay.write_text("trainer: {max_steps: 4}\n")
    run(["--run", "run", "--overlay", "mine.yaml", "--resume"])
    # What is made of them, too.
    assert [command[0] for command in calls] == STEPS[2:]


def test_the_split_of_the_source():
    words = ["--run", "x", "--task", "wscr", "--source", "folder", "--split", "official"]
    steps = commands(verb_parser("quickstart").parse_args(words))
    assert steps[1][-4:] == ["--sets", "folder", "--split", "official"]
    with pytest.raises(InputError, match=r"--source and --task wscr with --split, .* Add them"):
        run(["--source", "folder", "--split", "official"])
