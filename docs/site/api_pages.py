"""The packages → API pages, one per topic, which mkdocstrings fills from the docstrings."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {
    "Retrieve sets from a run": ["retriever", "run"],
    "Sets and objectives": [
        "sets",
        "objective",
        "plugins",
        "reward",
        "credit",
        "filters",
        "metrics",
        "geometry",
    ],
    "Testing an objective": ["testing"],
    "Shipped objectives": ["r4t_objectives"],
    "Catalog and data": ["catalog", "data"],
    "Encoder, index, search": ["encoder", "index", "search"],
    "Fan-out": ["fanout"],
    "Tuning": ["grpo"],
    "Synthesis and target sets": ["synthesis", "targets"],
    "Diffusion": ["diffusion", "choice"],
    "Methods": ["methods"],
    "Evaluation": ["evaluation", "report"],
    "Language models as judges": ["chat"],
    "Training and support": ["training", "errors", "support"],
}
"""Title of a page → its modules (below r4t) and packages, in the order of the data flow."""
NO_API = {"cli", "__main__", "__init__"}  # the command line has pages of its own


def api_pages() -> dict[str, str]:
    """Name → text of each page, and of an index.

    Raises:
        RuntimeError: If a module in ``TOPICS`` does not exist.
    """
    pages = {}
    index = [
        "# API",
        "",
        "Generated from the docstrings. Shapes use the letters of the "
        "[glossary](../../concepts.md#glossary).",
        "",
    ]
    for title, names in TOPICS.items():
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
        folder, package = ROOT / "objectives" / name, name
    else:
        folder, package = ROOT / "r4t" / name, f"r4t.{name}"
    if folder.with_suffix(".py").is_file():
        return [package]
    if not folder.is_dir():
        raise RuntimeError(f"docs/site/api_pages.py names {package}, which does not exist")
    modules = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if defines(path):
            modules.append(".".join((package, *parts)))
    return modules


def defines(path: Path) -> bool:
    """Whether a file has a public class or function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in tree.body)
