"""The packages → API pages, one a room, written by mkdocstrings from the docstrings."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "Ask a run for sets": ["retriever", "choice"],
    "Sets and objectives": [
        "sets",
        "objective",
        "plugins",
        "reward",
        "filters",
        "metrics",
        "geometry",
    ],
    "Testing an objective": ["testing"],
    "Shipped objectives": ["r4t_objectives"],
    "Catalog and data": ["catalog", "data", "cache", "words"],
    "Encoder, index, search": ["encoder", "index", "search"],
    "Fan-out": ["fanout"],
    "Tuning": ["grpo"],
    "Synthesis and target sets": ["synthesis", "targets"],
    "Diffusion": ["diffusion"],
    "Evaluation": ["evaluation"],
    "Language models as judges": ["chat"],
    "Runs and small parts": [
        "run",
        "callbacks",
        "configs",
        "errors",
        "facts",
        "files",
        "interruption",
        "progress",
        "randomness",
        "seeds",
        "stopwatch",
    ],
}
"""Title of a page → the modules (below r4t) and packages on it, in the order of the corridor."""
UNTOLD = {"cli", "__main__", "__init__"}  # the program has pages of its own


def api_pages() -> dict[str, str]:
    """Name → text of each page, and of an index.

    Raises:
        RuntimeError: A module of ``ROOMS`` is not there.
    """
    pages = {}
    index = [
        "# API",
        "",
        "From the docstrings; shapes use the letters of the [glossary](../../concepts.md#glossary).",
        "",
    ]
    for title, names in ROOMS.items():
        file = f"{title.lower().replace(',', '').replace(' ', '_')}.md"
        modules = [module for name in names for module in modules_of(name)]
        parts = [f"# {title}", ""]
        for module in modules:
            parts += [f"::: {module}", ""]
        pages[f"reference/api/{file}"] = "\n".join(parts)
        index.append(f"* [{title}]({file}): " + ", ".join(f"`{module}`" for module in modules))
    return {"reference/api/index.md": "\n".join(index) + "\n", **pages}


def modules_of(name: str) -> list[str]:
    """Dotted names of a module, or of all modules of a package that define something."""
    if name == "r4t_objectives":
        folder, dotted = ROOT / "objectives" / name, name
    else:
        folder, dotted = ROOT / "r4t" / name, f"r4t.{name}"
    file = folder.with_suffix(".py")
    if file.is_file():
        return [dotted]
    if not folder.is_dir():
        raise RuntimeError(f"docs/site/api_pages.py names {dotted}: found no such module")
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if defines(path):
            found.append(".".join((dotted, *parts)))
    return found


def defines(path: Path) -> bool:
    """Whether a file has a public class or function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in tree.body)
