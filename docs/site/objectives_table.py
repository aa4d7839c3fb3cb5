"""The installed entry points → the table of objectives."""

from r4t.cli.objectives import Entry, describe
from r4t.plugins import OBJECTIVES, installed

INTRODUCTION = """# Installed objectives

Every package that registers an entry point in the group `r4t.objectives` adds a row to this table. It shows
the objectives that were installed where the site was built. `r4t objectives` prints the table for your
machine, and `r4t objectives NAME` describes one objective in full. [Objectives](../objectives.md) has
formulas and degenerate cases; a [recipe](../recipes/objective.md) shows how to write one.

| name | what it measures | range | needs | gradient |
|---|---|---|---|---|
"""


def objectives_page() -> dict[str, str]:
    """Name → text of the page.

    Raises:
        RuntimeError: If no objective is installed, or one is broken.
    """
    entries = [describe(name, point) for name, point in installed(OBJECTIVES).items()]
    broken = [f"{entry.name}: {entry.broken}" for entry in entries if entry.broken]
    if broken or not entries:
        raise RuntimeError(
            f"Broken objectives: {broken}" if broken else "No objective is installed"
        )
    return {"reference/objectives.md": INTRODUCTION + "\n".join(map(row, entries)) + "\n"}


def row(entry: Entry) -> str:
    """One objective as a row of the table."""
    if entry.range is None:
        bounds = "depends on arguments"
    else:
        bounds = "{:g} … {:g}".format(*entry.range)
    needs = "depends on arguments" if entry.needs is None else ", ".join(entry.needs)
    gradient = "yes" if entry.differentiable else "–"
    name = f"[`{entry.name}`][{entry.class_path}]"
    return f"| {name} | {entry.what} | {bounds} | {needs or '–'} | {gradient} |"
