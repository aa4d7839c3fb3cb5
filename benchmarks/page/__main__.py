"""Results → the tables of the pages, and the figures in their text.

    python -m benchmarks.page            # rewrites every table between marks, and every figure
    python -m benchmarks.page --check    # fails if a page and the files differ

A page marks a table with ``<!-- [[[cog show("NAME") ]]] -->`` and ``<!-- [[[end]]] -->``
(cog, https://cog.readthedocs.io). Its values come from ``benchmarks/results/``, the lines below it from
``benchmarks/results/index.toml``. The text around it is handwritten, but for its figures: a comment
below each paragraph names their sources (``benchmarks/page/figures.py``). Read a sentence again when
its figures have changed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cogapp import Cog

from benchmarks.page.figures import mistakes, rewritten
from benchmarks.page.index import ROOT, read_index

MARK = "[[[cog"


def every_page(root: Path = ROOT) -> list[Path]:
    """Return the front page and the pages of the site."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def pages(root: Path = ROOT) -> list[Path]:
    """Return the pages that have a mark of a table."""
    return [path for path in every_page(root) if MARK in path.read_text(encoding="utf-8")]


def figures(paths: Sequence[Path], check: bool) -> int:
    """Write or check the figures in the text of pages; return the number of mistakes."""
    count = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if not check:
            text = rewritten(text)
            path.write_text(text, encoding="utf-8")
        for mistake in mistakes(text):
            print(f"{path}: {mistake}", file=sys.stderr)
            count += 1
    return count


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
    failed += figures(options.pages or every_page(), options.check)
    if failed and options.check:
        print(
            "The pages above differ from benchmarks/results. Run python -m benchmarks.page.",
            file=sys.stderr,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
