import json

import pytest

from r4t.cli.quickstart import commands, is_begun
from r4t.errors import InputError


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
    for run, source, seed in ((wardrobe, None, 1), (wardrobe, "items.jsonl", 0), (mine, None, 0)):
        with pytest.raises(InputError, match="A run keeps its catalog — .* name another folder"):
            is_begun(run, source, seed)


def test_the_steps_of_the_method_in_order():
    found = commands("runs/x", "wscr", "folder", seed=3, smoke=False)
    verbs = ["catalog", "queries", "fit", "fit", "synthesize", "fit", "fit", "evaluate"]
    assert [command[0] for command in found] == verbs
    assert found[1][-2:] == ["--sets", "folder"]
    for step in found[2:7]:
        assert step[step.index("--run") + 1] == "runs/x"
        assert step[step.index("--seed_everything") + 1] == "3"
        assert sum("wscr" in word for word in step) == 1
