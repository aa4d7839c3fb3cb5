"""A class of the user's, named MODULE:CLASS → an encoder whose vectors are checked and unit length."""

import importlib
import os
import sys

import torch
from torch import Tensor

from r4t.encoder.model_encoder import ModelEncoder
from r4t.errors import InputError, PluginError, nearest


class CustomEncoder(ModelEncoder):
    """Texts to the space of your own vectors, by a class of yours.

    The class takes no arguments. It has the width of its vectors as `dim`, and a method `encode` from
    a list of at most 256 texts, none of them blank, to a tensor or an array of shape (n, dim), with
    rows of any length. A row of zeros says that nothing of a text is known.

    Args:
        name: MODULE:CLASS, in an installed package or in a file in the folder where r4t runs.
        dim: As in ``ModelEncoder``.

    Raises:
        InputError: If there is no such class, or it is not as described.
        PluginError: If its module or its constructor raised an error, which is the cause.
    """

    def __init__(self, name: str, dim: int | None = None) -> None:
        encoder_class = _find(name)
        try:
            self.encoder = encoder_class()
        except Exception as error:
            raise PluginError(
                expected="an encoder class without constructor arguments",
                found=f"{name}, which raised {type(error).__name__}: {error}",
                remedy="Repair the class.",
            ) from error
        width = getattr(self.encoder, "dim", None)
        encode = getattr(encoder_class, "encode", None)
        if not isinstance(width, int) or width < 1 or not callable(encode):
            methods = [k for k, v in vars(encoder_class).items() if callable(v) and k[0] != "_"]
            raise InputError(
                expected="an encoder with a whole number dim, the width of its vectors, and a "
                "method encode",
                found=f"dim {width!r} and the methods {sorted(methods)} in {name}",
                remedy="Add what is missing.",
            )
        super().__init__(name, width, dim, 256, {"name": name, "dim": dim})

    def _vectors(self, texts: list[str]) -> Tensor:
        vectors = torch.as_tensor(self.encoder.encode(texts)).detach().cpu().float()
        finite = vectors.isfinite().all()
        if vectors.shape != (len(texts), self.width) or not finite:
            raise InputError(
                expected=f"finite vectors of the shape ({len(texts)}, {self.width}) from "
                f"{self.name}.encode",
                found=f"{tuple(vectors.shape) if finite else 'values that are not finite'}",
                remedy="Correct the class.",
            )
        return vectors


def _find(name: str) -> type:
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
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):  # it, or a package around it
            raise InputError(
                expected=f"a module {missing} that is installed or in {here}",
                found=f"none for the encoder {name}",
                remedy="Install its package, or run r4t in its folder.",
            ) from error
        raise PluginError(
            expected=f"an encoder {name} that can be imported",
            found=f"{type(error).__name__}: {error}",
            remedy="Repair its module.",
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    encoder_class = getattr(module, class_name, None)
    if not isinstance(encoder_class, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise InputError(
            expected=f"one of the classes {', '.join(sorted(classes)) or 'none'} in {module.__file__}",
            found=f"{class_name!r}",
            remedy=f"Name the encoder as MODULE:CLASS.{nearest(class_name, classes)}",
        )
    return encoder_class
