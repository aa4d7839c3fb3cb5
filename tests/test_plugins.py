"""A package that only its dist-info announces: found by group and name, usable as reward, filter, metric."""

import pytest
import torch

from r4t.errors import InputError, PluginError
from r4t.filters import Filter
from r4t.metrics import ObjectiveMetric
from r4t.objective import load_objective, objective_class
from r4t.plugins import OBJECTIVES, installed, load
from r4t.reward import Reward

STRANGER = '''
from r4t.objective import Objective

class Thrift(Objective):
    """Share of members that are present."""
    bounds = (0.0, 1.0)

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def score(self, sets):
        return self.scale * sets.mask.float().mean(-1)

class NotOne:
    pass
'''


@pytest.fixture
def stranger(tmp_path, as_installed):
    """Installs a package with one entry point, by default in the group of the objectives."""

    def install(name, value, module=STRANGER, group=OBJECTIVES):
        package = value.split(":")[0]
        as_installed(tmp_path, package, "1.0", {name: value}, group=group)
        (tmp_path / f"{package}.py").write_text(module)

    return install


def test_a_strangers_objective_is_reward_filter_and_metric(stranger, sets_from):
    stranger("thrift", "stranger_objectives:Thrift")
    assert "thrift" in installed(OBJECTIVES)
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
        "Expected an installed objective, but found 'diversty'. "
        f"Installed: {', '.join(installed(OBJECTIVES))}. Did you mean 'diversity'?"
    )


def test_every_group_has_its_own_names(stranger):
    assert installed("r4t.teapots") == {}
    with pytest.raises(InputError, match=r"installed teapot, but found 'thrift'\. Installed: none"):
        load("r4t.teapots", "thrift")
    stranger("thrift", "stranger_teapots:NotOne", group="r4t.teapots")
    assert load("r4t.teapots", "thrift").__name__ == "NotOne"
    assert list(installed("r4t.teapots")) == ["thrift"]
    assert "thrift" not in installed(OBJECTIVES)


def test_a_plugin_that_cannot_be_imported_shows_its_own_error(stranger):
    stranger("broken", "broken_objectives:Thrift", "1 / 0")
    sentence = r"'broken' to be importable from broken_objectives:Thrift, but found ZeroDivisionErr"
    with pytest.raises(PluginError, match=sentence) as caught:
        objective_class("broken")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_constructor_that_fails_shows_its_own_error():
    sentence = r"'diversity' of r4t_objectives.diversity to accept .* found TypeError: .*'order'"
    with pytest.raises(PluginError, match=sentence) as caught:
        load_objective("diversity", order=2.0)
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_class_that_is_no_objective_is_refused(stranger):
    stranger("wrong", "stranger_objectives:NotOne")
    sentence = "'wrong' to be a subclass of r4t.objective.Objective, but found .*NotOne"
    with pytest.raises(InputError, match=sentence):
        objective_class("wrong")


def test_a_name_registered_twice_is_refused(stranger):
    stranger("diversity", "stranger_objectives:Thrift")
    with pytest.raises(
        InputError, match=r"name of its own, but found 'diversity' .*stranger_objectives:Thrift"
    ):
        installed(OBJECTIVES)


def test_scores_may_have_any_float_type(stranger, sets_from):
    double = STRANGER.replace("self.scale *", "self.scale * 1.0 *").replace(".float()", ".double()")
    stranger("thrift", "stranger_objectives:Thrift", double)
    sets = sets_from([[[1, 0]]], [[[1, 0]]])
    assert load_objective("thrift")(sets).dtype == torch.float64
