"""What a method fitted on training queries ↔ a file of the run, fitted again only if something changed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from r4t.errors import InputError
from r4t.support.files import replacing
from r4t.support.fingerprints import fingerprint

T = TypeVar("T")
Parts = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and plain facts
MEAN = "mean_query"


def keep_fitted(
    folder: Path,
    about: Mapping[str, Any],
    vectors: Tensor,
    fit: Callable[[], T],
    take_apart: Callable[[T], Parts],
    build: Callable[[dict[str, Tensor], dict[str, Any]], T],
) -> T:
    """Return what is kept in a folder, or fit it and keep it there.

    A file is used only for the settings ``about`` that name it, and only if the encoder still gives
    the training queries their vectors (n, d): the file holds the mean of these.

    Args:
        folder: Where files are kept.
        about: Plain values on which the result depends, but for the vectors.
        vectors: (n, d) unit vectors of the training queries.
        fit: Fits the result.
        take_apart: Turns it into tensors and facts.
        build: Turns these back; whatever a damaged file makes it raise is reported.

    Raises:
        InputError: If the file is damaged.
    """
    path, mean = folder / f"{fingerprint(about)[:16]}.safetensors", vectors.mean(0)
    if path.is_file():
        found, seen = _read(path, build)
        # The same encoder gives vectors that differ by rounding alone.
        if seen.shape == mean.shape and seen.allclose(mean, atol=1e-4):
            return found
    fitted = fit()
    tensors, facts = take_apart(fitted)
    state = {**{name: each.contiguous() for name, each in tensors.items()}, MEAN: mean}
    with replacing(path) as part:
        save_file(state, part, {"facts": json.dumps(facts)})
    return fitted


def _read(path: Path, build: Callable[[dict[str, Tensor], dict[str, Any]], T]) -> tuple[T, Tensor]:
    """Return what ``keep_fitted`` wrote, and the mean of the vectors."""
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            facts = json.loads(file.metadata()["facts"])
        mean = state.pop(MEAN)
        return build(state, facts), mean
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            expected="what a method of this run fitted and keeps",
            found=f"a damaged file at {path}",
            remedy="Delete it; it is fitted again.",
        ) from error
