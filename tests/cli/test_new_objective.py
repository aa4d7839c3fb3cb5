"""``r4t new-objective`` writes a package that works unchanged in all three uses, and checks names."""

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import r4t.cli.lightning  # noqa: F401  (its logger would keep the captured stderr of one test)
from r4t.catalog import write_catalog
from r4t.cli import new_objective
from r4t.data.source import Items
from r4t.encoder.lsa import LsaEncoder
from r4t.errors import InputError
from r4t.evaluation.results import Results
from r4t.report.answers import read_answers
from r4t.run import Run
from r4t.support.configs import configs_folder
from r4t.targets import TargetSets
from tests.small_steps import EVALUATE, FEW, TUNE, logged_values, overlay

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    *("README.md", "pyproject.toml", "cheap_sets.py", "tests/test_cheap_sets.py"),
    *("tune.yaml", "synthesize.yaml", "evaluate.yaml"),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A new package that is not installed."""
    monkeypatch.chdir(tmp_path)
    new_objective.run(["cheap-sets"])
    return tmp_path / "cheap-sets"


@pytest.fixture
def installed_package(package, as_installed):
    points = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]
    as_installed(package, "cheap-sets", "0.1.0", points["r4t.objectives"])
    return package


@pytest.fixture
def priced_run(untrained_run, small_items) -> Run:
    """Its items cost 0, 1, 2, … 199."""
    prices = [float(row) for row in range(len(small_items))]
    items = Items(small_items.ids, small_items.texts, {"price": prices})
    encoder = LsaEncoder.fit(items.texts, dim=8)
    embeddings = encoder.encode(items.texts)
    write_catalog(untrained_run.folder / "catalog", items, embeddings, encoder, overwrite=True)
    return untrained_run


def test_it_writes_the_package_and_prints_the_next_commands(package, capsys):
    files = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert files == FILES
    assert not any("$" in path.read_text() for path in package.rglob("*") if path.is_file())
    project = tomllib.loads((package / "pyproject.toml").read_text())
    assert project["project"]["name"] == "cheap-sets"
    points = {"r4t.objectives": {"cheap_sets": "cheap_sets:CheapSets"}}
    assert project["project"]["entry-points"] == points
    new_objective.run(["other_sets", "--out", "deep/er"])
    printed = capsys.readouterr().out
    assert "7 files written to deep/er/other_sets; the comments in other_sets.py say" in printed
    assert "pip install -e ./deep/er/other_sets\n" in printed
    assert "python -m pytest deep/er/other_sets\n" in printed
    assert "r4t objectives other_sets\n" in printed
    assert Path("deep/er/other_sets/other_sets.py").is_file()


@pytest.mark.parametrize("out", [".", "pk", "deep/er", "my packages", "../beside", "ABSOLUTE"])
def test_its_commands_work_from_the_folder_where_it_was_written(out, tmp_path, monkeypatch, capsys):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    out = str(tmp_path / "far") if out == "ABSOLUTE" else out
    new_objective.run(["cheap-sets", "--out", out])
    folder = place / out / "cheap-sets"
    text = (folder / "README.md").read_text()
    block = text.split("```bash\n")[1].split("```")[0]
    uses = [(folder / name).read_text().splitlines()[0] for name in FILES if name.endswith(".yaml")]
    printed = [line.removeprefix("next: ") for line in capsys.readouterr().out.splitlines()[1:3]]
    commands = [shlex.split(line) for line in block.splitlines()]
    commands += [shlex.split(line.split(": ", 1)[1]) for line in uses]
    commands += [shlex.split(line) for line in printed]
    assert len(commands) == 7 + 3 + 2
    for words in commands:
        if words[:2] == ["pip", "install"]:
            assert (place / words[-1] / "pyproject.toml").is_file()
            assert words[-1].startswith((".", "/"))  # else a name on the index
        elif words[:3] == ["python", "-m", "pytest"]:
            assert (place / words[-1] / "tests").is_dir()
        elif words[:2] != ["r4t", "objectives"]:
            named = [word for word in words if word.endswith(".yaml")]
            assert [word for word in named if not word.startswith("configs/toy/")] == named[1:]
            assert all((place / word).samefile(folder / Path(word).name) for word in named[1:])


def test_its_own_tests_pass(package):
    paths = [str(ROOT), str(ROOT / "objectives"), *os.environ.get("PYTHONPATH", "").split(":")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package)],
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("config", [[], ["--config", str(ROOT / "pyproject.toml")]])
def test_its_code_passes_our_own_linter(package, config):
    pytest.importorskip("ruff")
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--no-cache", *config, "."],
            cwd=package,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_it_is_listed(installed_package, program):
    code, printed, _ = program("objectives")
    line = next(line for line in printed.splitlines() if line.startswith("cheap_sets "))
    assert code == 0
    assert line.split()[:7] == ["cheap_sets", "0", "…", "1", "catalog", "–", "cheap-sets"]
    assert "Share of members whose price" in line


def test_its_overlays_make_it_reward_filter_and_metric(
    installed_package, program, priced_run, tmp_path
):
    run, toy = priced_run, configs_folder() / "toy"

    def layers(name, *paths):
        return [word for path in (toy / name, *paths) for word in ("--config", path)]

    quick = overlay(tmp_path / "quick.yaml", TUNE, **FEW)
    tune = layers("1_tune.yaml", installed_package / "tune.yaml", quick)
    code, _, err = program("fit", *tune, "--run", run.folder)
    assert code == 0, err
    logged = logged_values(run, "cheap_sets/mean")
    assert logged
    assert all(0 <= value <= 1 for value in logged)
    assert set(logged_values(run, "cheap_sets/weighted")) == {0.0}  # audited
    few = overlay(tmp_path / "few.yaml", {"sampling": {"samples": 4}, "set_size": 4})
    synthesis = layers("2_synthesize.yaml", installed_package / "synthesize.yaml", few)
    code, _, err = program("synthesize", *synthesis, "--run", run.folder)
    assert code == 0, err
    targets = TargetSets.load(run.step("targets"))
    assert targets.manifest.dropped["beyond the best share"] > 0
    assert set(targets.tensors(0)["score.cheap_sets"].tolist()) <= {0, 0.25, 0.5, 0.75, 1}
    weights = ["--config", installed_package / "evaluate.yaml"]
    code, printed, err = program("evaluate", run.folder, *weights, *EVALUATE)
    assert code == 0, err
    results = Results.load(run.folder / "results")
    by_hand = [
        sum(int(item.id.removeprefix("i")) <= 50 for item in answer.items) / 4
        for answer in read_answers(run.folder / "results" / "sets.jsonl")
        if answer.method == "MMR"
    ]
    assert results.values["MMR"]["items/cheap_sets"] == by_hand
    assert 0 < sum(by_hand) < 4
    assert "cheap_sets" in printed


def test_a_catalog_without_the_column_is_refused_by_name(installed_package, program, untrained_run):
    weights = ["--config", installed_package / "evaluate.yaml"]
    code, _, err = program("evaluate", untrained_run.folder, *weights, *EVALUATE)
    assert code == 2
    assert "one of the metadata columns ['noun'] of" in err
    assert "but found 'price'. Choose one of them." in err
    code, _, err = program("evaluate", untrained_run.folder, *EVALUATE)  # not named in a config
    assert code == 0, err
    left_out = Results.load(untrained_run.folder / "results").settings["left_out"]
    assert "but found 'price'" in left_out["cheap_sets"]


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("Price", "found 'Price', which is not lower-case letters .* Choose .* as price-spread"),
        ("a b", "found 'a b', which is not lower-case"),
        ("x--y", "found 'x--y', which is not lower-case"),
        ("7up", "found '7up', which is not lower-case letters and digits, a letter first"),
        ("class", "found 'class', a Python keyword. Choose another"),
        ("match", "found 'match', a Python keyword"),
        (
            "diversity",
            "found 'diversity', which is installed as r4t_objectives.diversity:Diversity",
        ),
        ("prompt-format", "'prompt-format', which is installed as r4t_objectives.*PromptFormat"),
        ("json", "found 'json', which Python can already import. Choose another"),
        ("torch", "found 'torch', which Python can already import"),
        ("reward", "found 'reward'"),
    ],
)
def test_unusable_names_are_refused(name, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=sentence):
        new_objective.run([name])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(package):
    (package / "cheap_sets.py").write_text("mine\n")
    with pytest.raises(
        InputError, match="a new folder for the package, but found cheap-sets, which exists. Choose"
    ):
        new_objective.run(["cheap-sets"])
    assert (package / "cheap_sets.py").read_text() == "mine\n"
