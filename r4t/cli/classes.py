"""A class path, right or wrong → the settings of its class, or the path that is nearest to it."""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Sequence

from r4t.errors import nearest

TOP_PACKAGES = ("r4t", "r4t_objectives", "lightning", "torch", "transformers")


def parameters(path: str) -> list[str]:
    """Return the names of a class's constructor arguments, of its bases' too where it hands them on.

    Examples:
        >>> parameters("r4t.choice.BestRows")[:1]
        ['by']
    """
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    names: dict[str, None] = {}
    for owner in inspect.getmro(found) if inspect.isclass(found) else [found]:
        init = vars(owner).get("__init__") if inspect.isclass(owner) else owner
        if init is None:
            continue
        kinds = inspect.signature(init).parameters.values()
        named = [p.name for p in kinds if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        names.update(dict.fromkeys(name for name in named if name != "self"))
        if not any(p.kind == p.VAR_KEYWORD for p in kinds):
            break
    return list(names)


def nearest_class(path: str) -> str:
    """Return the class path closest to one that leads nowhere; empty where none is near.

    Examples:
        >>> nearest_class("r4t.errors.InptError")
        'r4t.errors.InputError'
        >>> nearest_class("r4t.eror.InputError")
        'r4t.errors.InputError'
    """
    parts = path.split(".")
    if len(parts) == 1:
        classes = {
            name: f"{found.__module__}.{name}"
            for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "r4t"]
            for name, found in vars(module).items()
            if inspect.isclass(found) and found.__module__.split(".")[0] == "r4t"
        }
        close = _closest(path, classes)
        return classes[close] if close else ""
    right: list[str] = []
    for part in parts:
        options = _members(".".join(right)) if right else list(TOP_PACKAGES)
        chosen = part if part in options else _closest(part, options)
        if not chosen:
            return ""
        right.append(chosen)
    return ".".join(right)


def _members(path: str) -> list[str]:
    """Modules and classes of a module."""
    try:
        module = importlib.import_module(path)
    except ImportError:
        return []
    names = [info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))]
    return names + [name for name, found in vars(module).items() if inspect.isclass(found)]


def _closest(word: str, options: Sequence[str] | dict[str, str]) -> str:
    said = re.search(r"'(.+)'", nearest(word, options))
    return said[1] if said else ""
