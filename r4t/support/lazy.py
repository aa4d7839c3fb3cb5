"""Modules and the names they define → a package that imports them when they are first used."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """Return the ``__getattr__`` and ``__all__`` of a package.

    Args:
        package: Its ``__name__``.
        names: Module below ``r4t`` → the names it offers, a space apart.

    Examples:
        >>> get, offered = lazily("r4t", {"errors": "InputError PluginError"})
        >>> offered, get("InputError").__name__
        (['InputError', 'PluginError'], 'InputError')
        >>> get("Nothing")
        Traceback (most recent call last):
        AttributeError: module 'r4t' has no attribute 'Nothing'
    """
    modules = {name: f"r4t.{module}" for module, line in names.items() for name in line.split()}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return get, sorted(modules)
