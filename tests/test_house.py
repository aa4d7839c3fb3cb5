"""Workflows, issue forms, hooks, citation, changelog and CONTRIBUTING are correct."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import r4t

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FORMS = sorted(
    path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"
)
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def load(path):
    # Keep strings: YAML 1.1 would read the key `on` as true, and a version as a number.
    return yaml.load((ROOT / path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def steps(path):
    """Steps of a workflow's only job."""
    (job,) = load(path)["jobs"].values()
    return job["steps"]


def targets():
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def test_no_malicious_release_of_lightning_can_be_installed():
    requirements = map(Requirement, PROJECT["dependencies"])
    (lightning,) = [one for one in requirements if one.name == "lightning"]
    # Advisory GHSA-w37p-236h-pfx3.
    assert not any(lightning.specifier.contains(version) for version in ("2.6.2", "2.6.3"))
    pins = re.findall(r"^lightning==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert all(lightning.specifier.contains(pin) for pin in pins)
    assert len(pins) == 1


def test_ci_runs_what_developers_run():
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    commands = [step["run"].strip() for step in steps(".github/workflows/ci.yml") if "run" in step]
    assert commands[-1] == ".ci/run"
    (job,) = load(".github/workflows/ci.yml")["jobs"].values()
    versions = [kind.rpartition(" :: ")[2] for kind in PROJECT["classifiers"] if "3." in kind]
    assert job["strategy"]["matrix"]["python"] == versions == ["3.11", "3.12"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_no_secret_and_read_only_access(path):
    assert "secrets." not in path.read_text(encoding="utf-8")
    assert load(path)["permissions"]["contents"] == "read"
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        # The line that avoids CUDA takes the version from constraints.txt.
        if ".venv/bin/pip" in step.get("run", ""):
            assert "grep '^torch==' constraints.txt" in step["run"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_valid_for_the_host(path):
    form = load(path)
    assert form.keys() == {"name", "description", "labels", "body"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"textarea", "input"}
    assert len({field["id"] for field in fields}) == len(fields) >= 3
    assert all(field["attributes"]["label"] for field in fields)
    required = [field.get("validations", {}).get("required") == "true" for field in fields]
    assert required[0], "the first question must be answered"


def test_there_is_a_form_for_each_kind_of_issue():
    assert [path.stem for path in FORMS] == ["bug", "feature", "objective"]
    assert load(".github/ISSUE_TEMPLATE/config.yml") == {"blank_issues_enabled": "true"}
    assert "CHANGELOG.md" in (ROOT / ".github/pull_request_template.md").read_text()


def test_hooks_run_tools_that_the_project_installs():
    (local,) = load(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local", "nothing is fetched from another host"
    programs = {hook["id"]: shlex.split(hook["entry"])[0] for hook in local["hooks"]}
    assert list(programs) == ["ruff", "ruff-format", "codespell", "mypy"]
    tools = {re.match(r"[\w-]+", line)[0] for line in PROJECT["optional-dependencies"]["dev"]}
    for program in programs.values():
        folder, _, name = program.rpartition("/")
        assert (folder, name in tools) == (".venv/bin", True), program


def test_the_citation_names_this_version_and_the_paper():
    citation = load("CITATION.cff")
    # The schema of CFF 1.2.0 requires these keys of a citation and of each reference.
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == r4t.__version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert paper["url"] == "https://arxiv.org/abs/2603.06397"
    assert len(paper["authors"]) == 11
    assert all(author.keys() == {"given-names", "family-names"} for author in paper["authors"])


def test_the_changelog_has_this_version_and_the_unreleased_changes():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## \[(.+?)\](?: - (.+))?$", text, re.MULTILINE)
    assert titles[0] == ("Unreleased", "")
    versions = dict(titles[1:])
    assert versions[r4t.__version__] == load("CITATION.cff")["date-released"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in versions.values())
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_contributing_names_commands_and_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^make ([\w-]+)", text, re.MULTILINE))
    assert commands <= targets()
    assert {"test", "lint"} <= commands
    paths = set(re.findall(r"`([\w./-]+/[\w./-]*)`", text))
    assert len(paths) > 10
    placeholders = {"tests/objectives/test_NAME.py", "train/thing/stat"}
    assert [name for name in paths - placeholders if not (ROOT / name).exists()] == []
    assert all((ROOT / link).exists() for link in re.findall(r"\]\((?!http)([^)#]+)", text))
