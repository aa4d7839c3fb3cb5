"""A language model that each process holds whole ↔ one whose weights the processes share (FSDP2)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from r4t.errors import InputError


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
    processes = mesh["data_parallel"]
    for layer in layers:
        fully_shard(layer, mesh=processes)
    # Between passes every weight is a share, including the root's, which would stay gathered.
    fully_shard(model, mesh=processes, reshard_after_forward=True)


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
