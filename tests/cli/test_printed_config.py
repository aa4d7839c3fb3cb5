"""Configs that are printed: commented, short, and the same when they are loaded again."""

import re
from dataclasses import fields

import docstring_parser
import pytest
import yaml

from r4t.cli.printed_config import shortened
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
    def ask(*arguments):
        code, out, err = program(*arguments)
        assert code == 0, err
        return out

    return ask


@pytest.mark.parametrize("name", ["0_warm_start", "1_tune", "3_distill", "4_accelerate"])
def test_it_loads_again_as_the_same(printed, tmp_path, name):
    given = ["fit", "--config", TOY / f"{name}.yaml", "--trainer.max_steps", "7"]
    again = tmp_path / "again.yaml"
    again.write_text(printed(*given, "--print_config"), encoding="utf-8")
    assert yaml.safe_load(again.read_text())["trainer"]["max_steps"] == 7
    whole = [*given, "--print_config=skip_unset"]
    assert printed("fit", "--config", again, "--print_config=skip_unset") == printed(*whole)


def test_each_key_has_one_sentence_and_defaults_of_the_trainer_are_left_out(printed):
    given = ["fit", "--config", TOY / "1_tune.yaml"]
    lines = printed(*given, "--print_config").splitlines()
    assert "run: runs/toy" in lines
    assert "  check_val_every_n_epoch:" in lines  # set to null, which is not its default
    assert lines[0] == "# r4t fit --config FILE"
    place = lines.index("      group_size: 8")
    assert lines[place - 1].startswith("      # ")
    assert lines[place - 1].endswith("(int, default: 8)")
    assert max(map(len, lines)) <= 100
    assert "" not in lines
    assert not any("limit_train_batches" in line for line in lines)
    assert not any("known subclasses" in line for line in lines)
    everything = printed(*given, "--print_config=all").splitlines()
    assert any("limit_train_batches" in line for line in everything)
    assert len(everything) > len(lines)


@pytest.mark.parametrize("setting", ["toy", "wscr"])
@pytest.mark.parametrize("verb, name", STEPS)
def test_each_key_of_ours_has_a_sentence(printed, setting, verb, name):
    over = [] if setting == "toy" else ["--config", TOY.parent / setting / f"{name}.yaml"]
    lines = printed(verb, "--config", TOY / f"{name}.yaml", *over, "--print_config").splitlines()
    inside, comment, bare = list[tuple[int, str]](), "", list[tuple[str, str]]()
    for line in lines:
        indent = len(line) - len(line.lstrip(" -"))
        inside = [(left, path) for left, path in inside if left <= indent]
        if line.lstrip().startswith("#"):
            comment += line.lstrip()
            continue
        found = re.fullmatch(r"[ -]*class_path: (\S+)", line)
        if found is not None:
            inside = [*((left, path) for left, path in inside if left < indent), (indent, found[1])]
        elif inside and inside[-1][1].startswith("r4t") and re.match(r"# *\(", comment):
            bare.append((inside[-1][1], line.strip()))
        assert not comment.startswith("#  ")
        comment = ""
    assert bare == []


@pytest.mark.parametrize("made", [*Schedule.__subclasses__(), *Sampler.__subclasses__()])
def test_settings_of_schedules_and_samplers_have_a_sentence(made):
    told = {one.arg_name: one.description for one in docstring_parser.parse(made.__doc__).params}
    assert all(told.get(field.name) for field in fields(made))


def test_what_another_package_runs_together_is_taken_apart(printed):
    lines = printed("fit", "--config", TOY / "1_tune.yaml", "--print_config").splitlines()
    place = lines.index("seed_everything: 0")
    sentence = " ".join(line.lstrip("# ") for line in lines[1:place])
    assert sentence == (
        "Set to an int to run seed_everything with this value before classes instantiation. "
        "(Union[bool, int], default: 0)"
    )


def test_a_key_without_a_sentence_has_its_type(printed):
    lines = printed("fit", "--config", TOY / "3_distill.yaml", "--print_config").splitlines()
    assert lines[lines.index("      decay: 0.99") - 1] == "      # (float, default: 0.999)"


def test_that_of_evaluate(printed, tmp_path):
    text = printed("evaluate", "--config", TOY / "5_evaluate.yaml", "--print_config")
    assert "# Items k a method returns. (int" in text or "# Items k a method returns." in text
    path = tmp_path / "again.yaml"
    path.write_text(text, encoding="utf-8")
    whole = "--print_config=skip_unset"
    again = printed("evaluate", "--config", path, whole)
    assert again == printed("evaluate", "--config", TOY / "5_evaluate.yaml", whole)


def test_long_help_is_cut_to_its_first_sentence():
    config = (
        "# Of the program.\n\nmodel:\n\n"
        "    # The rate. At most 1.\n    # And so on. (required, type: Optional[float], default: "
        "null, known subclasses: a.B, a.C)\n    rate: 0.1\n"
    )
    assert shortened(config, "r4t fit") == (
        "# r4t fit --config FILE\nmodel:\n    # The rate. (Optional[float], default: null)\n"
        "    rate: 0.1\n"
    )
