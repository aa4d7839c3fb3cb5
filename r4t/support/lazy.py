"""Names and the modules that define them → a package that imports them when they are first used."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """Return the ``__getattr__`` and ``__all__`` of a package; ``modules`` define the names.

    Examples:
        >>> get, names = lazily("r4t", {"InputError": "r4t.errors"})
        >>> names, get("InputError").__name__
        (['InputError'], 'InputError')
        >>> get("Nothing")
        Traceback (most recent call last):
        AttributeError: module 'r4t' has no attribute 'Nothing'
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return get, sorted(modules)
