"""A language model, perhaps adapted (LoRA) or sharded (FSDP2) → its whole weights, plainly named."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from r4t.errors import InputError

ADAPTER = "default"  # peft's name for the only adapter
BASE = ".base_layer."  # between the name of an adapted layer and that of its frozen weight


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Leave each process its share of every weight, in place; a second call does nothing.

    Each repeated layer is gathered only for its turn, the weights around them with the whole model.

    Args:
        model: Whole, and the same on each process.
        mesh: ``data_parallel`` by ``tensor_parallel`` (which must be 1) processes, as in Lightning's
            ``ModelParallelStrategy``.
    """
    if is_sharded(model):
        return
    tensor_parallel = mesh["tensor_parallel"].size()
    if tensor_parallel > 1:
        raise InputError(
            expected="ModelParallelStrategy with tensor_parallel_size 1",
            found=f"{tensor_parallel}",
            remedy="Set it to 1 and data_parallel_size to the number of processes.",
        )
    layers = next((part for part in model.modules() if isinstance(part, nn.ModuleList)), None)
    if layers is None:
        raise InputError(
            expected="a model with a list of layers to shard",
            found=f"none in {type(model).__name__}",
            remedy="Train it with strategy ddp.",
        )
    for part in (*layers, model):
        # Between passes every weight is a share, including the root's, which would stay gathered.
        fully_shard(part, mesh=mesh["data_parallel"], reshard_after_forward=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether processes share the model's weights."""
    return isinstance(model, FSDPModule)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Hold all weights of a sharded model whole on every process inside the block.

    All processes must enter it. Inside, each may run the model any number of times, because completions
    differ in length. It takes memory for all weights but does not gather them for each token.
    """
    if not isinstance(model, FSDPModule):
        yield
        return
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    model.set_reshard_after_forward(False)
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
        model.set_reshard_after_forward(True)


def whole(weight: Tensor) -> Tensor:
    """Return the whole of a weight; all processes that share it must call this."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def is_first_process() -> bool:
    """Whether this process writes the files; true if it is the only one."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


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
