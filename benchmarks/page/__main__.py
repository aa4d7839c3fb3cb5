"""Results → the tables of the pages.

    python -m benchmarks.page            # writes every table that stands between marks
    python -m benchmarks.page --check    # fails where a page does not say what the files say

A table stands in a page between ``<!-- [[[cog show("NAME") ]]] -->`` and ``<!-- [[[end]]] -->``
(cog, https://cog.readthedocs.io). Its values come from ``benchmarks/results/``, the lines below it from
``benchmarks/results/index.toml``. Prose around it is by hand.
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
    found = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return [path for path in found if MARK in path.read_text(encoding="utf-8")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages; return 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--check", action="store_true", help="Change nothing, fail if it would.")
    parser.add_argument("pages", nargs="*", type=Path, help="All by default.")
    told = parser.parse_args(arguments)
    read_index()
    mode = ["--check", "--diff"] if told.check else ["-r"]
    named = [str(path.resolve()) for path in told.pages or pages()]
    prologue = "from benchmarks.page.show import show"
    failed = int(Cog().main(["cog", "-U", "-n", "utf-8", "-p", prologue, *mode, *named]))
    if failed and told.check:
        print(
            "Pages must say what benchmarks/results say — the ones above do not; "
            "run python -m benchmarks.page.",
            file=sys.stderr,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
