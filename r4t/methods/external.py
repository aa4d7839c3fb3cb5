"""A file of sub-queries written elsewhere → a method to compare with the others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import take_turns
from r4t.search import Merge, Searcher
from r4t.sets import SetBatch
from r4t.support.files import utf8

Subqueries = Mapping[str, Sequence[list[str]]]  # by id of the query: a fan-out for each draw


@dataclass
class ExternalSubqueries:
    """Searches with sub-queries written by hand, by a large model, or by another program.

    Args:
        searcher: The frozen retriever.
        subqueries: By id of the query, one or more fan-outs; draw d takes number d, from 0. Of a
            fan-out only the first k sub-queries count.
        set_size: Number k of sub-queries.
        pool_size: Number P of distinct items.
        merge: Makes the pool from the sub-queries' rankings.
        origin: Source of the sub-queries, for messages.
    """

    searcher: Searcher
    subqueries: Subqueries
    set_size: int = 10
    pool_size: int = 150
    merge: Merge = take_turns
    origin: str = "the external sub-queries"
    key: str = "external"
    name: str = "External"
    draws: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.draws = min(map(len, self.subqueries.values()), default=0)

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        """Answer B queries.

        Raises:
            InputError: If a query has no fan-out of this number.
        """
        short = [q for q in queries if len(self.subqueries.get(q.id, ())) <= draw]
        if short:
            raise InputError(
                expected=f"at least {draw + 1} lines of sub-queries for every query",
                found=f"fewer in {self.origin} for {len(short)} of {len(queries)}, such as "
                f"{short[0].text!r} (id {short[0].id!r})",
                remedy="Add a line for each.",
            )
        return self.searcher.retrieve_texts(
            vectors,
            [self.subqueries[query.id][draw] for query in queries],
            self.set_size,
            query_texts=[query.text for query in queries],
            pool_size=self.pool_size,
            merge=self.merge,
        )


def read_subqueries(path: str | Path, queries: Sequence[Query]) -> dict[str, list[list[str]]]:
    """Read the fan-outs of some queries from a JSONL file (UTF-8), by the query's id.

    A line is ``{"id": …, "subqueries": [text, …]}``, or names the query by its text, as ``"query"``,
    instead of its id. Several lines for one query are several fan-outs of it, in their order. Lines
    by text count for every query of that text that has none by its id. Lines for other queries are
    skipped.

    Raises:
        InputError: If there is no such file, it is not UTF-8, or a line is not such an object.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            expected="a JSONL file of sub-queries",
            found=f"no file at {path}",
            remedy="Correct the path.",
        )
    by_name: dict[tuple[str, str], list[list[str]]] = {}
    with utf8(file):
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            key, subqueries = _parse(line, f"line {number} of {path}")
            by_name.setdefault(key, []).append(subqueries)
    fanouts = {q.id: by_name.get(("id", q.id)) or by_name.get(("query", q.text)) for q in queries}
    return {name: lists for name, lists in fanouts.items() if lists}


def _parse(line: str, place: str) -> tuple[tuple[str, str], list[str]]:
    """Return the query's id or text, as ("id", …) or ("query", …), and the sub-queries."""
    try:
        row = json.loads(line)
        kind = "id" if "id" in row else "query"
        name, subqueries = row[kind], row["subqueries"]
        texts = isinstance(subqueries, list) and all(
            isinstance(text, str) and text.strip() for text in subqueries
        )
        valid = isinstance(name, str) and bool(subqueries) and texts
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise InputError(
            expected='a JSON object with "id" or "query", and "subqueries", a list of texts',
            found=f"{line[:80]!r} at {place}",
            remedy="Correct the line.",
        )
    return (kind, name), subqueries
