"""Name of a table → its lines in the current page."""

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.page import evaluations, glance, recipes, refining, retriever, tuning, wardrobe
from benchmarks.page.index import RESULTS, ROOT, read_index

PARTS = (wardrobe, evaluations, tuning, refining, retriever, recipes, glance)
TABLES = {name: entry for part in PARTS for name, entry in part.TABLES.items()}


def rendered(names: Sequence[str], page: Path) -> str:
    """Return tables, and below them the command, hardware, date and files of their results.

    Args:
        names: Of the tables. If there are several, the words after the comma become its caption.
        page: The page, from which links start.

    Raises:
        KeyError: If there is no such table.
    """
    prefix = os.path.relpath(ROOT, page.resolve().parent).replace(os.sep, "/") + "/"
    parts, sources = [], dict[str, None]()
    for name in names:
        if name not in TABLES:
            raise KeyError(f"No table is called '{name}'. Tables: {', '.join(TABLES)}.")
        entries, build = TABLES[name]
        caption = name.partition(", ")[2]
        if len(names) > 1 and caption:
            parts.append(f"**{caption[0].upper()}{caption[1:]}**")
        parts.append(build())
        sources |= dict.fromkeys(entries.split())
    index = read_index()
    parts += [index[entry].source(RESULTS, prefix.removeprefix("./")) for entry in sources]
    return "\n\n".join(part for part in parts if part)


def show(*names: str) -> None:
    """Write tables at cog's mark in the page."""
    import cog

    cog.outl(f"\n{rendered(names, Path(cog.inFile))}\n")
