"""Python source → the modules and names that it imports but that do not exist."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path


def unknown(source: str, place: Path) -> list[str]:
    """Return the modules and names that cannot be imported.

    Args:
        source: A module; it is not run.
        place: Folder with the page's own modules, which are not run either.

    Examples:
        >>> unknown("import json, jsn; from r4t.errors import InputError, InputEror", Path("docs"))
        ['jsn', 'r4t.errors.InputEror']
        >>> unknown("from r4t.diffusion import network", Path("docs"))
        []
    """
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            missing += [name.name for name in node.names if not _is_module(name.name, place)]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [name.name for name in node.names]
            if _is_module(node.module, place):
                absent = [name for name in names if not _has(node.module, name, place)]
                missing += [f"{node.module}.{name}" for name in absent]
            else:
                missing.append(node.module)
    return missing


def _file(module: str, place: Path) -> Path | None:
    return next(place.rglob(f"{module}.py"), None)


def _is_module(module: str, place: Path) -> bool:
    if _file(module, place) is not None:
        return True
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return True


def _has(module: str, name: str, place: Path) -> bool:
    path = _file(module, place)
    if path is not None:
        return name in set(_defined(path))
    return hasattr(importlib.import_module(module), name) or _is_module(f"{module}.{name}", place)


def _defined(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for name in node.targets if isinstance(name, ast.Name))
