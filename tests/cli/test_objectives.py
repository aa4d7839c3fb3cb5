"""``r4t objectives`` lists every installed objective, shows one in full, and explains broken ones."""

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
    """Share of picked items: [bold] words.

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
    """Bounds that depend on arguments."""
    example = {"column": "season"}

    def __init__(self, column, level=Level.LOW):
        self.column = column

    @functools.cached_property
    def bounds(self):
        return (0.0, float(len(self.column)))

class Choosy(Pick):
    """Needs rules, or a key in the environment."""
    def __init__(self, level=Level.LOW):
        raise InputError(expected="a rule", found="none", remedy="Pass one.")

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
        raise PluginError(expected="its own plug-in", found="none", remedy="Install it.")

class Plain:
    pass
'''
BOUNDS = "to declare bounds, two finite numbers, the lower first, but found"
BROKEN = {
    "nobounds": ("strange:NoBounds", f"{BOUNDS} None. Write"),
    "noscore": (
        "strange:NoScore",
        "to define score, but found no definition in strange.NoScore. Add it.",
    ),
    "upside": ("strange:Upside", f"{BOUNDS} (1.0, 0.0). Write"),
    "wants": ("strange:Wants", "fields of SetBatch, but found ['weather'] in its needs. Choose"),
    "number": ("strange:Number", f"{BOUNDS} 1.0. Write"),
    "endless": ("strange:Endless", f"{BOUNDS} (0.0, inf). Write"),
    "listed": ("strange:Listed", "declare needs as a set of field names, but found ['directions']"),
    "fragile": ("strange:Fragile", "KeyError: 'season'"),
    "lost": (
        "strange:Lost",
        "but found RuntimeError: no file. Remove it, or report this to its author.",
    ),
    "sunk": ("strange:Sunk", "Expected its own plug-in, but found none. Install it."),
    "plain": (
        "strange:Plain",
        "to be a subclass of r4t.objective.Objective, but found <class 'strange.Plain'>",
    ),
    "gone": ("nowhere:Gone", "to be importable from nowhere:Gone, but found ModuleNotFoundError"),
}


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A package with three sound objectives, and one for everything that can be wrong."""
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
def printed_by(capsys):
    """Runs ``r4t objectives`` → what it prints."""

    def call(*arguments):
        capsys.readouterr()
        run_verb(["objectives", *arguments])
        return capsys.readouterr().out

    return call


def test_every_installed_objective_is_listed(printed_by):
    printed = printed_by()
    for name in installed(OBJECTIVES):
        assert any(line.startswith(f"{name} ") for line in printed.splitlines()), name
    assert "broken" not in printed
    line = next(line for line in printed.splitlines() if line.startswith("alignment "))
    assert line.split()[:7] == ["alignment", "-1", "…", "1", "directions", "yes", "r4t"]
    assert max(map(len, printed.splitlines())) <= 120


def test_json_holds_what_the_classes_say(printed_by):
    listed = json.loads(printed_by("--json"))
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


def test_one_in_full(printed_by):
    printed = printed_by("complementarity")
    assert inspect.getdoc(objective_class("complementarity")) in printed
    for text in ("0 … 1, higher is better", "needs     catalog", "field: str = 'category'"):
        assert text in printed
    full = json.loads(printed_by("complementarity", "--json"))
    assert full["arguments"] == {"field": "field: str = 'category'"}
    assert full["name"] == "complementarity"
    with pytest.raises(InputError, match="found 'diversty'.*Did you mean 'diversity'"):
        printed_by("diversty")


@pytest.mark.parametrize("name", installed(OBJECTIVES))
def test_the_examples_work_without_any_change(printed_by, name, monkeypatch):
    monkeypatch.setenv("R4T_JUDGE_MODEL", "a-model")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    examples = json.loads(printed_by(name, "--json"))["examples"]
    reward, filtered, metric = examples.values()
    parser = ArgumentParser()
    parser.add_subclass_arguments(Reward, "reward")
    for text in (reward, filtered):
        arguments = yaml.safe_load(text)["model"]["init_args"]
        parsed = parser.instantiate_classes(parser.parse_object({"reward": arguments["reward"]}))
        assert parsed.reward.weights == {name: 1.0}
        assert type(parsed.reward.objectives[name]) is objective_class(name)
    known = {"coverage": "references", "facet_coverage": "gold facets"}
    if name in known:
        assert f"measured wherever queries have {known[name]}" in metric
        return
    from r4t.report.evaluation import Evaluation

    parser = ArgumentParser()
    parser.add_class_arguments(Evaluation)
    settings = parser.parse_object(yaml.safe_load(metric))
    evaluation = Evaluation(**vars(parser.instantiate_classes(settings)))
    assert name in evaluation.reward().objectives


