"""A ten-line objective in a user's own package: listed, usable in YAML, and scored in the table."""

import pytest

import r4t.cli.lightning  # noqa: F401  (its logger would keep the captured stderr of one test)
from r4t.evaluation.results import Results
from r4t.report.answers import read_answers
from r4t.run import Run
from r4t.support.configs import configs_folder
from r4t.targets import TargetSets
from tests.small_steps import EVALUATE, FEW, TUNE, logged_values, overlay

TEN_LINES = '''
import torch
from r4t.objective import Objective

class Vegan(Objective):
    """Share of members without leather, wool or silk."""
    bounds = (0.0, 1.0)
    needs = frozenset({"catalog"})

    def score(self, sets):
        kind = [not {"leather", "wool", "silk"} & set(text.split()) for text in sets.catalog.texts]
        return (torch.tensor(kind)[sets.items.clamp(min=0)] & sets.mask).float().mean(-1)
'''


@pytest.fixture
def package(tmp_path, as_installed):
    """The module of an installed package, greens."""
    folder = tmp_path / "site"
    as_installed(folder, "greens", "0.3", {"vegan": "my_objectives:Vegan"})
    (folder / "my_objectives.py").write_text(TEN_LINES)
    return folder / "my_objectives.py"


@pytest.fixture
def run(untrained_run) -> Run:
    return untrained_run


REWARD = {
    "class_path": "r4t.reward.Reward",
    "init_args": {"weights": {"groundedness": 0.5, "vegan": 0.5}},
}


def test_it_is_listed(package, program):
    assert len([line for line in TEN_LINES.splitlines() if line.strip()]) <= 10
    code, printed, _ = program("objectives")
    line = next(line for line in printed.splitlines() if line.startswith("vegan "))
    assert (code, line.split()[:7]) == (0, ["vegan", "0", "…", "1", "catalog", "–", "greens"])
    assert "Share of members without leather" in line


def test_yaml_names_it_as_reward_filter_and_metric(package, program, run, tmp_path):
    toy = configs_folder() / "toy"
    tune = overlay(tmp_path / "tune.yaml", {**TUNE, "reward": REWARD}, **FEW)
    code, _, err = program(
        "fit", "--config", toy / "1_tune.yaml", "--config", tune, "--run", run.folder
    )
    assert code == 0, err
    logged = logged_values(run, "vegan")
    assert logged
    assert all(0 <= value <= 1 for value in logged)
    half = {"class_path": "r4t.filters.Filter", "init_args": {"floor": 0.5}}
    alone = {"class_path": "r4t.reward.Reward", "init_args": {"weights": {"vegan": 1.0}}}
    synthesis = {"reward": alone, "keep": half, "sampling": {"samples": 4}, "set_size": 4}
    config = overlay(tmp_path / "synthesize.yaml", synthesis)
    code, _, err = program(
        "synthesize", "--config", toy / "2_synthesize.yaml", "--config", config, "--run", run.folder
    )
    assert code == 0, err
    targets = TargetSets.load(run.step("targets"))
    assert targets.manifest.dropped["below the floor"] > 0
    assert targets.tensors(0)["score.vegan"].min() >= 0.5
    weights = tmp_path / "evaluate.yaml"
    weights.write_text("weights: {groundedness: 0.5, vegan: 0.5}\n")
    code, _, err = program("evaluate", run.folder, "--config", weights, *EVALUATE)
    assert code == 0, err
    results = Results.load(run.folder / "results")
    composite = 0.5 * results.mean("Zero-shot", "directions/groundedness")
    composite += 0.5 * results.mean("Zero-shot", "directions/vegan")
    assert results.mean("Zero-shot", "directions/composite") == pytest.approx(composite, abs=1e-5)


def test_the_table_shows_it_without_any_config(package, program, run):
    code, printed, err = program("evaluate", run.folder, *EVALUATE)
    assert code == 0, err
    results = Results.load(run.folder / "results")
    by_hand = [
        sum(not {"leather", "wool", "silk"} & set(item.title.split()) for item in answer.items) / 4
        for answer in read_answers(run.folder / "results" / "sets.jsonl")
        if answer.method == "MMR"
    ]
    assert results.values["MMR"]["items/vegan"] == by_hand
    assert 0 < sum(by_hand) < 4
    assert "vegan" in printed
    assert "vegan" in (run.folder / "results" / "results.md").read_text(encoding="utf-8")
    code, printed, _ = program("compare", run.folder, "red linen", "--size", "4")
    line = next(line for line in printed.splitlines() if line.strip().startswith("vegan"))
    assert (code, len(line.split())) == (0, 1 + 4)  # one number for each method


@pytest.mark.parametrize(
    "fault, reason",
    [
        ("import no_such_library\n" + TEN_LINES, "ModuleNotFoundError: No module named 'no_such"),
        (
            TEN_LINES.replace("(torch.tensor", "2 + (torch.tensor"),
            "finite scores within [0.0, 1.0]",
        ),
        (
            TEN_LINES.replace("bounds = ", "limits = "),
            "to declare bounds, two finite numbers",
        ),
        (
            TEN_LINES.replace("(torch.tensor", "1 / 0 + (torch.tensor"),
            "ZeroDivisionError: division",
        ),
    ],
    ids=["import", "score", "bounds", "raise"],
)
def test_a_broken_objective_is_left_out_with_its_package_and_the_fault(
    package, program, run, fault, reason
):
    package.write_text(fault)
    code, printed, _ = program("objectives")
    assert code == 0
    if "import" in fault.split("\n")[0]:
        text = " ".join(printed.split())
        assert "broken: 'vegan' of greens 0.3 (my_objectives.Vegan): " in text
        assert reason in text
    # The table and the comparison leave it out and say so.
    code, printed, err = program("evaluate", run.folder, *EVALUATE)
    assert code == 0, err
    left_out = Results.load(run.folder / "results").settings["left_out"]
    assert reason in left_out["vegan"]
    code, printed, err = program("compare", run.folder, "red linen", "--size", "4")
    assert code == 0, err
    assert "Not scored: vegan, because:" in " ".join(printed.split())
