"""benchmarks.folm_4b at a small size: its measurements and its errors."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks import folm_4b


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Hide packages that the script must not import; modules that are already imported stay."""
    for name in ("trl", "vllm", "faiss", "jsonargparse"):
        monkeypatch.setitem(sys.modules, name, None)


def test_the_architecture_has_four_billion_parameters():
    """Qwen3-4B has 4.0 billion, 3.6 without the embeddings (its model card)."""
    size = folm_4b.QWEN3_4B
    width, heads = size["hidden_size"], size["head_dim"] * size["num_attention_heads"]
    groups = size["head_dim"] * size["num_key_value_heads"]
    layer = 2 * width * heads + 2 * width * groups + 3 * width * size["intermediate_size"]
    assert size["num_hidden_layers"] * layer == pytest.approx(3.6e9, rel=0.02)
    whole = size["num_hidden_layers"] * layer + size["vocab_size"] * width
    assert whole == pytest.approx(4.0e9, rel=0.02)


def test_it_measures_each_part_of_each_rollout(tmp_path):
    out = tmp_path / "results.json"
    folm_4b.main(["--small", "--rollouts", "2", "--rank", "2", "--out", str(out)])
    results = json.loads(out.read_text())
    assert results["settings"]["completion_tokens"] == 30
    assert len(results["rollouts"]) == 2
    for rollout in results["rollouts"]:
        values = rollout["seconds_and_reward"]
        parts = ("generate", "encode", "search", "score", "update")
        seconds = [values[f"train/{part}/seconds"] for part in parts]
        assert min(seconds) > 0
        assert values["train/step/seconds"] == pytest.approx(sum(seconds), rel=1e-5)
        assert 0.3 < values["train/reward/mean"] < 0.7  # half of the ids are even
        assert values["train/reward/spread"] > 0
        assert values["train/tokens/mean"] > 25
    # Two layers of seven linear layers; a q of 64 to 64 has 2 * 64 + 64 * 2 weights in A and B.
    assert results["trained"] == 2 * 2 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))
    norms = results["least_gradient_norms"]
    assert len(norms) == 4  # two updates per rollout
    assert norms[0][".lora_A."] == 0
    assert min(row[".lora_B."] for row in norms) > 0
    assert min(row[".lora_A."] for row in norms[1:]) > 0


def test_without_peft_the_error_names_a_way_to_train_the_last_layers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folm_4b, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        folm_4b.main(["--small"])
    assert "which is not installed; install it or use --last_layers 2" in capsys.readouterr().err
    out = tmp_path / "results.json"
    folm_4b.main(["--small", "--rollouts", "1", "--last_layers", "1", "--out", str(out)])
    results = json.loads(out.read_text())
    assert results["trained"] == 64 * (2 * 64 + 2 * 32 + 3 * 128) + 2 * 64 + 2 * 16  # and norms


def test_zero_gradients_are_not_measured():
    weights = {name: torch.nn.Parameter(torch.ones(2)) for name in ("a.lora_A.x", "a.lora_B.x")}
    fanout = SimpleNamespace(named_parameters=weights.items)
    record = folm_4b.Record()
    weights["a.lora_B.x"].grad = torch.ones(2)
    record.on_before_optimizer_step(None, SimpleNamespace(fanout=fanout), None)
    with pytest.raises(RuntimeError, match=r"1 of 2 gradients are zero: \['a.lora_A.x'\]"):
        record.on_before_optimizer_step(None, SimpleNamespace(fanout=fanout), None)
