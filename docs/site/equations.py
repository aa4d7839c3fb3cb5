"""``equations.yaml`` → the page of equations, once every function and test it names is found."""

import ast
import importlib
from pathlib import Path
from typing import Any

import yaml
from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("equations.yaml")
FIELDS = {"number", "says", "tex", "code", "test"}

INTRODUCTION = """# Equations

Each equation of the paper ([arXiv:2603.06397](https://arxiv.org/abs/2603.06397)), with the code that computes
it and the test that checks it; then, marked *Ours*, some that are not in the paper. The site is built only
if all of them exist.

"""


def equations() -> list[dict[str, str]]:
    """The rows, checked.

    Raises:
        RuntimeError: If a row lacks a field, its object cannot be imported, or its test does not exist.
    """
    rows: list[dict[str, str]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for row in rows:
        if set(row) != FIELDS:
            raise RuntimeError(f"An equation needs {sorted(FIELDS)}, but one has {sorted(row)}")
        imported(row["code"])
        file, _, name = row["test"].partition("::")
        if name not in tests_of(ROOT / file):
            raise RuntimeError(f"Equation {row['number']} names a missing test, {row['test']}")
    missing = {str(number) for number in range(1, 10)} - {row["number"] for row in rows}
    if missing:
        raise RuntimeError(f"equations.yaml lacks the paper's equations {sorted(missing)}")
    return rows


def imported(dotted: str) -> Any:
    """The object at a dotted path.

    Raises:
        RuntimeError: If it cannot be imported.
    """
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            target = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            target = getattr(target, name, None)
        if target is not None:
            return target
    raise RuntimeError(f"An equation names {dotted}, which cannot be imported")


def tests_of(path: Path) -> set[str]:
    """Names of the test functions of a file; empty if there is no such file."""
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def equations_page() -> dict[str, str]:
    """Name → text of the page."""
    parts = [INTRODUCTION]
    for row in equations():
        label = f"({row['number']})" if row["number"].isdigit() else row["number"]
        parts.append(
            f"## {label} {row['says']}\n\n"
            f'<div class="equation">{convert(row["tex"], display="block")}</div>\n\n'
            f"[`{row['code']}`][{row['code']}] · `{row['test']}`\n"
        )
    return {"reference/equations.md": "\n".join(parts)}
