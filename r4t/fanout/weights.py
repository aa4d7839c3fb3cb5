"""A language model, adapted or sharded or neither → its weights whole, as the plain model names them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from r4t.errors import InputError

# What peft puts around the names of the model that it adapts.
_WRAPPED = re.compile(r"^base_model\.model\.|(?<=\.)modules_to_save\.[^.]+\.")


def plain_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight once, without gradient, under the name that the plain model gives it.

    Adapters of ``peft`` are merged, one layer at a time, and taken out again: the model stays as it
    is, to the bit. Sharded weights (DTensors) are gathered, which is collective: every rank must
    take all of them, whatever it does with them. Tied weights come once, by their first name.

    Args:
        model: Of transformers, with or without adapters.

    Example:
        >>> [(name, tuple(weight.shape)) for name, weight in plain_weights(nn.Linear(2, 3))]
        [('weight', (3, 2)), ('bias', (3,))]
    """
    layers = {
        id(parameter): (layer, own)
        for layer in _adapted(model)
        for own, parameter in layer.get_base_layer().named_parameters()
    }
    for name, parameter in _plain_names(model).items():
        adapted = layers.get(id(parameter))
        yield name, _whole(parameter.detach()) if adapted is None else _merged(*adapted)


def described(model: nn.Module) -> list[tuple[str, str, list[int]]]:
    """Return name, dtype and shape of what ``plain_weights`` yields, in its order; gathers nothing.

    Raises:
        InputError: A weight is no floating point number, as in a quantized model.

    Example:
        >>> described(nn.Linear(2, 3))
        [('weight', 'float32', [3, 2]), ('bias', 'float32', [3])]
    """
    found = []
    for name, parameter in _plain_names(model).items():
        dtype = str(parameter.dtype).removeprefix("torch.")
        if not parameter.is_floating_point():
            raise InputError(
                "Weights can be sent to a server if they are floating point numbers, found "
                f"{dtype} in '{name}', as in a quantized model; load the model unquantized."
            )
        found.append((name, dtype, list(parameter.shape)))
    return found


def _plain_names(model: nn.Module) -> dict[str, nn.Parameter]:
    """Plain name → parameter, without those of adapters and the copies that peft keeps."""
    own = {
        id(parameter)
        for layer in _adapted(model)
        for name, parameter in layer.named_parameters()
        if not name.startswith("base_layer.")
    }
    return {
        _WRAPPED.sub("", name).replace(".base_layer.", "."): parameter
        for name, parameter in model.named_parameters()
        if id(parameter) not in own and ".original_module." not in name
    }


def _adapted(model: nn.Module) -> list[Any]:
    """The layers that peft wraps: they have a layer below them, and can merge into it."""
    return [
        layer
        for layer in model.modules()
        if hasattr(layer, "get_base_layer") and hasattr(layer, "unmerge")
    ]


def _merged(layer: Any, name: str) -> Tensor:
    """A weight of an adapted layer with its adapters merged into it, whole."""
    with torch.no_grad(), _copied(layer):
        layer.merge()
        merged: Tensor = layer.get_base_layer().get_parameter(name).detach().clone()
        layer.unmerge()  # exact in no number format, hence the copy
    return merged


@contextmanager
def _copied(module: nn.Module) -> Iterator[None]:
    """Put whole copies in the place of a module's parameters for a while."""
    kept = [
        (part, name, parameter)
        for part in module.modules()
        for name, parameter in part.named_parameters(recurse=False)
    ]
    try:
        for part, name, parameter in kept:
            copy = nn.Parameter(_whole(parameter.detach()).clone(), requires_grad=False)
            setattr(part, name, copy)
        yield
    finally:
        for part, name, parameter in kept:
            setattr(part, name, parameter)


def _whole(weight: Tensor) -> Tensor:
    """Gather a weight that is sharded over ranks."""
    gather = getattr(weight, "full_tensor", None)
    return weight if gather is None else gather()
