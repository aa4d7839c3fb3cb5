"""What the site is built from: links that leave the docs, equations that must exist, whole tables."""

import sys

import pytest

from r4t.support.configs import configs_folder
from tests.docs.blocks import ROOT

pytest.importorskip("latex2mathml", reason="make docs-test installs it")
pytest.importorskip("nbconvert", reason="make docs-test installs it")
sys.path.insert(0, str(ROOT / "docs" / "site"))

import api_pages
import config_pages
import equations
import objectives_table
import stage

pytestmark = pytest.mark.docs


@pytest.mark.parametrize(
    "page, link, there",
    [
        ("index.md", "concepts.md", "concepts.md"),
        ("recipes/tune.md", "../tuning.md#models", "../tuning.md#models"),
        ("recipes/tune.md", "https://arxiv.org/x", "https://arxiv.org/x"),
        ("results.md", "../benchmarks/results/a.png", "benchmarks/results/a.png"),
        ("recipes/x.md", "../../benchmarks/results/b", "../benchmarks/results/b/index.md"),
        (
            "recipes/x.md",
            "../../configs/paper/wscr/1_tune.yaml",
            "../reference/configs.md#paper-wscr-1-tune",
        ),
        ("index.md", "../nowhere.txt", "nowhere.txt"),  # the strict build says that it is not there
    ],
)
def test_links_that_leave_the_docs_find_their_place(page, link, there):
    pages = {"benchmarks/results/a.png": b"", "benchmarks/results/b/index.md": ""}
    assert stage.mended(f"see [it]({link}).", page, pages) == f"see [it]({there})."


def test_every_equation_has_its_function_and_test():
    assert {row["number"] for row in equations.equations()} >= {str(n) for n in range(1, 10)}


@pytest.mark.parametrize(
    "line, said",
    [
        ("code: r4t.reward.Rewrad", "found nothing to import there"),
        ("test: tests/test_uses.py::test_nothing", "found no such test"),
        ("tset: tests/test_uses.py::test_nothing", "An equation has"),
    ],
)
def test_an_equation_without_them_ends_the_build(tmp_path, monkeypatch, line, said):
    name = line.split(":")[0].replace("tset", "test")
    text = equations.FILE.read_text(encoding="utf-8")
    first = next(found for found in text.splitlines() if found.strip().startswith(f"{name}:"))
    (tmp_path / "equations.yaml").write_text(text.replace(first, f"  {line}", 1), encoding="utf-8")
    monkeypatch.setattr(equations, "FILE", tmp_path / "equations.yaml")
    with pytest.raises(RuntimeError, match=said):
        equations.equations()


def test_a_missing_number_ends_the_build(tmp_path, monkeypatch):
    text = equations.FILE.read_text(encoding="utf-8").replace('number: "6"', 'number: "5"')
    (tmp_path / "equations.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(equations, "FILE", tmp_path / "equations.yaml")
    with pytest.raises(RuntimeError, match=r"found none of \['6'\]"):
        equations.equations()


def test_every_config_is_shown():
    text = config_pages.config_page()["reference/configs.md"]
    paths = sorted(configs_folder().rglob("*.yaml"))
    assert paths
    assert all(path.read_text(encoding="utf-8").rstrip() in text for path in paths)


def test_every_installed_objective_has_a_row():
    text = objectives_table.objectives_page()["reference/objectives.md"]
    assert "| [`groundedness`][r4t_objectives.groundedness.Groundedness] |" in text
    assert text.count("\n| [`") == 11


def test_the_api_has_every_public_module():
    text = "".join(api_pages.api_pages().values())
    told = {line.removeprefix("::: ") for line in text.splitlines() if line.startswith("::: ")}
    there = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "r4t").rglob("*.py")
        if api_pages.defines(path)
    }
    left_out = {name for name in there - told if name.split(".")[1] not in api_pages.UNTOLD}
    assert left_out == set()
