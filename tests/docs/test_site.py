"""The site: links, menu, equations, and tables without gaps."""

import re
import sys

import pytest
import yaml

from r4t.support.configs import configs_folder
from tests.docs.blocks import FENCE, PAGES, ROOT

pytest.importorskip("latex2mathml", reason="make docs-test installs it")
pytest.importorskip("nbconvert", reason="make docs-test installs it")
pytest.importorskip("zensical", reason="make docs-test installs it")
sys.path.insert(0, str(ROOT / "docs" / "site"))

import api_pages
import config_pages
import equations
import objectives_table
import site_build
import stage

pytestmark = pytest.mark.docs


@pytest.mark.parametrize(
    "page, link, expected",
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
        ("index.md", "../nowhere.txt", "nowhere.txt"),  # the build fails on it
    ],
)
def test_links_that_leave_the_docs_point_to_their_target_on_the_site(page, link, expected):
    pages = {"benchmarks/results/a.png": b"", "benchmarks/results/b/index.md": ""}
    assert stage.with_site_links(f"see [it]({link}).", page, pages) == f"see [it]({expected})."


NAMES = ["index.md", "a.md", "a.svg", "reference/cli/index.md", "benchmarks/results/b.md"]


def test_the_menu_lists_every_page():
    nav = [{"Home": "index.md"}, {"More": ["a.md", {"Reference": []}]}, {"Reference": []}]
    (*_, reference) = stage.navigation(nav, NAMES)
    command_line, api = reference["Reference"]
    assert command_line == {"Command line": ["reference/cli/index.md"]}
    assert api == {"API": []}


@pytest.mark.parametrize(
    "listed, message",
    [
        (["index.md"], r"lacks \['a.md'\] and lists unknown pages \[\]"),
        (["index.md", "a.md", "b.md"], r"lacks \[\] and lists unknown pages \['b.md'\]"),
    ],
)
def test_a_menu_with_another_page_than_exists_fails_the_build(listed, message):
    with pytest.raises(RuntimeError, match=message):
        stage.navigation([{"Pages": listed}, {"Reference": []}], NAMES)


@pytest.mark.parametrize(
    "markup",
    [
        '<a href="b.html">',
        '<a href="folder/b.html#there">',
        '<a href="#nowhere">',
        '<img src="folder/none.svg">',
        '<script src="none.js">',
    ],
)
def test_a_link_to_nowhere_fails_the_build(tmp_path, markup):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.html").write_text('<a id="here">', encoding="utf-8")
    good = '<a href="#top"> <a href="folder/b.html#here"> <a href="https://arxiv.org/x#y"> <p id="top">'
    (tmp_path / "a.html").write_text(good, encoding="utf-8")
    assert site_build.broken_links(tmp_path) == []
    (tmp_path / "a.html").write_text(good + markup, encoding="utf-8")
    address = markup.split('"')[1]
    assert site_build.broken_links(tmp_path) == [f"a.html: {address} leads nowhere"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("[link](none.md)", "page does not exist"),
        ("[anchor](#none)", "anchor does not exist"),
        ("[`reference`][r4t.none]", "unresolved autoref"),
        ("![image](none.svg)", "index.html: none.svg leads nowhere"),
        (
            "::: undocumented.double",
            r"griffe: .*undocumented.py:\d+: Parameter 'y' does not appear",
        ),
    ],
)
def test_the_build_fails(tmp_path, monkeypatch, text, message):
    page = tmp_path / "docs" / "index.md"
    page.parent.mkdir()
    source = (
        'def double(x: int) -> int:\n    """Twice.\n\n    Args:\n        y: A number.\n    """\n'
    )
    (tmp_path / "undocumented.py").write_text(source, encoding="utf-8")
    page.write_text(f"# Home\n\n{text}\n", encoding="utf-8")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    search, _, api = config["plugins"]
    api["mkdocstrings"]["handlers"]["python"]["paths"] = ["."]
    config |= {"site_dir": "site", "nav": ["index.md"], "extra": {}, "extra_css": []}
    config["plugins"] = [search, api]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setattr(site_build, "BUILD", tmp_path)
    with pytest.raises(SystemExit, match=message):
        site_build.main()


def test_every_equation_has_its_function_and_test():
    assert {row["number"] for row in equations.equations()} >= {str(n) for n in range(1, 10)}


@pytest.mark.parametrize(
    "line, message",
    [
        ("code: r4t.reward.Rewrad", "names r4t.reward.Rewrad, which cannot be imported"),
        ("test: tests/test_uses.py::test_no", "names a missing test, tests/test_uses.py::test_no"),
        ("tset: tests/test_uses.py::test_no", "An equation needs .*'test'.* one has .*'tset'"),
    ],
)
def test_an_equation_without_them_fails_the_build(tmp_path, monkeypatch, line, message):
    name = line.split(":")[0].replace("tset", "test")
    text = equations.FILE.read_text(encoding="utf-8")
    first = next(old for old in text.splitlines() if old.strip().startswith(f"{name}:"))
    (tmp_path / "equations.yaml").write_text(text.replace(first, f"  {line}", 1), encoding="utf-8")
    monkeypatch.setattr(equations, "FILE", tmp_path / "equations.yaml")
    with pytest.raises(RuntimeError, match=message):
        equations.equations()


def test_a_missing_number_fails_the_build(tmp_path, monkeypatch):
    text = equations.FILE.read_text(encoding="utf-8").replace('number: "6"', 'number: "5"')
    (tmp_path / "equations.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(equations, "FILE", tmp_path / "equations.yaml")
    with pytest.raises(RuntimeError, match=r"lacks the paper's equations \['6'\]"):
        equations.equations()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_paths_that_a_page_names_exist(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    paths = set(re.findall(r"`((?:r4t|objectives|tests|docs|configs)/[\w./-]*)`", prose))
    placeholders = {"tests/objectives/test_NAME.py"}
    assert [path for path in sorted(paths - placeholders) if not (ROOT / path).exists()] == []


def test_the_table_of_changes_names_at_least_twelve_files():
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    table = text.partition("## Where things are")[2].partition("## Glossary")[0]
    rows = [line for line in table.splitlines() if re.search(r"\| .*`(r4t|objectives)/", line)]
    assert len(rows) >= 12


def test_every_config_is_shown():
    text = config_pages.config_page()["reference/configs.md"]
    paths = sorted(configs_folder().rglob("*.yaml"))
    assert paths
    assert all(path.read_text(encoding="utf-8").rstrip() in text for path in paths)


def test_every_installed_objective_has_a_row():
    text = objectives_table.objectives_page()["reference/objectives.md"]
    assert "| [`groundedness`][r4t_objectives.groundedness.Groundedness] |" in text
    assert text.count("\n| [`") == 16


def test_the_api_has_every_public_module():
    text = "".join(api_pages.api_pages().values())
    documented = {
        line.removeprefix("::: ") for line in text.splitlines() if line.startswith("::: ")
    }
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "r4t").rglob("*.py")
        if api_pages.defines(path)
    }
    missing = {n for n in modules - documented if n.split(".")[1] not in api_pages.NO_API}
    assert missing == set()
