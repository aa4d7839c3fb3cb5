"""Variants of a run: what they keep, what they change, and their table."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import ablate
from r4t.evaluation.results import Results
from r4t.run import Run


@pytest.fixture
def run(small_run):
    for step in ("warm_start", "tune", "distill", "accelerate", "refine"):
        (small_run.step(step) / "model").mkdir(parents=True)
    return small_run


@pytest.fixture
def called(monkeypatch):
    """The commands of a variant, whose evaluation finds the same values each time."""
    calls = []

    def run_verb(words):
        calls.append(words)
        if words[0] == "evaluate":
            values = {"MMR": {"items/facet recall": [0.0, 0.5]}}
            values["R4T-Refined"] = {"items/facet recall": [0.5, 0.5], "items/vendi": [2.0, 4.0]}
            folder = Run.open(words[1]).folder / "results"
            folder.mkdir(exist_ok=True)
            Results({}, ["p", "q"], values, {}, ["a", "b"]).save(folder)

    monkeypatch.setattr(ablate, "run_verb", run_verb)
    return calls


def test_a_variant_changes_one_step_and_keeps_those_before(run, called, tmp_path, capsys):
    words = [str(run.folder), "refined-error-20", "tuned-eq1-set", "--out", str(tmp_path / "out")]
    ablate.main(words)
    fit, evaluated, tune, _ = called
    assert fit[:3] == ["fit", "--config", "configs/toy/5_refine.yaml"]
    assert "configs/shopper/5_refine.yaml" in fit
    judge = json.loads(fit[fit.index("--model.init_args.reward.init_args.objectives") + 1])
    assert judge["shopper"]["init_args"] == {"error": 0.2}
    assert evaluated[evaluated.index("--methods") + 1] == "[refined]"
    beside = run.folder.parent / f"{run.folder.name}-refined-error-20"
    assert (beside / "accelerate" / "model").is_dir()
    assert not (beside / "refine").exists()
    assert tune[tune.index("--model.init_args.credit") + 1] == "WholeSet"
    beside = run.folder.parent / f"{run.folder.name}-tuned-eq1-set"
    assert [path.name for path in sorted(beside.iterdir()) if path.is_symlink()] == ["warm_start"]
    printed = capsys.readouterr().out
    name = f"{run.folder.name}-refined-error-20"
    assert f"| {name} | R4T-Refined | 0.500 ± 0.000 | – | 3.000 ± 1.000 |" in printed
    stored = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert stored["texts"] == []
    assert "hardware" in stored["settings"]
    ablate.main(words)
    assert len(called) == 4  # nothing is made twice


def test_every_variant_has_settings_that_can_be_read():
    for step, _, settings in ablate.VARIANTS.values():
        assert step in ("tune", "refine")
        for word in settings:
            if word.startswith("{"):
                assert isinstance(yaml.safe_load(word.replace("{config}", "x")), dict)


def test_the_run_itself_is_stored_without_making_anything(run, called, tmp_path):
    (run.folder / "results").mkdir()
    values = {"MMR": {"items/facet recall": [0.0, 1.0], "items/cosine": [0.1, 0.2]}}
    Results({}, ["p", "q"], values, {}, ["a", "b"]).save(run.folder / "results")
    ablate.main([str(run.folder), "quickstart", "--out", str(tmp_path / "out")])
    assert called == []
    stored = json.loads((tmp_path / "out" / f"{run.folder.name}-quickstart.json").read_text())
    assert stored["values"] == {"MMR": {"items/facet recall": [0.0, 1.0]}}


def test_the_transformer_is_refined_as_itself_although_the_overlay_is_linear(run, called, tmp_path):
    ablate.main([str(run.folder), "refined-transformer", "--out", str(tmp_path / "out")])
    fit = called[0]
    assert fit[fit.index("--model.init_args.start.linear") + 1] == "none"
    overlay = yaml.safe_load(Path("configs/shopper/5_refine.yaml").read_text(encoding="utf-8"))
    assert overlay["model"]["init_args"]["start"] == {"linear": "rows"}


def test_the_summary_compares_a_variant_with_its_quickstart(run, called, tmp_path):
    (run.folder / "results").mkdir()
    values = {
        "MMR": {"items/facet recall": [0.0, 0.25]},
        "R4T-Refined": {"items/facet recall": [1.0, 1.0]},
    }
    values = {m: {**v, "items/fit precision": [0.0, 0.0]} for m, v in values.items()}
    Results({}, ["p", "q"], values, {}, ["a", "b"]).save(run.folder / "results")
    out = tmp_path / "out"
    ablate.main([str(run.folder), "quickstart", "--out", str(out)])
    name = run.folder.name
    variant = {"R4T-Refined": {"items/facet recall": [0.5, 0.5], "items/fit precision": [0.5, 1.0]}}
    stored = ablate.vars_of(Results({}, ["p", "q"], variant, {}, ["a", "b"]))
    (out / f"{name}-refined-set.json").write_text(json.dumps(stored))
    ablate.main(["--table", "--out", str(out)])
    summary = json.loads((out / "summary.json").read_text())[name.partition("-")[0]]
    found = summary[f"{name}-refined-set".partition("-")[2]]
    assert found["means"]["R4T-Refined"]["facet recall"] == [0.5, 0.5, 0.5]
    assert found["differences"]["MMR"]["facet recall"][0] == 0.375
    assert found["differences"]["R4T-Refined"]["fit precision"][0] == 0.75
