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
        InputError: The file is missing, of another form, or holds no such tensor.
    """
    path = Path(path)
    if not path.is_file() or path.suffix not in (".npy", ".safetensors"):
        found = f"the suffix {path.suffix!r}" if path.is_file() else "no file"
        raise InputError(
            f"Own vectors come in a .npy or .safetensors file — found {found} at {path} "
            "— check the path or convert the file."
        )
    vectors = _npy(path) if path.suffix == ".npy" else _safetensors(path)
    if vectors.ndim != 2 or not vectors.is_floating_point():
        raise InputError(
            f"Own vectors must be floating-point numbers of the shape (items, width) — found "
            f"{tuple(vectors.shape)} of {vectors.dtype} in {path} — convert the file."
        )
    return vectors.float()


def _npy(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"A .npy file must hold one array of numbers — found another content in {path} "
            f"({error}) — save it with numpy.save."
        ) from error


def _safetensors(path: Path) -> Tensor:
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = sorted(file.keys())
            name = names[0] if len(names) == 1 else "embeddings"
            if name in names:
                return file.get_tensor(name)
    except safetensors.SafetensorError as error:
        raise InputError(
            f"A .safetensors file must hold tensors — found another content in {path} ({error}) "
            "— save it with safetensors."
        ) from error
    raise InputError(
        "A .safetensors file of own vectors holds one tensor or one called embeddings — found "
        f"{names} in {path} — rename the right one."
    )
