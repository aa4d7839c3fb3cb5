"""Code blocks of README and docs: Python runs, TOML and YAML build, commands are such as r4t takes."""

import contextlib
import io
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from r4t.__main__ import LIGHTNING_VERBS, VERBS
from r4t.__main__ import run as run_verb
from r4t.catalog import write_catalog
from r4t.cli.evaluate import parser as evaluate_parser
from r4t.data.queries import write_queries
from r4t.data.wardrobe import SMALLEST, generate
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.encoder import LsaEncoder
from r4t.reward import Reward
from r4t.run import Run

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(*languages):
    """(page:number, text) of every block in one of the languages."""
    found = []
    for page in PAGES:
        for number, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8"))):
            if match[1] in languages:
                found.append(pytest.param(match[2], id=f"{page.name}:{number}"))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with runs/quickstart, as `r4t quickstart` leaves it but small and untrained."""
    folder = tmp_path_factory.mktemp("docs")
    wardrobe = generate(0, SMALLEST)
    encoder = LsaEncoder.fit(wardrobe.items.texts, dim=16)
    run = folder / "runs" / "quickstart"
    write_catalog(run / "catalog", wardrobe.items, encoder.encode(wardrobe.items.texts), encoder)
    write_queries(run / "queries", wardrobe.oar)
    Run.begin(run)
    network = SetTransformer(16, width=16, mlp_width=16, heads=2, layers=1, set_size=12)
    DirectionGenerator(network).save(run / "distill" / "model")
    return folder


@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text, place, monkeypatch):
    monkeypatch.chdir(place)
    exec(compile(text, "block", "exec"), {})


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_parses(text):
    assert tomllib.loads(text)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_builds_what_it_names(text, monkeypatch):
    monkeypatch.delenv("R4T_JUDGE_MODEL", raising=False)
    told = yaml.safe_load(text)
    if "reward" in told:
        parser = ArgumentParser()
        parser.add_subclass_arguments(Reward, "reward")
        built = parser.instantiate_classes(parser.parse_object(told)).reward
        assert set(built.weights) == set(told["reward"]["init_args"]["weights"])
    else:
        parser = evaluate_parser()
        built = parser.instantiate_classes(parser.parse_object({"run": "runs/toy", **told}))
        assert {name: getattr(built, name) for name in told if name != "objectives"} == {
            name: value for name, value in told.items() if name != "objectives"
        }
        assert set(built.objectives) == set(told.get("objectives", {}))


@cache
def help_of(verb):
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        run_verb([verb, "--help"])
    return printed.getvalue()


def commands(text):
    """Words of each `r4t` command of a block."""
    for line in text.replace("\\\n", " ").splitlines():
        with contextlib.suppress(ValueError):
            words = shlex.split(line, comments=True)
            if words[:1] == ["r4t"]:
                yield words[1:]


@pytest.mark.parametrize("text", blocks("bash"))
def test_commands_are_such_as_the_program_takes(text):
    for verb, *words in commands(text):
        assert verb in VERBS
        if verb not in LIGHTNING_VERBS:  # their options are those of the configs, which are built
            flags = {word.split("=")[0].split(".")[0] for word in words if word.startswith("--")}
            known = set(re.findall(r"--[\w-]+", help_of(verb)))
            assert flags <= known, f"r4t {verb} takes {sorted(known)}"
