"""A file of sub-queries written elsewhere → a method to compare with the others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.search import Searcher
from r4t.sets import SetBatch

Subqueries = Mapping[str, Sequence[list[str]]]  # by id of the query: a fan-out for each draw


@dataclass
class ExternalSubqueries:
    """Sub-queries written by hand, by a large model, by another program.

    Attributes:
        name: In the tables.
        searcher: The frozen retriever; with a ``RankFusion`` its pools are fused.
        subqueries: By id of the query, one or more fan-outs, of which draw d is number d from 0.
            Of a fan-out only the first k count.
        set_size: Number k of sub-queries asked for.
        pool_size: Distinct items P retrieved a query.
        draw: Which of a query's fan-outs to take.
        repeats: Whether Vendi across runs is measured of it.
        origin: Where the sub-queries come from, for messages.
    """

    name: str
    searcher: Searcher
    subqueries: Subqueries
    set_size: int = 10
    pool_size: int = 150
    draw: int = 0
    repeats: bool = True
    origin: str = "the given sub-queries"

    @property
    def draws(self) -> int:
        """How many fan-outs every query has."""
        return min(map(len, self.subqueries.values()), default=0)

    def with_draw(self, draw: int) -> "ExternalSubqueries":
        """Return the same method with another of a query's fan-outs."""
        return replace(self, draw=draw)

    def __call__(self, queries: list[Query], z: Tensor) -> SetBatch:
        """Answer B queries.

        Raises:
            InputError: A query has no such fan-out.
        """
        short = [q for q in queries if len(self.subqueries.get(q.id, ())) <= self.draw]
        if short:
            found = f"none for {len(short)} of {len(queries)}, such as {short[0].text!r}"
            raise InputError(
                f"{self.name} needs sub-queries for every query — found {found} "
                f"(id {short[0].id!r}), in {self.origin}, that are number {self.draw + 1} of their "
                "query — add a line for each."
            )
        return self.searcher.retrieve_texts(
            z,
            [self.subqueries[query.id][self.draw] for query in queries],
            self.set_size,
            query_texts=[query.text for query in queries],
            pool_size=self.pool_size,
        )


def read_subqueries(path: str | Path, queries: Sequence[Query]) -> dict[str, list[list[str]]]:
    """Read a JSONL file with a fan-out a line: those of some queries, by the query's id.

    A line is ``{"id": …, "subqueries": [text, …]}``, or names the query by its text, as ``"query"``,
    in place of the id. Several lines of one query are several fan-outs of it, in their order. Lines
    by text count for every query of that text that has none by its id.

    Args:
        path: The file (UTF-8).
        queries: Lines of others are passed over.

    Raises:
        InputError: There is no such file, it is not UTF-8, or a line is not such an object.
    """
    found: dict[tuple[str, str], list[list[str]]] = {}
    for number, line in enumerate(_read(Path(path)).split("\n"), 1):
        if line.strip():
            key, written = _parse(line, f"line {number} of {path}")
            found.setdefault(key, []).append(written)
    own = {q.id: found.get(("id", q.id)) or found.get(("query", q.text), []) for q in queries}
    return {name: written for name, written in own.items() if written}


def _read(path: Path) -> str:
    if not path.is_file():
        raise InputError(
            f"Given sub-queries are read from a JSONL file — found none at {path} — name the file."
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"Given sub-queries are read as UTF-8 — found other bytes at position {error.start} of "
            f"{path} — save it as UTF-8."
        ) from error


def _parse(line: str, place: str) -> tuple[tuple[str, str], list[str]]:
    """What names the query, its id or its text, and the sub-queries."""
    try:
        row = json.loads(line)
        kind = "id" if "id" in row else "query"
        name, written = row[kind], row["subqueries"]
        good = isinstance(written, list) and all(isinstance(q, str) and q.strip() for q in written)
        good = good and bool(written) and isinstance(name, str)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(
            'Given sub-queries are JSON objects with "id" or "query" and a list "subqueries" of '
            f"texts — found {line[:80]!r} at {place} — correct the line."
        )
    return (kind, name), written
