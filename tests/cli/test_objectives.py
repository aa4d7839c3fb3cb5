"""``r4t objectives``: every installed objective, one in full, and whose the broken ones are."""

import inspect
import json
import sys

import pytest
import yaml
from jsonargparse import ArgumentParser

from r4t.__main__ import run as run_verb
from r4t.errors import InputError, PluginError
from r4t.objective import objective_class
from r4t.plugins import OBJECTIVES, installed
from r4t.reward import Reward

STRANGE = '''
import functools
from enum import Enum

from r4t.errors import InputError, PluginError
from r4t.objective import Objective

class Pick(Objective):
    """Whatever is picked: [bold] words.

    More of it.
    """
    bounds = (0.0, 2.0)

    def __init__(self, column, weights=(1, 2), floor=None):
        self.column = column

    def score(self, sets):
        return sets.mask.float().mean(-1)

class Level(Enum):
    LOW = 1

class Sound(Pick):
    """Whose bounds arguments decide."""
    example = {"column": "season"}

    def __init__(self, column, level=Level.LOW):
        self.column = column

    @functools.cached_property
    def bounds(self):
        return (0.0, float(len(self.column)))

class Choosy(Pick):
    """Which wants rules, or a key in the environment."""
    def __init__(self, level=Level.LOW):
        raise InputError("A rule is needed, found none; give one.")

class NoBounds(Objective):
    def score(self, sets):
        return sets.mask.float().mean(-1)

class NoScore(Objective):
    bounds = (0.0, 1.0)

class Upside(NoBounds):
    bounds = (1.0, 0.0)

class Wants(NoBounds):
    bounds = (0.0, 1.0)
    needs = frozenset({"weather"})

class Number(NoBounds):
    bounds = 1.0

class Endless(NoBounds):
    bounds = (0.0, float("inf"))

class Listed(Pick):
    needs = ["directions"]

class Fragile(NoBounds):
    @property
    def bounds(self):
        raise KeyError("season")

class Lost(Pick):
    def __init__(self, path="here"):
        raise RuntimeError("no file")

class Sunk(Pick):
    def __init__(self):
        raise PluginError("The plug-in of the plug-in is gone.")

class Plain:
    pass
'''
BOUNDS = "must declare bounds, its lowest and highest score, both finite — found"
BROKEN = {
    "nobounds": ("strange:NoBounds", f"{BOUNDS} None; write"),
    "noscore": ("strange:NoScore", "it must define score; add it."),
    "upside": ("strange:Upside", f"{BOUNDS} (1.0, 0.0); write"),
    "wants": ("strange:Wants", "needs ['weather'], which no SetBatch has — the optional fields"),
    "number": ("strange:Number", f"{BOUNDS} 1.0; write"),
    "endless": ("strange:Endless", f"{BOUNDS} (0.0, inf); write"),
    "listed": ("strange:Listed", "declare needs as a set of field names — found ['directions']"),
    "fragile": ("strange:Fragile", "KeyError: 'season'"),
    "lost": ("strange:Lost", "RuntimeError: no file; leave it out, or tell those who wrote it."),
    "sunk": ("strange:Sunk", "The plug-in of the plug-in is gone."),
    "plain": (
        "strange:Plain",
        "must be a subclass of r4t.objective.Objective, found strange:Plain",
    ),
    "gone": ("nowhere:Gone", "could not be imported from nowhere:Gone (ModuleNotFoundError"),
}


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A package of one sound objective and of all that can be wrong with one."""
    folder = tmp_path / "site"
    info = folder / "strange-2.5.dist-info"
    info.mkdir(parents=True)
    (folder / "strange.py").write_text(STRANGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 2.5\n")
    points = {name: path for name, (path, _) in BROKEN.items()}
    points |= {name.lower(): f"strange:{name}" for name in ("Pick", "Sound", "Choosy")}
    lines = "".join(f"{name} = {path}\n" for name, path in points.items())
    (info / "entry_points.txt").write_text(f"[r4t.objectives]\n{lines}")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "strange", raising=False)


@pytest.fixture
def told(capsys):
    """Runs ``r4t objectives`` → what it prints."""

    def call(*arguments):
        capsys.readouterr()
        run_verb(["objectives", *arguments])
        return capsys.readouterr().out

    return call


def test_every_installed_objective_is_listed(told):
    printed = told()
    for name in installed(OBJECTIVES):
        assert any(line.startswith(f"{name} ") for line in printed.splitlines()), name
    assert "broken" not in printed
    line = next(line for line in printed.splitlines() if line.startswith("alignment "))
    assert line.split()[:7] == ["alignment", "-1", "…", "1", "directions", "yes", "r4t"]
    assert max(map(len, printed.splitlines())) <= 120


def test_json_holds_what_the_classes_say(told):
    listed = json.loads(told("--json"))
    assert [entry["name"] for entry in listed] == list(installed(OBJECTIVES))
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["coverage"] == {
        "name": "coverage",
        "origin": f"r4t {installed(OBJECTIVES)['coverage'].dist.version}",
        "class_path": "r4t_objectives.coverage.Coverage",
        "what": inspect.getdoc(objective_class("coverage")).split("\n")[0],
        "range": [0.0, 1.0],
        "needs": ["pool", "references"],
        "differentiable": False,
        "broken": "",
    }
    assert by_name["coherence"]["range"] == [-1.0, 1.0]  # as built without arguments
    assert by_name["diversity"]["differentiable"] is True


def test_one_in_full(told):
    printed = told("complementarity")
    assert inspect.getdoc(objective_class("complementarity")) in printed
    for text in ("0 … 1, higher is better", "needs     catalog", "field: str = 'category'"):
        assert text in printed
    full = json.loads(told("complementarity", "--json"))
    assert full["arguments"] == {"field": "field: str = 'category'"}
    assert full["name"] == "complementarity"
    with pytest.raises(InputError, match="'diversty' is not installed.*Did you mean 'diversity'"):
        told("diversty")


@pytest.mark.parametrize("name", installed(OBJECTIVES))
def test_the_examples_can_be_used_as_they_are(told, name, monkeypatch):
    monkeypatch.setenv("R4T_JUDGE_MODEL", "a-model")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    examples = json.loads(told(name, "--json"))["examples"]
    reward, filtered, metric = examples.values()
    parser = ArgumentParser()
    parser.add_subclass_arguments(Reward, "reward")
    for text in (reward, filtered):
        given = yaml.safe_load(text)["model"]["init_args"]
        parsed = parser.instantiate_classes(parser.parse_object({"reward": given["reward"]}))
        assert parsed.reward.weights == {name: 1.0}
        assert type(parsed.reward.objectives[name]) is objective_class(name)
    if name == "coverage":
        assert "measured wherever queries have references" in metric
        return
    from r4t.report.evaluation import Evaluation

    parser = ArgumentParser()
    parser.add_class_arguments(Evaluation)
    settings = parser.parse_object(yaml.safe_load(metric))
    evaluation = Evaluation(**vars(parser.instantiate_classes(settings)))
    assert name in evaluation.reward().objectives


def test_a_strangers_objective_with_arguments(stranger, told):
    line = next(line for line in told().splitlines() if line.startswith("pick "))
    assert "strange 2.5" in line
    assert "[bold] words" in line  # no markup
    full = json.loads(told("pick", "--json"))
    assert (full["range"], full["needs"], full["differentiable"]) == ([0.0, 2.0], [], False)
    assert list(full["arguments"]) == ["column", "weights", "floor"]
    built = yaml.safe_load(next(iter(full["examples"].values())))["model"]["init_args"]["reward"]
    assert built["init_args"]["objectives"]["pick"] == {
        "class_path": "strange.Pick",
        "init_args": {"column": "COLUMN"},
    }


def test_broken_ones_say_whose_they_are_and_why(stranger, told):
    listed = {entry["name"]: entry for entry in json.loads(told("--json"))}
    printed = " ".join(told().split())
    for name, (path, reason) in BROKEN.items():
        assert reason in listed[name]["broken"]
        assert listed[name]["origin"] == "strange 2.5"
        whose = f"broken: '{name}' of strange 2.5 ({path.replace(':', '.')}): "
        assert whose + listed[name]["broken"] in printed
    for name, kind, sentence in (
        ("upside", InputError, r"must declare bounds, .* found \(1.0, 0.0\)"),
        ("noscore", InputError, "it must define score; add it"),
        ("lost", PluginError, "RuntimeError: no file; leave it out"),
        ("fragile", PluginError, "KeyError: 'season'"),
        ("sunk", PluginError, "plug-in of the plug-in"),
    ):
        for form in ((), ("--json",)):
            with pytest.raises(
                InputError, match=f"'{name}' of strange 2.5 is broken: .*{sentence}"
            ) as caught:
                told(name, *form)
            assert type(caught.value) is kind
            assert caught.value.__cause__ is not None
    with pytest.raises(PluginError, match="'gone' .*ModuleNotFoundError"):
        told("gone")


def test_a_reward_refuses_what_the_list_calls_broken(stranger, told):
    listed = {entry["name"]: entry["broken"] for entry in json.loads(told("--json"))}
    for name in (*BROKEN, "pick", "sound"):
        try:
            found = objective_class(name)
            wants = "column" in inspect.signature(found).parameters
            Reward({name: 1.0}, {name: found(column="x") if wants else found()})
        except (InputError, TypeError, RuntimeError, KeyError):
            assert listed[name], name
        else:
            assert not listed[name], name


def test_those_that_want_arguments_are_not_broken(stranger, told):
    listed = {entry["name"]: entry for entry in json.loads(told("--json"))}
    assert not any(listed[name]["broken"] for name in ("pick", "sound", "choosy"))
    assert listed["sound"]["range"] is None  # its arguments decide
    assert listed["choosy"]["range"] == [0.0, 2.0]
    told_of = json.loads(told("sound", "--json"))
    built = yaml.safe_load(next(iter(told_of["examples"].values())))["model"]["init_args"]["reward"]
    assert built["init_args"]["objectives"]["sound"]["init_args"] == {"column": "season"}
    assert "level: LOW" in next(iter(json.loads(told("choosy", "--json"))["examples"].values()))


def test_a_name_taken_twice_is_one_sentence(stranger, told, tmp_path):
    (tmp_path / "site" / "strange-2.5.dist-info" / "entry_points.txt").write_text(
        "[r4t.objectives]\ndiversity = strange:Pick\n"
    )
    with pytest.raises(InputError, match="must belong to one package — 'diversity' is registered"):
        told()
