"""A file of embeddings that the user brings → (N, d) tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors
import torch
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
    if path.suffix == ".npy":
        try:
            vectors = torch.from_numpy(np.load(path, allow_pickle=False))
        except (ValueError, TypeError) as error:
            raise _unreadable("an array of numbers", path, "numpy.save", error) from error
    else:
        vectors = _safetensors(path)
    if vectors.ndim != 2 or not vectors.is_floating_point():
        raise InputError(
            expected="vectors of floating-point numbers with the shape (items, width)",
            found=f"{tuple(vectors.shape)} of {vectors.dtype} in {path}",
            remedy="Convert the file.",
        )
    return vectors.float()


def _safetensors(path: Path) -> Tensor:
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = sorted(file.keys())
            name = names[0] if len(names) == 1 else "embeddings"
            if name in names:
                return file.get_tensor(name)
    except safetensors.SafetensorError as error:
        raise _unreadable("tensors", path, "safetensors", error) from error
    raise InputError(
        expected="one tensor, or one called embeddings",
        found=f"{names} in {path}",
        remedy="Rename the right one.",
    )


def _unreadable(content: str, path: Path, writer: str, error: Exception) -> InputError:
    return InputError(
        expected=f"{content} in {path}",
        found=f"other content ({error})",
        remedy=f"Save the file with {writer}.",
    )
