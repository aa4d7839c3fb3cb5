"""A language model, possibly adapted or sharded → its weights whole, under plain names."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from r4t.errors import InputError
from r4t.fanout.sharding import whole

ADAPTER = "default"  # peft's name for the only adapter
BASE = ".base_layer."  # between the name of an adapted layer and that of its frozen weight


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """Return the layers with an adapter by name; none for a model without LoRA."""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


def plain_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of each weight, adapters merged in (in float32) and shares gathered.

    Each is whole and on the model's device, one at a time; all processes that share the weights must
    iterate. The model does not change. Of tied weights only the first name appears.

    Examples:
        >>> [(name, tuple(weight.shape)) for name, weight in plain_weights(nn.Linear(2, 3))]
        [('weight', (3, 2)), ('bias', (3,))]
    """
    adapted = bool(adapted_layers(model))
    for name, parameter, layer in _plain_parameters(model):
        weight = whole(parameter.detach())
        if adapted and weight.is_floating_point():
            weight = weight.float()
        yield name, weight if layer is None else weight + _change(layer)


def weight_specs(model: nn.Module) -> list[tuple[str, str, list[int]]]:
    """Return name, dtype and shape of each weight that ``served_weights`` yields; gathers nothing.

    Raises:
        InputError: If a weight is not a floating-point number, as in a quantized model.

    Examples:
        >>> weight_specs(nn.Linear(2, 3))
        [('weight', 'float32', [3, 2]), ('bias', 'float32', [3])]
    """
    specs = []
    for name, parameter, _ in _plain_parameters(model):
        dtype = str(parameter.dtype).removeprefix("torch.")
        if not parameter.is_floating_point():
            raise InputError(
                expected="floating-point weights to send to a server",
                found=f"{dtype} in '{name}', as in a quantized model",
                remedy="Load the model unquantized.",
            )
        specs.append((name, dtype, list(parameter.shape)))
    return specs


def served_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield ``plain_weights``, each in the dtype of the model's own weight."""
    for (name, weight), (_, dtype, _) in zip(plain_weights(model), weight_specs(model)):
        yield name, weight.to(getattr(torch, dtype))


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the adapters' weights under ``peft``'s names, on the CPU; all processes must call this."""
    layers = adapted_layers(model)
    return {
        f"base_model.model.{name.replace(f'.{ADAPTER}', '')}": whole(value).cpu().contiguous()
        for name, value in model.state_dict().items()
        if _of_adapter(name, layers)
    }


def _plain_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor, Any]]:
    """Yield plain name and parameter of each weight, with the layer whose adapter changes it."""
    layers, seen = adapted_layers(model), set()
    for name, parameter in model.state_dict(keep_vars=True).items():
        if id(parameter) in seen or _of_adapter(name, layers):
            continue
        seen.add(id(parameter))
        owner, base, kind = name.rpartition(BASE)
        layer = layers[owner] if base and kind == "weight" else None
        yield f"{owner}.{kind}" if base else name, parameter, layer


def _of_adapter(name: str, layers: dict[str, Any]) -> bool:
    return name.rpartition(".lora_")[0] in layers  # LAYER.lora_A.default.weight


def _change(layer: Any) -> Tensor:
    """Return what an adapter adds to the weight beside it: alpha / rank · B·A."""
    first, second = (whole(part[ADAPTER].weight.detach()) for part in (layer.lora_A, layer.lora_B))
    change = layer.scaling[ADAPTER] * (second.float() @ first.float())
    return change.T if layer.fan_in_fan_out else change  # as in GPT-2's Conv1D
