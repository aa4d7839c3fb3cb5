"""Python source → what it imports that there is not."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path


def unknown(source: str, place: Path) -> list[str]:
    """Return the modules and names that cannot be imported, as the source names them.

    Args:
        source: A module that need not be run.
        place: Folder with the page's own modules, which are read, not run.

    Examples:
        >>> unknown("import json, jsn; from r4t.errors import InputError, InputEror", Path("docs"))
        ['jsn', 'r4t.errors.InputEror']
        >>> unknown("from r4t.diffusion import network", Path("docs"))
        []
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if not _is_module(name.name, place)]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [name.name for name in node.names]
            if _is_module(node.module, place):
                there = [name for name in names if _has(node.module, name, place)]
                found += [f"{node.module}.{name}" for name in names if name not in there]
            else:
                found.append(node.module)
    return found


def _own(module: str, place: Path) -> Path | None:
    return next(place.rglob(f"{module}.py"), None)


def _is_module(module: str, place: Path) -> bool:
    if _own(module, place) is not None:
        return True
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return True


def _has(module: str, name: str, place: Path) -> bool:
    own = _own(module, place)
    if own is not None:
        return name in set(_defined(own))
    return hasattr(importlib.import_module(module), name) or _is_module(f"{module}.{name}", place)


def _defined(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for name in node.targets if isinstance(name, ast.Name))
