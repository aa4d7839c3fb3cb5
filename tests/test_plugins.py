"""A stranger's objective, found from a distribution folder alone, works in all three doors."""

import sys
from pathlib import Path

import pytest
import torch

from r4t.errors import InputError
from r4t.filters import Filter
from r4t.metrics import ObjectiveMetric
from r4t.plugins import installed, load_objective, objective_class
from r4t.reward import Reward

STRANGER = '''
from r4t.objective import Objective

class Thrift(Objective):
    """Share of members that are there."""
    bounds = (0.0, 1.0)

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def score(self, sets):
        return self.scale * sets.mask.float().mean(-1)

class NotOne:
    pass
'''


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch):
    """Install a package by writing the files that an installer would leave."""

    def install(points: str, module: str = STRANGER, name: str = "stranger_objectives") -> None:
        (tmp_path / f"{name}.py").write_text(module)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[r4t.objectives]\n{points}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)

    return install


def test_a_strangers_objective_is_reward_filter_and_metric(stranger, sets_from):
    stranger("thrift = stranger_objectives:Thrift")
    assert "thrift" in installed()
    sets = sets_from(
        [[[1, 0], [0, 1]]] * 2, [[[1, 0], [0, 1]]] * 2, mask=[[True, True], [True, False]]
    )
    reward, components = Reward({"thrift": 2.0, "diversity": 0.0})(sets)
    assert reward.tolist() == [2.0, 1.0]
    assert components["thrift"].tolist() == [1.0, 0.5]
    assert Filter(floor=0.75)(components["thrift"].view(1, 2)).kept.tolist() == [[True, False]]
    metric = ObjectiveMetric(load_objective("thrift", scale=0.5))
    metric.update(sets)
    assert metric.compute().item() == pytest.approx(0.375)


def test_an_unknown_objective_names_the_nearest():
    with pytest.raises(InputError) as caught:
        load_objective("diversty")
    assert str(caught.value) == (
        f"Objective 'diversty' is not installed. Installed: {', '.join(installed())}. "
        "Did you mean 'diversity'?"
    )


def test_a_broken_plugin_shows_its_own_error(stranger):
    stranger("broken = broken_objectives:Thrift", "1 / 0", "broken_objectives")
    with pytest.raises(InputError, match=r"could not be imported .*ZeroDivisionError") as caught:
        objective_class("broken")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_class_that_is_no_objective_is_refused(stranger):
    stranger("wrong = stranger_objectives:NotOne")
    with pytest.raises(InputError, match="must be a subclass of r4t.objective.Objective"):
        objective_class("wrong")


def test_a_name_taken_twice_is_refused(stranger):
    stranger("diversity = stranger_objectives:Thrift")
    with pytest.raises(InputError, match="must belong to one package — 'diversity'"):
        installed()


def test_scores_may_have_any_float_type(stranger, sets_from):
    double = STRANGER.replace("self.scale *", "self.scale * 1.0 *").replace(".float()", ".double()")
    stranger("thrift = stranger_objectives:Thrift", double)
    sets = sets_from([[[1, 0]]], [[[1, 0]]])
    assert load_objective("thrift")(sets).dtype == torch.float64
