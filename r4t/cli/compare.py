"""``r4t compare``: a run and broad queries → what each method answers, on the terminal and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError

if TYPE_CHECKING:
    from r4t.data.queries import Query

EXAMPLES = (
    'r4t compare runs/toy "bohemian festival style"',
    'r4t compare runs/toy "rainy day" "garden wedding" --with folm,mmr --fields category,price',
    "r4t compare runs/toy --queries runs/toy/queries/val.jsonl --html compare.html",
)


def parser() -> ArgumentParser:
    """Return the parser; nothing heavy is imported for ``--help``."""
    made = verb_parser(
        "compare",
        "Ask several methods the same queries: sub-queries, items and scores side by side.",
        EXAMPLES,
    )
    made.add_argument("folder", metavar="RUN", type=str, help="Run folder.")
    made.add_argument("queries", metavar="QUERY", type=str, nargs="*", help="Broad queries.")
    made.add_argument(
        "--queries",
        dest="file",
        metavar="FILE",
        type=str,
        help="More queries: a .jsonl of a queries folder (references mark items), or a line each.",
    )
    made.add_argument(
        "--with",
        dest="methods",
        type=str,
        help="Methods of the tables, with commas between (zero-shot,folm,diffusion,student,mmr,no-fan-out).",
    )
    made.add_argument("--size", type=int, default=10, help="Items a method returns (10).")
    made.add_argument(
        "--seed",
        type=int,
        default=0,
        help="Draw of the methods that sample; 0, the default, is that of the tables. The others (MMR, "
        "No fan-out, …) answer alike at every seed.",
    )
    made.add_argument(
        "--fields",
        type=str,
        help="Metadata columns to show, with commas between (the first three that are short).",
    )
    made.add_argument("--index", type=str, default="torch", help="torch (exact; default) or faiss.")
    made.add_argument("--html", type=str, help="The page to write (RUN/results/compare.html).")
    return made


def run(arguments: list[str]) -> None:
    """Print the comparison and write its page.

    Raises:
        InputError: There is no query, or what ``compare_answers`` raises.
    """
    options = parse(parser(), arguments)
    queries: list[Query | str] = [*_typed(options.queries)]
    if options.file is not None:
        queries += read_file(options.file)
    if not queries:
        raise InputError(
            "A comparison needs at least one query — found none; write some behind the run, in "
            "quotes, or name a file with --queries."
        )
    from r4t.cli.quiet import quiet
    from r4t.report.comparison import COMPARED, compare_answers
    from r4t.report.page import page
    from r4t.report.terminal import make_console, print_comparison

    quiet()
    found = compare_answers(
        options.folder,
        queries,
        methods=COMPARED if options.methods is None else _listed(options.methods),
        size=options.size,
        seed=options.seed,
        fields=None if options.fields is None else _listed(options.fields),
        index=options.index,
    )
    path = Path(options.folder) / "results" / "compare.html"
    path = path if options.html is None else Path(options.html)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(found), encoding="utf-8")
    console = make_console()
    print_comparison(console, found)
    console.print(f"the same as a page: {path}", highlight=False, markup=False, soft_wrap=True)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _typed(texts: Sequence[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]


def read_file(path: str) -> "Sequence[Query | str]":
    """Read queries of a split's ``.jsonl``, or the texts of a file with one a line.

    Raises:
        InputError: There is no such file, a line of a ``.jsonl`` is no query, or a text file is not
            UTF-8.
    """
    from r4t.data.queries import read_queries

    file = Path(path)
    if file.suffix == ".jsonl":
        return read_queries(file.parent, file.stem)
    if not file.is_file():
        raise InputError(
            f"--queries names a .jsonl or a text file with one query a line — found none at {path}; "
            "correct the path."
        )
    try:
        return _typed(file.read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise InputError(
            f"--queries names a .jsonl or a text file in UTF-8 — found other bytes at position "
            f"{error.start} of {path}; save it as UTF-8."
        ) from error
