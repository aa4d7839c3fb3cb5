"""The latency benchmark: turns, ratios and the floor by hand, and both modes at a tiny size."""

import json

import pytest

from benchmarks import latency
from benchmarks.latency_paper import against_floor, floor, parts
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel


def test_sides_take_turns_and_the_first_calls_do_not_count():
    seen = []

    def side(name):
        def call(batch, number):
            seen.append((name, number))
            return {"total": float(number)}

        return call

    timed = latency.in_turns({"a": side("a"), "b": side("b")}, 4, calls=3, budget=60.0)
    assert seen == [("a", 0), ("b", 0), *[(name, n) for n in (1, 2, 3) for name in "ab"]]
    assert [call["total"] for call in timed["a"]] == [1.0, 2.0, 3.0]
    # A side that is over its budget is called once.
    seen.clear()
    latency.in_turns({"a": side("a")}, 4, calls=3, budget=0.0)
    assert seen == [("a", 0), ("a", 1)]


def test_ratios_by_hand():
    slow = [parts(0.1, 1.8, 0.1)] * 3  # 2 s
    fast = [parts(0.1, 0.2, 0.1), parts(0.1, 0.1, 0.05), parts(0.1, 0.05, 0.05)]  # 0.4, 0.25, 0.2
    one, other = latency.rows(8, {latency.SLOW: slow, "fast": fast})
    assert one["times as fast"] == 1.0
    assert other["total"] == pytest.approx(0.25)
    assert (other["times as fast"], other["low"]) == (pytest.approx(8.0), pytest.approx(5.0))
    assert other["generation alone"] == pytest.approx(1.8 / 0.1)
    assert other["calls"] == 3
    assert (
        "| 8 | fast | 100.0 | 100.0 | 50.0 | 250.0 | 8.0 (5.0 … 10.0) | 18.0 |"
        in latency.markdown([one, other])
    )


def test_the_floor_by_hand():
    # 150 tokens, each reading 8 GB at 4 TB/s: 150 · 2 ms.
    assert floor(150, 8_000_000_000, 4e12) == pytest.approx(0.3)
    row = {"side": "diffusion, 4 evaluations", "batch": 8, "generate": 0.002}
    row |= {"times as fast": 50.0, "generation alone": 90.0}
    found = against_floor([row], 0.3, 4e12)
    assert found["batch 8"]["floor / generation"] == pytest.approx(150.0)


def test_the_papers_sizes_run_small(tmp_path):
    words = ["--paper", "--small", "--eager", "--batches", "1", "8", "--calls", "1"]
    latency.main([*words, "--results", str(tmp_path)])
    found = json.loads((tmp_path / "paper-small.json").read_text())
    sides = [row["side"] for row in found["table"] if row["batch"] == 8]
    assert sides == ["R4T-FOLM", *[f"diffusion, {n} evaluations" for n in (4, 8, 20)]]
    for row in found["table"]:
        assert row["total"] == pytest.approx(row["encode"] + row["generate"] + row["search"])
    assert found["compiled"]["8, R4T-FOLM"]["kept"] == "eager"
    assert found["settings"]["completion"] == 20
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".csv", ".md", ".png"}


def test_the_models_of_a_run(small_run, tmp_path):
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red shirt"], None)
    FanoutModel(lm, tokenizer, Expand(), 8).save(small_run.step("tune") / "model")
    network = SetTransformer(8, width=16, mlp_width=16, heads=2, layers=1)
    for step in ("distill", "accelerate"):
        DirectionGenerator(network).save(small_run.step(step) / "model")
    words = [str(small_run.folder), "--batches", "2", "--calls", "2"]
    latency.main([*words, "--results", str(tmp_path)])
    found = json.loads((tmp_path / "cpu.json").read_text())
    sides = [row["side"] for row in found["table"]]
    assert sides[:3] == ["R4T-FOLM", "R4T-Diffusion", "R4T-Student"]
    assert found["evaluations"]["teacher, Multistep 4"]["evaluations"] == 8  # guided
    assert len(found["calls"]["2"]["R4T-Student"]) == 2
