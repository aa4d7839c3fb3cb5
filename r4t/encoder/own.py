"""A class of the user's, named MODULE:CLASS → an encoder whose vectors are checked and unit length."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError, PluginError, nearest
from r4t.geometry import normalize

PART = 256  # texts a call


class OwnEncoder:
    """Texts to the space of your own vectors, by a class of yours.

    The class takes no arguments, has the width of its vectors as `dim`, and a method `encode` from a
    list of at most 256 texts, none of them blank, to one vector each: a tensor or an array of the
    shape (n, dim), of any length. A row of zeros says that nothing of a text is known.

    Args:
        name: MODULE:CLASS, of an installed package or of a file in the folder where r4t runs.
        dim: Keep the first ``dim`` coordinates, then normalize; all by default.

    Raises:
        InputError: There is no such class, or it is not as described.
        PluginError: Its module or its constructor raised, which is the cause.
    """

    def __init__(self, name: str, dim: int | None = None) -> None:
        self.name = name
        found = _find(name)
        try:
            self.own = found()
        except Exception as error:
            raise PluginError(
                f"An encoder of your own is made without arguments — found {name}, which raised "
                f"{type(error).__name__}: {error} — repair the class."
            ) from error
        width = getattr(self.own, "dim", None)
        if not isinstance(width, int) or width < 1 or not callable(getattr(found, "encode", None)):
            raise InputError(
                "An encoder of your own has a whole number dim, the width of its vectors, and a "
                f"method encode — found dim {width!r} and the methods {_methods(found)} in {name} — "
                "add what is missing."
            )
        if dim is not None and not 1 <= dim <= width:
            raise InputError(
                f"The encoder's dim must lie in 1..{width}, the width of {name} — found {dim} — "
                "give a dim in that range or none."
            )
        self.width = width
        self.dim = width if dim is None else dim

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d) float32 unit rows on the CPU; a blank text gives a zero row.

        Raises:
            InputError: The class gives vectors of another shape, or some that are not finite.
        """
        result = torch.zeros(len(texts), self.dim)
        spoken = [row for row, text in enumerate(texts) if text.strip()]
        for start in range(0, len(spoken), PART):
            part = spoken[start : start + PART]
            made = self._vectors([texts[row] for row in part])
            result[part] = normalize(made[:, : self.dim])
        return result

    def _vectors(self, texts: list[str]) -> Tensor:
        with torch.inference_mode():
            made = torch.as_tensor(self.own.encode(texts)).detach().cpu().float()
        if made.shape != (len(texts), self.width) or not made.isfinite().all():
            found = tuple(made.shape) if made.isfinite().all() else "values that are not finite"
            raise InputError(
                f"{self.name}.encode must give finite vectors of the shape ({len(texts)}, "
                f"{self.width}) for {len(texts)} texts — found {found} — correct the class."
            )
        return made.clone()

    def describe(self) -> str:
        """Return the name and the width."""
        return f"{self.name}, {self.dim} dimensions"

    def save(self, folder: Path) -> None:
        """Write encoder.json, a reference: the class must stay importable by its name."""
        folder.mkdir(parents=True, exist_ok=True)
        spec = {"class": type(self).__name__, "name": self.name, "dim": self.dim}
        (folder / "encoder.json").write_text(json.dumps(spec, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> OwnEncoder:
        """Make the encoder that ``save`` referred to."""
        spec = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return cls(spec["name"], spec["dim"])


def _find(name: str) -> Any:
    """Import MODULE, also from the folder where the program runs, and take CLASS out of it."""
    module_name, _, class_name = name.partition(":")
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_within(module_name, error.name):
            raise InputError(
                f"An encoder of your own is MODULE:CLASS — found {name}, but no module "
                f"{error.name} that is installed or lies in {here} — install its package, or run "
                "r4t in its folder."
            ) from error
        raise PluginError(
            f"The encoder {name} could not be imported ({type(error).__name__}: {error}) — "
            "repair its module."
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise InputError(
            f"An encoder of your own is MODULE:CLASS — found no class {class_name} in "
            f"{module.__file__} — name one of {', '.join(sorted(classes)) or 'none'}."
            f"{nearest(class_name, classes)}"
        )
    return found


def _is_within(module: str, missing: str | None) -> bool:
    """Whether the module that was missed is this one or a package of it."""
    return missing is not None and (module == missing or module.startswith(f"{missing}."))


def _methods(found: type) -> list[str]:
    return sorted(key for key, value in vars(found).items() if callable(value) and key[0] != "_")
