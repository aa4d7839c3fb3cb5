"""Weights come whole, merged and under plain names; the model stays as it was, to the bit."""

import copy
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from r4t.errors import InputError
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.weights import described, plain_weights


@pytest.fixture(scope="module")
def lm():
    texts = ["red linen shirt", "blue wool coat"] * 3
    return TinyQwen3(width=32, layers=2, vocabulary=300).build(texts, None)[0]


@pytest.fixture
def adapt(lm):
    """Adapts a copy of the model; no adapter is zero."""
    peft = pytest.importorskip("peft")

    def make(dtype=torch.float32, **arguments):
        config = peft.LoraConfig(r=3, target_modules="all-linear", **arguments)
        found = peft.get_peft_model(copy.deepcopy(lm).to(dtype), config)
        torch.manual_seed(0)
        with torch.no_grad():
            for name, parameter in found.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return found

    return make


def test_a_plain_model_is_told_as_it_is(lm):
    found = dict(plain_weights(lm))
    expected = dict(lm.named_parameters())
    assert list(found) == list(expected)  # the tied head is the table of tokens: it comes once
    assert "lm_head.weight" in lm.state_dict()
    assert "lm_head.weight" not in found
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(weight.requires_grad for weight in found.values())


def test_what_is_told_first_is_what_comes(lm):
    told = described(copy.deepcopy(lm).to(torch.bfloat16))
    found = plain_weights(lm)
    assert told == [(name, "bfloat16", list(weight.shape)) for name, weight in found]


def test_adapters_are_merged_and_taken_out_again(adapt, lm):
    model = adapt()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():  # as validation is
        found = dict(plain_weights(model))
    merged = dict(copy.deepcopy(model).merge_and_unload().named_parameters())
    assert (
        list(found) == list(dict(lm.named_parameters())) == [name for name, *_ in described(model)]
    )
    assert all(torch.equal(found[name], merged[name]) for name in merged)
    name = "model.layers.1.mlp.up_proj.weight"
    layer = model.base_model.model.model.layers[1].mlp.up_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    by_hand = layer.base_layer.weight + 8 / 3 * b @ a  # lora_alpha is 8, r is 3
    assert torch.allclose(found[name], by_hand, atol=1e-6)
    assert (found[name] - layer.base_layer.weight).abs().max() > 0.01
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not layer.merged


def test_a_base_of_few_bits_is_not_worn_down(adapt):
    model = adapt(torch.bfloat16)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    first = dict(plain_weights(model))
    for _ in range(3):
        again = dict(plain_weights(model))
    assert all(torch.equal(model.state_dict()[name], kept[name]) for name in kept)
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert first["model.layers.0.mlp.up_proj.weight"].dtype == torch.bfloat16
    # What plain merging and unmerging would have done to it.
    model.merge_adapter()
    model.unmerge_adapter()
    assert any(not torch.equal(model.state_dict()[name], kept[name]) for name in kept)


def test_modules_trained_beside_adapters_are_told_as_trained(adapt, lm):
    model = adapt(modules_to_save=["norm"])
    found = dict(plain_weights(model))
    assert sorted(found) == sorted(dict(lm.named_parameters()))
    trained = model.base_model.model.model.norm.modules_to_save["default"].weight
    assert torch.equal(found["model.norm.weight"], trained)
    assert not torch.equal(trained, lm.model.norm.weight)


def test_a_quantized_model_is_refused():
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(
        InputError, match="floating point numbers, found uint8 in 'weight'.*unquant"
    ):
        described(model)


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
    told = described(model)
    found = dict(plain_weights(model))
    assert told == [(name, "float32", list(value.shape)) for name, value in expected.items()]
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name
        assert type(found[name]) is torch.Tensor
    assert all(torch.equal(p.to_local(), local[name]) for name, p in model.named_parameters())
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("adapted", [False, True])
def test_sharded_weights_are_gathered(request, lm, tmp_path, adapted):
    model = request.getfixturevalue("adapt")() if adapted else lm
    plain = copy.deepcopy(model).merge_and_unload() if adapted else model
    expected = {name: value.detach() for name, value in plain.named_parameters()}
    mp.start_processes(shard, (model, expected, tmp_path), nprocs=2, start_method="fork")
