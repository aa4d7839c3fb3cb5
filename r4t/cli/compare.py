"""``r4t compare``: a run and broad queries → what each method answers, on the terminal and as a page."""

from pathlib import Path
from typing import TYPE_CHECKING

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError

if TYPE_CHECKING:
    from r4t.data.queries import Query


def run(arguments: list[str]) -> None:
    """Print the comparison and write its page.

    Raises:
        InputError: If there is no query, or as ``compare_answers`` raises.
    """
    options = parse(verb_parser("compare"), arguments)
    queries: list[Query | str] = [*_stripped(options.queries)]
    if options.file is not None:
        queries += read_file(options.file)
    if not queries:
        raise InputError(
            expected="at least one query to compare methods by",
            found="none",
            remedy="Add queries after the run, in quotes, or name a file with --queries.",
        )
    from r4t.cli.quiet import quiet
    from r4t.report.comparison import COMPARED, compare_answers
    from r4t.report.page import page
    from r4t.report.terminal import make_console, print_comparison

    quiet()
    comparison = compare_answers(
        options.folder,
        queries,
        methods=COMPARED if options.methods is None else _stripped(options.methods.split(",")),
        size=options.size,
        seed=options.seed,
        fields=None if options.fields is None else _stripped(options.fields.split(",")),
        index=options.index,
        distinct_by=options.distinct_by,
    )
    path = Path(options.folder) / "results" / "compare.html"
    path = path if options.html is None else Path(options.html)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(comparison), encoding="utf-8")
    console = make_console()
    print_comparison(console, comparison)
    console.print(f"the same as a page: {path}", highlight=False, markup=False, soft_wrap=True)


def _stripped(texts: list[str]) -> list[str]:
    return [text.strip() for text in texts if text.strip()]


def read_file(path: str) -> "list[Query] | list[str]":
    """Read queries of a split's ``.jsonl``, or the texts of a file with one query per line.

    Raises:
        InputError: If there is no such file, a line of a ``.jsonl`` is no query, or a text file is
            not UTF-8.
    """
    from r4t.data.queries import read_queries
    from r4t.support.files import utf8

    file = Path(path)
    if file.suffix == ".jsonl":
        return read_queries(file.parent, file.stem)
    if not file.is_file():
        raise InputError(
            expected="a .jsonl, or a text file with one query per line, after --queries",
            found=f"no file at {path}",
            remedy="Correct the path.",
        )
    with utf8(file):
        return _stripped(file.read_text(encoding="utf-8-sig").splitlines())
