"""A language model, adapted or shared by processes or neither → its weights whole, under plain names."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from r4t.errors import InputError
from r4t.fanout.sharding import whole

ADAPTER = "default"  # peft's name for the only adapter
BASE = ".base_layer."  # between the name of an adapted layer and that of its frozen weight


def adapted(model: nn.Module) -> dict[str, Any]:
    """Return the layers with an adapter by name; none for a model without LoRA."""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


def plain_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of each weight of the model as it would be without adapters.

    One at a time, whole and on the model's device: shares are gathered, in which all processes must
    take part, and adapters merged in, in float32. The model's own weights stay as they are. Of tied
    weights the first name alone is there.

    Args:
        model: With or without adapters, sharded or not.

    Examples:
        >>> [(name, tuple(weight.shape)) for name, weight in plain_weights(nn.Linear(2, 3))]
        [('weight', (3, 2)), ('bias', (3,))]
    """
    layers = adapted(model)
    for name, parameter, layer in _plain_parameters(model):
        weight = whole(parameter.detach())
        if layers and weight.is_floating_point():
            weight = weight.float()
        yield name, weight if layer is None else weight + _change(layer)


def described(model: nn.Module) -> list[tuple[str, str, list[int]]]:
    """Return name, dtype and shape of each plain weight as ``served_weights`` gives it.

    Nothing is gathered.

    Raises:
        InputError: A weight is no floating point number, as in a quantized model.

    Examples:
        >>> described(nn.Linear(2, 3))
        [('weight', 'float32', [3, 2]), ('bias', 'float32', [3])]
    """
    found = []
    for name, parameter, _ in _plain_parameters(model):
        dtype = str(parameter.dtype).removeprefix("torch.")
        if not parameter.is_floating_point():
            raise InputError(
                "Weights can be sent to a server if they are floating point numbers, found "
                f"{dtype} in '{name}', as in a quantized model; load the model unquantized."
            )
        found.append((name, dtype, list(parameter.shape)))
    return found


def served_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what ``plain_weights`` does, each in the dtype of the model's own weight."""
    for (name, weight), (_, dtype, _) in zip(plain_weights(model), described(model)):
        yield name, weight.to(getattr(torch, dtype))


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return name → value of adapters alone, on the CPU, under the names that ``peft`` gives them.

    All processes that share the model's weights must ask for them.
    """
    layers = adapted(model)
    return {
        f"base_model.model.{name.replace(f'.{ADAPTER}', '')}": whole(value).cpu().contiguous()
        for name, value in model.state_dict().items()
        if _of_adapter(name, layers)
    }


def _plain_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor, Any]]:
    """Yield plain name and parameter of each weight, with the layer whose adapter changes it."""
    layers, seen = adapted(model), set()
    for name, parameter in model.state_dict(keep_vars=True).items():
        if id(parameter) in seen or _of_adapter(name, layers):
            continue
        seen.add(id(parameter))
        owner, base, kind = name.rpartition(BASE)
        changed = layers[owner] if base and kind == "weight" else None
        yield f"{owner}.{kind}" if base else name, parameter, changed


def _of_adapter(name: str, layers: dict[str, Any]) -> bool:
    """Whether a weight belongs to an adapter: ``LAYER.lora_A.default.weight``."""
    return name.rpartition(".lora_")[0] in layers


def _change(layer: Any) -> Tensor:
    """Return what an adapter adds to the weight beside it: alpha / rank · B·A."""
    first, second = (whole(part[ADAPTER].weight.detach()) for part in (layer.lora_A, layer.lora_B))
    change = layer.scaling[ADAPTER] * (second.float() @ first.float())
    return change.T if layer.fan_in_fan_out else change  # as in GPT-2's Conv1D
