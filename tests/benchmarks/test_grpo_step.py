"""benchmarks.grpo_step: both sides do the same work, alternating."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import alternating, grpo_sides, grpo_step
from r4t.sets import SetBatch

SMALL = "--updates 2 1 --rollouts 3 --warmup 1 --queries 2 --group_size 4 --passes 2 --tokens 20"
SMALL += " --width 32 --layers 1 --vocabulary 400 --items 60"


def test_both_sides_sample_the_same_number_of_tokens(tmp_path, monkeypatch, capsys):
    pytest.importorskip("trl")
    alone = {"before": 100.0, "peak": 10.0}
    monkeypatch.setattr(grpo_step, "memory_alone", lambda name, arguments: alone)
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["grpo_step", *SMALL.split(), "--out", str(out)])
    grpo_step.main()
    record = json.loads(out.read_text(encoding="utf-8"))
    assert f"{SMALL} --threads 1" in record["command"]
    assert record["memory_mib"] == {"ours": alone, "trl": alone}
    assert [row["updates"] for row in record["steps"]] == [2, 1]
    for row in record["steps"]:
        # 2 queries with 4 completions of 20 tokens each.
        assert (row["pairs"], row["tokens_a_step"]) == (2, 160)
        for name in ("ours", "trl"):
            assert row["seconds"][name] * row["tokens_per_second"][name] == pytest.approx(160)
            assert row["cpu_seconds"][name] > 0
        assert sum(row["our_seconds"].values()) < 1.1 * row["seconds"]["ours"]
        assert row["ratio"] == pytest.approx(sum(row["ratios"]) / 2)
        low, high = row["ratio_interval"]
        assert min(row["ratios"]) <= low <= row["ratio"] <= high <= max(row["ratios"])
        assert row["ratio_without_retrieval"] < row["ratio"]
    assert "| 2 | " in capsys.readouterr().out


def test_another_number_of_tokens_is_refused(tmp_path, monkeypatch):
    arguments = grpo_step.build_parser().parse_args(SMALL.split())

    def short(run, model, updates, arguments):
        record = alternating.Record()

        def loop():
            for _ in range(arguments.rollouts):
                record.tokens.append(47)
                side.rest()

        side = alternating.Side(loop, record)
        return side

    monkeypatch.setattr(grpo_step, "SIDES", {"ours": short, "trl": short})
    with pytest.raises(RuntimeError, match=r"ours sampled \[47, 47, 47\] tokens, not 160 each"):
        grpo_step.compare(None, None, 1, arguments)


def test_both_sides_give_a_completion_the_same_reward():
    # The first lists "red" and "be" (2 of 5 letters); the eleventh line of the second is not read.
    completions = ["red\n\n be \n", "x\n" * 10 + "e\n"]
    assert [grpo_sides.reward_of(text) for text in completions] == [0.4, 0.0]
    texts = [grpo_sides.FORM.parse("any", text) for text in completions]
    mask = torch.arange(10).expand(2, -1) < torch.tensor([[2], [10]])
    sets = SetBatch(
        query=torch.ones(2, 1),
        items=torch.zeros(2, 10, dtype=torch.long),
        item_embeddings=torch.zeros(2, 10, 1),
        mask=mask,
        texts=texts,
    )
    assert grpo_sides.Letters()(sets).tolist() == pytest.approx([0.4, 0.0])
    assert not grpo_sides.FORM.list_format.complete("x\n" * 99, 10)


def test_loops_alternate_and_their_order_changes():
    seen = []

    def make(name):
        def loop():
            for step in range(3):
                seen.append((name, step))
                side.rest()

        side = alternating.Side(loop, alternating.Record())
        return side

    seconds = alternating.alternate({name: make(name) for name in "ab"}, 3)
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_a_loop_that_fails_or_ends_early_raises():
    def fails():
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        alternating.Side(fails, alternating.Record()).step()
    side = alternating.Side(list, alternating.Record())
    side.step()
    with pytest.raises(RuntimeError, match="ended before its last step"):
        side.step()


def test_the_peak_covers_only_the_work():
    """Measured in a separate process, as in the benchmark, where no freed memory can be reused."""
    code = """
import json
from benchmarks.grpo_step import grown, resident

def fill(mib):
    return len(bytearray(b"x") * (mib * 2**20))

fill(200)  # an earlier peak must not count
memory = grown(lambda: fill(64))
print(json.dumps(memory | {"after": resident("VmRSS")}))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    memory = json.loads(done.stdout.splitlines()[-1])
    assert memory["peak"] == pytest.approx(64, abs=8)
    assert memory["after"] == pytest.approx(memory["before"], abs=8)


def test_the_interval_contains_the_median():
    # 11 of 21 values are 1: a resampled median is 1 or 2, each in more than 1 of 40 draws.
    assert grpo_step.interval([1.0] * 11 + [2.0] * 10) == (1.0, 2.0)
    assert grpo_step.interval([3.0, 3.0, 3.0]) == (3.0, 3.0)