def test_a_strangers_objective_with_arguments(stranger, printed_by):
    line = next(line for line in printed_by().splitlines() if line.startswith("pick "))
    assert "strange 2.5" in line
    assert "[bold] words" in line  # not read as markup
    full = json.loads(printed_by("pick", "--json"))
    assert (full["range"], full["needs"], full["differentiable"]) == ([0.0, 2.0], [], False)
    assert list(full["arguments"]) == ["column", "weights", "floor"]
    built = yaml.safe_load(next(iter(full["examples"].values())))["model"]["init_args"]["reward"]
    assert built["init_args"]["objectives"]["pick"] == {
        "class_path": "strange.Pick",
        "init_args": {"column": "COLUMN"},
    }


def test_broken_objectives_name_their_package_and_the_fault(stranger, printed_by):
    listed = {entry["name"]: entry for entry in json.loads(printed_by("--json"))}
    printed = " ".join(printed_by().split())
    for name, (path, reason) in BROKEN.items():
        assert reason in listed[name]["broken"]
        assert listed[name]["origin"] == "strange 2.5"
        origin = f"broken: '{name}' of strange 2.5 ({path.replace(':', '.')}): "
        assert origin + listed[name]["broken"] in printed
    for name, kind, sentence in (
        ("upside", InputError, r"'upside' to declare bounds, .* found \(1.0, 0.0\)"),
        ("noscore", InputError, "'noscore' to define score, but found no definition"),
        ("lost", PluginError, "'lost' of strange 2.5 to .* found RuntimeError: no file"),
        ("fragile", PluginError, "'fragile' of strange 2.5 to .* found KeyError: 'season'"),
        ("sunk", PluginError, "Expected its own plug-in"),
    ):
        for form in ((), ("--json",)):
            with pytest.raises(InputError, match=sentence) as caught:
                printed_by(name, *form)
            assert type(caught.value) is kind
            causes = {"lost": RuntimeError, "fragile": KeyError}
            assert type(caught.value.__cause__) is causes.get(name, type(None))
    with pytest.raises(PluginError, match="'gone' .*ModuleNotFoundError"):
        printed_by("gone")


def test_a_reward_refuses_what_the_list_calls_broken(stranger, printed_by):
    listed = {entry["name"]: entry["broken"] for entry in json.loads(printed_by("--json"))}
    for name in (*BROKEN, "pick", "sound"):
        try:
            plugin = objective_class(name)
            arguments = {"column": "x"} if "column" in inspect.signature(plugin).parameters else {}
            Reward({name: 1.0}, {name: plugin(**arguments)})
        except (InputError, TypeError, RuntimeError, KeyError):
            assert listed[name], name
        else:
            assert not listed[name], name


def test_objectives_that_need_arguments_are_not_broken(stranger, printed_by):
    listed = {entry["name"]: entry for entry in json.loads(printed_by("--json"))}
    assert not any(listed[name]["broken"] for name in ("pick", "sound", "choosy"))
    assert listed["sound"]["range"] is None  # its arguments decide
    assert listed["choosy"]["range"] == [0.0, 2.0]
    details = json.loads(printed_by("sound", "--json"))
    built = yaml.safe_load(next(iter(details["examples"].values())))["model"]["init_args"]["reward"]
    assert built["init_args"]["objectives"]["sound"]["init_args"] == {"column": "season"}
    assert "level: LOW" in next(
        iter(json.loads(printed_by("choosy", "--json"))["examples"].values())
    )


def test_a_name_registered_twice_is_one_sentence(stranger, printed_by, tmp_path):
    (tmp_path / "site" / "strange-2.5.dist-info" / "entry_points.txt").write_text(
        "[r4t.objectives]\ndiversity = strange:Pick\n"
    )
    with pytest.raises(
        InputError, match="a name of its own, but found 'diversity' registered as both"
    ):
        printed_by()
