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
    """Leave each process its share of every weight, in place; once is enough.

    Each of the repeated layers is gathered when it is its turn and given up after it, and what is
    around them (embeddings, last norm) with the whole.

    Args:
        model: Whole, and the same on each process.
        mesh: Processes, as Lightning's ``ModelParallelStrategy`` lays them out: ``data_parallel`` by
            ``tensor_parallel``.

    Raises:
        InputError: The mesh is tensor-parallel too, or the model has no list of layers.
    """
    if is_sharded(model):
        return
    across = mesh["tensor_parallel"].size()
    if across > 1:
        raise InputError(
            f"ModelParallelStrategy must have tensor_parallel_size 1, found {across}; set it to 1 and "
            "data_parallel_size to the number of processes."
        )
    layers = next((part for part in model.modules() if isinstance(part, nn.ModuleList)), None)
    if layers is None:
        raise InputError(
            f"A model to shard must have a list of layers, found none in {type(model).__name__}; "
            "train it with strategy ddp."
        )
    processes = mesh["data_parallel"]
    for layer in layers:
        fully_shard(layer, mesh=processes)
    # Between passes every weight is a share, also those of the root, which would stay gathered.
    fully_shard(model, mesh=processes, reshard_after_forward=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether processes share the model's weights."""
    return isinstance(model, FSDPModule)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Have all weights of a sharded model whole on every process for a while.

    Processes gather them together, and then each goes forward as often as it needs: completions end
    at different lengths. It costs the memory of the whole model's weights and saves gathering them
    anew for each token.
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
    """Return a weight that processes share as each of them would hold it; all must ask for it."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def is_first_process() -> bool:
    """Whether this process is the one that writes files; true where there is no other."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
