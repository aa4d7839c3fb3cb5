"""A file of embeddings that the user brings → (N, d) tensor."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from r4t.errors import InputError


def read_vectors(path: str | Path) -> Tensor:
    """Read the (N, d) float32 vectors of a .npy or .safetensors file, in the order of the items.

    A .safetensors file holds one tensor, or several of which one is called `embeddings`.

    Raises:
        InputError: If the file is missing, has another form, or holds no such tensor.
    """
    path = Path(path)
    if not path.is_file() or path.suffix not in (".npy", ".safetensors"):
        raise InputError(
            expected="a .npy or .safetensors file of vectors",
            found=f"{f'the suffix {path.suffix!r}' if path.is_file() else 'no file'} at {path}",
            remedy="Check the path or convert the file.",
        )
    is_array = path.suffix == ".npy"
    try:
        tensors = {"": torch.from_numpy(np.load(path))} if is_array else load_file(path)
    except (ValueError, TypeError, SafetensorError) as error:
        raise InputError(
            expected=f"{'an array of numbers' if is_array else 'tensors'} in {path}",
            found=f"other content ({error})",
            remedy=f"Save it with {'numpy.save' if is_array else 'safetensors'}.",
        ) from error
    name = next(iter(tensors)) if len(tensors) == 1 else "embeddings"
    if name not in tensors:
        raise InputError(
            expected="one tensor, or one called embeddings",
            found=f"{sorted(tensors)} in {path}",
            remedy="Rename the right one.",
        )
    vectors = tensors[name]
    if vectors.ndim != 2 or not vectors.is_floating_point():
        raise InputError(
            expected="vectors of floating-point numbers with the shape (items, width)",
            found=f"{tuple(vectors.shape)} of {vectors.dtype} in {path}",
            remedy="Convert the file.",
        )
    return vectors.float()
