"""Configs that are printed: with a comment on each key, and the same when they are loaded again."""

import re
from dataclasses import fields

import docstring_parser
import pytest
import yaml

from r4t.diffusion.sampler import Sampler
from r4t.diffusion.schedule import Schedule
from r4t.support.configs import configs_folder

TOY = configs_folder() / "toy"
STEPS = [
    ("fit", "0_warm_start"),
    ("fit", "1_tune"),
    ("synthesize", "2_synthesize"),
    ("fit", "3_distill"),
    ("fit", "4_accelerate"),
]


@pytest.fixture
def printed(program):
    def call(*arguments):
        code, out, err = program(*arguments)
        assert code == 0, err
        return out

    return call


@pytest.mark.parametrize("flag", ["--print_config", "--print_config=comments"])
@pytest.mark.parametrize("name", ["0_warm_start", "1_tune", "3_distill", "4_accelerate"])
def test_it_loads_again_as_the_same(printed, tmp_path, name, flag):
    words = ["fit", "--config", TOY / f"{name}.yaml", "--trainer.max_steps", "7"]
    again = tmp_path / "again.yaml"
    again.write_text(printed(*words, flag), encoding="utf-8")
    assert yaml.safe_load(again.read_text())["trainer"]["max_steps"] == 7
    whole = printed(*words, "--print_config=skip_unset")
    assert printed("fit", "--config", again, "--print_config=skip_unset") == whole


def test_a_comment_has_the_sentence_and_the_type_of_its_key(printed):
    lines = printed("fit", "--config", TOY / "1_tune.yaml", "--print_config=comments").splitlines()
    place = lines.index("  max_steps: 40")
    comment = " ".join(line.strip("# ") for line in lines[place - 3 : place])
    assert comment.startswith("Stop training after this number of steps.")
    assert comment.endswith("(type: int, default: -1)")


@pytest.mark.parametrize("setting", ["toy", "wscr"])
@pytest.mark.parametrize("verb, name", STEPS)
def test_each_key_of_ours_has_a_sentence(printed, setting, verb, name):
    over = [] if setting == "toy" else ["--config", TOY.parent / setting / f"{name}.yaml"]
    words = [verb, "--config", TOY / f"{name}.yaml", *over, "--print_config=comments"]
    inside, comment, bare = list[tuple[int, str]](), "", list[tuple[str, str]]()
    for line in filter(str.strip, printed(*words).splitlines()):
        indent = len(line) - len(line.lstrip(" -"))
        inside = [(left, path) for left, path in inside if left <= indent]
        if line.lstrip().startswith("#"):
            comment += line.lstrip()
            continue
        chosen = re.fullmatch(r"[ -]*class_path: (\S+)", line)
        if chosen is not None:
            outer = ((left, path) for left, path in inside if left < indent)
            inside = [*outer, (indent, chosen[1])]
        elif inside and inside[-1][1].startswith("r4t") and re.match(r"# *\(", comment):
            bare.append((inside[-1][1], line.strip()))
        comment = ""
    assert bare == []


@pytest.mark.parametrize("kind", [*Schedule.__subclasses__(), *Sampler.__subclasses__()])
def test_settings_of_schedules_and_samplers_have_a_sentence(kind):
    texts = {one.arg_name: one.description for one in docstring_parser.parse(kind.__doc__).params}
    assert all(texts.get(field.name) for field in fields(kind))


def test_that_of_evaluate(printed, tmp_path):
    text = printed("evaluate", "--config", TOY / "6_evaluate.yaml", "--print_config=comments")
    assert "# Items k a method returns." in text
    path = tmp_path / "again.yaml"
    path.write_text(text, encoding="utf-8")
    whole = "--print_config=skip_unset"
    again = printed("evaluate", "--config", path, whole)
    assert again == printed("evaluate", "--config", TOY / "6_evaluate.yaml", whole)
