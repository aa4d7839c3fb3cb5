"""Results → the tables of the pages.

    python -m benchmarks.page            # rewrites every table between marks
    python -m benchmarks.page --check    # fails if a page and the files differ

A page marks a table with ``<!-- [[[cog show("NAME") ]]] -->`` and ``<!-- [[[end]]] -->``
(cog, https://cog.readthedocs.io). Its values come from ``benchmarks/results/``, the lines below it from
``benchmarks/results/index.toml``. The prose around it is handwritten.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cogapp import Cog

from benchmarks.page.index import ROOT, read_index

MARK = "[[[cog"


def pages(root: Path = ROOT) -> list[Path]:
    """Return the pages that have a mark."""
    paths = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return [path for path in paths if MARK in path.read_text(encoding="utf-8")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages; return 0 on success."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--check", action="store_true", help="Change nothing; fail if a page would change."
    )
    parser.add_argument("pages", nargs="*", type=Path, help="All by default.")
    options = parser.parse_args(arguments)
    read_index()
    mode = ["--check", "--diff"] if options.check else ["-r"]
    paths = [str(path.resolve()) for path in options.pages or pages()]
    prologue = "from benchmarks.page.show import show"
    failed = int(Cog().main(["cog", "-U", "-n", "utf-8", "-p", prologue, *mode, *paths]))
    if failed and options.check:
        print(
            "The pages above differ from benchmarks/results. Run python -m benchmarks.page.",
            file=sys.stderr,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
