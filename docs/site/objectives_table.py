"""The installed entry points → the table of objectives."""

from r4t.cli.objectives import Entry, describe
from r4t.plugins import OBJECTIVES, installed

INTRODUCTION = """# Installed objectives

Every package that registers an entry point in the group `r4t.objectives` adds a row here; this table was
made from what is installed where the site was built. On your machine `r4t objectives` prints it, and
`r4t objectives NAME` tells all of one. Formulas and degenerate cases:
[Objectives](../objectives.md). How to write one: [a recipe](../recipes/objective.md).

| name | what it measures | range | needs | gradient |
|---|---|---|---|---|
"""


def objectives_page() -> dict[str, str]:
    """Name → text of the page.

    Raises:
        RuntimeError: Nothing is installed, or what is installed is broken.
    """
    found = [describe(name, point) for name, point in installed(OBJECTIVES).items()]
    broken = [f"{entry.name}: {entry.broken}" for entry in found if entry.broken]
    if broken or not found:
        raise RuntimeError(f"Objectives must be installed and whole, found {broken or 'none'}")
    return {"reference/objectives.md": INTRODUCTION + "\n".join(map(row, found)) + "\n"}


def row(entry: Entry) -> str:
    """One objective as a row of the table."""
    if entry.range is None:
        bounds = "by its arguments"
    else:
        bounds = "{:g} … {:g}".format(*entry.range)
    needs = "by its arguments" if entry.needs is None else ", ".join(entry.needs)
    gradient = "yes" if entry.differentiable else "–"
    name = f"[`{entry.name}`][{entry.class_path}]"
    return f"| {name} | {entry.what} | {bounds} | {needs or '–'} | {gradient} |"
