"""``equations.yaml`` → the page of equations; whatever it names must exist."""

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

Each equation of the paper ([arXiv:2603.06397](https://arxiv.org/abs/2603.06397)), where it lives and what
pins it. The site is not built unless the function and the test of every row exist.

"""


def equations() -> list[dict[str, str]]:
    """The rows, checked.

    Raises:
        RuntimeError: A row lacks a field, its object cannot be imported, or its test is not there.
    """
    rows: list[dict[str, str]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for row in rows:
        if set(row) != FIELDS:
            raise RuntimeError(f"An equation has {sorted(FIELDS)}, found {sorted(row)}")
        imported(row["code"])
        file, _, name = row["test"].partition("::")
        if name not in tests_of(ROOT / file):
            raise RuntimeError(f"Equation {row['number']} names {row['test']}: found no such test")
    missing = {str(number) for number in range(1, 10)} - {row["number"] for row in rows}
    if missing:
        raise RuntimeError(f"The paper has equations 1 to 9, found none of {sorted(missing)}")
    return rows


def imported(dotted: str) -> Any:
    """The object of a dotted path.

    Raises:
        RuntimeError: There is none.
    """
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name, None)
        if found is not None:
            return found
    raise RuntimeError(f"An equation names {dotted}: found nothing to import there")


def tests_of(path: Path) -> set[str]:
    """Names of the test functions of a file; none where there is no file."""
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
