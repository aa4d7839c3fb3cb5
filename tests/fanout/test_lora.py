"""Adapters change nothing at first, are trained alone, and are merged when a model is saved."""

import shutil
import sys

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from r4t.errors import InputError
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import Pretrained, TinyQwen3
from r4t.fanout.lora import LoRA
from r4t.fanout.model import FanoutModel
from r4t.fanout.weights import ADAPTER, adapted_layers, plain_weights

TEXTS = ["red linen shirt", "blue wool coat", "green silk dress", "beach day"] * 3
TINY = TinyQwen3(width=32, layers=2, vocabulary=400)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a saved model in ``start``."""
    folder = tmp_path_factory.mktemp("run")
    FanoutModel(*TINY.build(TEXTS, folder), Expand(set_size=3), 12).save(folder / "start")
    return folder


def build(source, run):
    lm, tokenizer = source.build(TEXTS, run)
    return FanoutModel(lm, tokenizer, Expand(set_size=3), max_new_tokens=12)


def change(model, scale=0.1):
    """Give all adapters random weights."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += scale * torch.randn_like(parameter)


@pytest.fixture
def taught(run):
    """Fan-outs to take log-probabilities of."""
    additions = [["red linen", "wool coat", "blue"], ["green"]]
    return build(Pretrained("start"), run).teach(["beach day", "red shirt"], additions)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_change_nothing_at_first_and_are_trained_alone_in_float32(run, taught, dtype):
    base, model = Pretrained("start", dtype), build(LoRA(Pretrained("start", dtype), rank=4), run)
    assert torch.equal(model.log_probs(taught, 0.9), build(base, run).log_probs(taught, 0.9))
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    # Two layers of q, k, v, o, gate, up and down, each with A and B; not the output.
    assert len(trained) == 2 * 7 * 2
    assert all(".lora_" in name for name in trained)
    dtypes = {weight.requires_grad: weight.dtype for weight in model.parameters()}
    assert dtypes == {True: torch.float32, False: getattr(torch, dtype)}
    assert model.lm.training


def test_the_seed_draws_the_adapters(run):
    state = torch.get_rng_state()
    weights = [
        next(iter(adapted_layers(build(LoRA(TINY, seed=seed), run)).values()))
        .lora_A[ADAPTER]
        .weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_saved_model_is_plain_with_the_adapters_merged_in(run, taught, tmp_path):
    model = build(LoRA(Pretrained("start"), rank=4, alpha=8), run)
    change(model)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    expected = model.log_probs(taught, 0.9)
    start = build(Pretrained("start"), run)
    assert (expected - start.log_probs(taught, 0.9)).abs().max() > 0.1
    model.save(run / "first" / "model")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    shutil.move(run / "first", tmp_path / "moved")
    folder = tmp_path / "moved" / "model"
    for loaded in (FanoutModel.load(folder), build(Pretrained("moved/model"), tmp_path)):
        assert torch.allclose(loaded.log_probs(taught, 0.9), expected, atol=1e-4)
        assert not adapted_layers(loaded)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    name = "model.layers.1.mlp.down_proj"
    layer = adapted_layers(model.lm)[name]
    a, b = (part[ADAPTER].weight for part in (layer.lora_A, layer.lora_B))
    merged = before[f"lm.{name}.base_layer.weight"] + 8 / 4 * b @ a
    assert torch.allclose(plain.get_submodule(name).weight, merged, atol=1e-6)
    assert plain.lm_head.weight is plain.model.embed_tokens.weight


def test_peft_loads_the_adapter_alone(run, taught, tmp_path):
    model = build(LoRA(Pretrained("start"), rank=4), run)
    change(model)
    model.save(tmp_path)
    lm, tokenizer = Pretrained("start").build([], run)
    theirs = FanoutModel(
        PeftModel.from_pretrained(lm, tmp_path / "adapter"), tokenizer, Expand(), 9
    )
    assert torch.allclose(theirs.log_probs(taught, 0.9), model.log_probs(taught, 0.9), atol=1e-6)
    # The next plain model that is saved there takes the adapter away.
    build(Pretrained("start"), run).save(tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_change_that_bfloat16_would_round_away_is_saved(run, tmp_path):
    model = build(LoRA(Pretrained("start", dtype="bfloat16"), rank=2, alpha=2), run)
    name = "model.layers.0.self_attn.q_proj"
    layer = adapted_layers(model.lm)[name]
    with torch.no_grad():
        layer.base_layer.weight.fill_(1.0)
        layer.lora_A[ADAPTER].weight.fill_(1.0)
        layer.lora_B[ADAPTER].weight.fill_(2**-11)
    model.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert plain.dtype == torch.float32
    # 1 + 2/2 * (2 * 2**-11), half the step from 1 to the next number in bfloat16 being 2**-8.
    assert (plain.get_submodule(name).weight == 1 + 2**-10).all()
    assert (torch.tensor(1.0).bfloat16() + 2**-10).item() == 1
    assert layer.base_layer.weight.dtype == torch.bfloat16


def test_layers_with_transposed_weights_are_merged(run):
    """GPT-2 keeps its linear weights as (in, out); with biases."""
    torch.manual_seed(0)
    lm = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2))

    class Fixed:
        def build(self, texts, root):
            return lm, None

        def saved_form(self, root):
            return "as saved"

    source = LoRA(Fixed(), rank=2)
    source.build([], run)
    change(lm)
    ids = torch.arange(12).view(1, 12)
    plain = GPT2LMHeadModel(lm.config).eval()
    missing, unknown = plain.load_state_dict(dict(plain_weights(lm)), strict=False)
    assert (missing, unknown) == (["lm_head.weight"], [])  # tied to transformer.wte.weight
    lm.eval()
    assert torch.allclose(plain(ids).logits, lm(ids).logits, atol=1e-5)
    assert source.saved_form(run) == "as saved"


def test_what_cannot_be_adapted_is_refused(run, monkeypatch):
    with pytest.raises(
        InputError, match=r"linear layers of the model, but found \['nose'\] \(Target"
    ):
        LoRA(TINY, target_modules=["nose"]).build(TEXTS, run)
    for name in ("embed_tokens", "lm_head"):
        with pytest.raises(InputError, match=rf"found \['{name}'\] \(.*{name} is an embedding\)"):
            LoRA(TINY, target_modules=[name]).build(TEXTS, run)
    with pytest.raises(InputError, match="rank.*at least 1.*found 0"):
        LoRA(TINY, rank=0)
    with pytest.raises(
        InputError, match="alpha above 0 and dropout from 0 to below 1, but found 0 and"
    ):
        LoRA(TINY, alpha=0)
    with pytest.raises(InputError, match="found 32 and 1.0. Take the defaults, 32 and 0"):
        LoRA(TINY, dropout=1.0)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"peft to be installed, but found no peft.*'r4t\[lora\]'"):
        LoRA(TINY).build(TEXTS, run)
