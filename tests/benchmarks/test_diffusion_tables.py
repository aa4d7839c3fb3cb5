"""Quality against steps, oversampling and bundles: summaries by hand, and the programs at a tiny size."""

import json

import pytest
import torch

from benchmarks import bundles_diffusion, oversample, quality_steps
from r4t.data.queries import Query, write_queries
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.sampler import Euler, Multistep, ReverseSde
from r4t.diffusion.schedule import Levels
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel


@pytest.fixture
def place(small_run):
    """A run with a small untrained model of every kind."""
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red shirt"], None)
    FanoutModel(lm, tokenizer, Expand(), 8).save(small_run.step("tune") / "model")
    torch.manual_seed(0)
    network = SetTransformer(8, width=16, mlp_width=16, heads=2, layers=1)
    torch.nn.init.normal_(network.rows_out.weight, std=0.2)
    DirectionGenerator(network).save(small_run.step("distill") / "model")
    student = DirectionGenerator(network, Levels((80.0, 1.0)), Euler(2), guidance=0.0)
    student.save(small_run.step("accelerate") / "model")
    write_queries(
        small_run.queries, {"test": [Query("a", "red linen", "mood"), Query("b", "hat", "x")]}
    )
    return small_run


def setting(name, sampler, seeds=2):
    network = SetTransformer(8, width=16, mlp_width=16, heads=2, layers=1)
    return quality_steps.Setting(name, DirectionGenerator(network, sampler=sampler), seeds)


def rows(composite, vendi):
    return [
        {"composite": c, "vendi": vendi, "groundedness": 0.1, "alignment": 0.2, "distinct": 9.0}
        for c in composite
    ]


def test_ratios_to_the_converged_ode_and_to_the_sde_by_hand():
    measured = [
        (setting(quality_steps.CONVERGED, Multistep(8)), rows([0.4, 0.4], 8.0)),
        (setting(quality_steps.REFERENCE, ReverseSde(4)), rows([0.3, 0.34], 5.0)),
        (setting("Multistep", Multistep(2)), rows([0.3, 0.3], 6.0)),
    ]
    one, sde, few = quality_steps.summary(measured)
    assert one["composite / ODE"] == 1.0
    assert sde["composite"] == pytest.approx(0.32)
    assert sde["composite spread"] == pytest.approx(0.04)
    assert few["composite / ODE"] == pytest.approx(0.75)
    assert few["vendi / ODE"] == pytest.approx(0.75)
    assert few["composite / SDE-256"] == pytest.approx(0.3 / 0.32)
    assert few["vendi / SDE-256"] == pytest.approx(1.2)
    assert few["evaluations"] == 4  # guided
    assert "| Multistep | 4 | 0.3000 | 0.1000 | 6.000 | 0.2000 | 9.00 | 75.0%, 75.0% |" in (
        quality_steps.markdown([one, sde, few])
    )


def test_quality_steps_of_a_run(place, tmp_path, monkeypatch):
    for name, steps in (("HEUN", (2,)), ("MULTISTEP", (2,)), ("EULER", (2,)), ("SDE", (2,))):
        monkeypatch.setattr(quality_steps, name, steps)
    quality_steps.main([str(place.folder), "--seeds", "1", "--results", str(tmp_path)])
    content = json.loads((tmp_path / "quality_steps.json").read_text())
    evaluations = {row["name"]: row["evaluations"] for row in content["table"]}
    assert evaluations == {
        "ODE, converged": 256, "SDE-256": 512, "Heun": 6, "Multistep": 4, "Multistep, 0.03 … 20": 4,
        "Euler": 4, "SDE": 4, "student, 2": 2,
    }  # fmt: skip
    assert content["queries"] == 2
    assert (tmp_path / "quality_steps.png").stat().st_size > 10_000


def test_oversampling_of_a_run(place, tmp_path):
    oversample.main([str(place.folder), "--calls", "1", "--results", str(tmp_path)])
    table = json.loads((tmp_path / "oversample.json").read_text())["table"]
    by_name = {row["name"]: row for row in table}
    assert len(table) == 2 + 2 * 6
    assert by_name["R4T-FOLM"]["difference"] == 0.0
    for model in ("diffusion", "student"):
        one, two, eight = (
            by_name[f"{model}, {name}"]["composite"]
            for name in ("first 10 rows", "best of 2 sets", "best of 8 sets")
        )
        assert one <= two + 1e-6 <= eight + 2e-6  # more sets include the draws of fewer
    for row in table:
        parts = 0.6 * row["groundedness"] + 0.2 * row["diversity"] + 0.2 * row["alignment"]
        assert row["composite"] == pytest.approx(parts, abs=1e-5)
        assert row["ms, batch 1"] > 0


def test_a_point_above_a_curve_by_hand():
    line = [(1.0, 0.6), (2.0, 0.2), (3.0, 0.0)]
    assert bundles_diffusion.above((2.5, 0.3), line) == pytest.approx(0.2)
    assert bundles_diffusion.above((0.5, 0.5), line) == pytest.approx(-0.1)
    assert bundles_diffusion.above((9.0, 0.1), line) == pytest.approx(0.1)


def test_bundle_tables_pool_the_folds(tmp_path):
    def values(recall, vendi):
        return {"recall": recall, "vendi": vendi}

    plain = {
        "No fan-out": values([0.5, 0.5], [4.0, 4.0]),
        "MMR λ=0.3": values([0.3, 0.3], [6.0, 6.0]),
    }
    plain |= {"DPP λ=0.3": values([0.3, 0.3], [6.0, 6.0])}
    ours = {
        "R4T-FOLM": values([0.4, 0.4], [5.0, 5.0]),
        "R4T-Diffusion": values([0.4, 0.6], [5.0, 5.0]),
    }
    for fold in range(2):
        content = {"methods": {**plain, **ours}, "clusters": [0, 0]}
        (tmp_path / f"diffusion-clothing-fold{fold}.json").write_text(json.dumps(content))
    bundles_diffusion.tables(tmp_path)
    summary = json.loads((tmp_path / "diffusion.json").read_text())["clothing"]
    # At Vendi 5, halfway from (4, 0.5) to (6, 0.3), the curve is at 0.4.
    assert summary["R4T-FOLM"]["above"] == [pytest.approx(0.0), pytest.approx(0.0)]
    assert summary["R4T-Diffusion"]["above"][0] == pytest.approx(0.1)
    text = (tmp_path / "diffusion.md").read_text()
    assert "2 of 5 folds, 4 test queries in 2 groups" in text
    assert "| R4T-Diffusion − R4T-FOLM | +0.1000 |" in text
