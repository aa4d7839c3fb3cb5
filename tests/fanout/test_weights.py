"""Weights come whole, merged and under plain names; the model does not change by a bit."""

import copy
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from r4t.errors import InputError
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.weights import ADAPTER, adapted_layers, plain_weights, served_weights, weight_specs


@pytest.fixture(scope="module")
def lm():
    texts = ["red linen shirt", "blue wool coat"] * 3
    return TinyQwen3(width=32, layers=2, vocabulary=300).build(texts, None)[0]


@pytest.fixture
def adapt(lm):
    """Puts adapters into a copy of the model; none is zero."""
    peft = pytest.importorskip("peft")

    def make(dtype=torch.float32):
        config = peft.LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
        found = peft.inject_adapter_in_model(config, copy.deepcopy(lm).to(dtype), ADAPTER)
        torch.manual_seed(0)
        with torch.no_grad():
            for name, parameter in found.named_parameters():
                if "lora_" in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return found

    return make


def merged(model):
    """Name → weight with W + alpha / rank · B·A by hand; alpha is 8, the rank 3."""
    found = {}
    layers = adapted_layers(model)
    for name, weight in model.named_parameters():
        owner, base, _ = name.rpartition(".base_layer.")
        if "lora_" not in name:
            layer = layers.get(owner)
            a, b = (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight) if layer else (0, 0)
            change = 8 / 3 * b.float() @ a.float() if base else 0
            found[name.replace(".base_layer.", ".")] = (weight.float() + change).detach()
    return found


def test_a_plain_models_weights_are_its_own(lm):
    found = dict(plain_weights(lm))
    expected = dict(lm.named_parameters())
    assert list(found) == list(expected)  # the tied head is the table of tokens: it comes once
    assert "lm_head.weight" in lm.state_dict()
    assert "lm_head.weight" not in found
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(weight.requires_grad for weight in found.values())


def test_the_specs_describe_the_weights(adapt, lm):
    for model in (copy.deepcopy(lm).to(torch.bfloat16), adapt(torch.bfloat16), adapt()):
        weights = served_weights(model)
        dtype = next(model.parameters()).dtype
        assert all(weight.dtype == dtype for _, weight in served_weights(model))
        name_of = str(dtype).removeprefix("torch.")
        assert weight_specs(model) == [(n, name_of, list(weight.shape)) for n, weight in weights]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_are_merged_and_the_model_does_not_change(adapt, lm, dtype):
    model = adapt(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):  # a base in bfloat16 does not drift
        found = dict(plain_weights(model))
    expected = merged(model)
    assert list(found) == list(dict(lm.named_parameters())) == list(expected)
    for name, weight in found.items():
        assert weight.dtype == torch.float32
        assert torch.allclose(weight, expected[name], atol=1e-6), name
    name = "model.layers.1.mlp.up_proj"
    base = model.get_submodule(name).base_layer.weight
    assert (found[f"{name}.weight"] - base).abs().max() > 0.01
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_quantized_model_is_refused():
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(
        InputError, match="floating-point weights .*found uint8 in 'weight'.*unquant"
    ):
        weight_specs(model)


def shard(rank, model, expected, folder):
    """Rank of two: every weight is gathered, and the shards stay."""
    from torch.distributed.fsdp import fully_shard

    address = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    mesh = dist.init_device_mesh("cpu", (2,))
    for layer in model.modules():
        if type(layer).__name__ == "Qwen3DecoderLayer":
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    local = {name: p.to_local().clone() for name, p in model.named_parameters()}
    specs = weight_specs(model)
    found = dict(plain_weights(model))
    assert specs == [(name, "float32", list(value.shape)) for name, value in expected.items()]
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name
        assert type(found[name]) is torch.Tensor
    assert all(torch.equal(p.to_local(), local[name]) for name, p in model.named_parameters())
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("with_adapters", [False, True])
def test_sharded_weights_are_gathered(request, lm, tmp_path, with_adapters):
    model = request.getfixturevalue("adapt")() if with_adapters else lm
    expected = merged(model)
    mp.start_processes(shard, (model, expected, tmp_path), nprocs=2, start_method="fork")
