"""A method's ``SetBatch`` → what a person reads: sub-queries, items, scores; one JSONL line each.

with AnswerWriter("runs/toy/results/sets.jsonl", fields=["category"]) as write:
    write("MMR", queries, sets, {"items/vendi": [4.2, 3.9]})
answers = read_answers("runs/toy/results/sets.jsonl")
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from r4t.catalog import Catalog
from r4t.data.queries import Query
from r4t.errors import InputError, nearest
from r4t.geometry import distinct_first
from r4t.sets import SetBatch

Scores = Mapping[str, Sequence[float | None]]
Reasons = Mapping[str, Sequence[str]]
SHORT = 32  # letters that a metadata value may have to be shown unasked


@dataclass(frozen=True)
class AnswerItem:
    """One returned item.

    Attributes:
        id: Of the catalog.
        title: Of the catalog.
        cosine: With the query, −1 … 1.
        direction: Number, from 1, of the direction nearest to the item (as ``r4t retrieve`` tells
            it); None for methods that pick items without directions.
        subquery: Text of that direction; empty where it has none.
        is_reference: Whether the query's reference set holds the item.
        metadata: The columns asked for.
    """

    id: str
    title: str
    cosine: float
    direction: int | None = None
    subquery: str = ""
    is_reference: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One method's answer to one query.

    Attributes:
        query_id: Of the query.
        query: Its text.
        method: Name in the tables.
        directions: How many directions searched; 0 for methods that pick items without.
        subqueries: Texts of the directions, in their order; empty where they have none. One of
            which the encoder knows no word has found no item.
        items: Distinct items, best first.
        scores: Of the set by name ("items/vendi"); None where a score does not apply.
        reasons: For scores that give one, such as a judge's, by the same name.
    """

    query_id: str
    query: str
    method: str
    directions: int
    subqueries: list[str]
    items: list[AnswerItem]
    scores: dict[str, float | None]
    reasons: dict[str, str] = field(default_factory=dict)


def shown_number(value: float, places: int) -> str:
    """A number to read, with no minus before a zero.

    Examples:
        >>> shown_number(-0.0012, 2), shown_number(-0.5, 2)
        ('0.00', '−0.50')
    """
    text = f"{abs(value):.{places}f}"
    return f"−{text}" if value < 0 and float(text) else text


def readable(text: str) -> str:
    r"""A text in one line, without the control characters that a model or a file may hold.

    Examples:
        >>> readable("red\n  hat")
        'red hat'
    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "�" for c in line)


def added_words(subquery: str, query: str) -> str | None:
    """What a sub-query adds to the query that it begins with; None if it does not.

    Examples:
        >>> added_words("beach day hats", "Beach day"), added_words("sandals", "Beach day")
        ('hats', None)
    """
    begin, rest = subquery[: len(query) + 1], subquery[len(query) + 1 :]
    return rest if rest and begin.casefold() == f"{query} ".casefold() else None


def short_columns(catalog: Catalog, most: int = 3) -> list[str]:
    """Names of the first ``most`` columns whose values are single and short enough to read."""
    found = []
    for name in catalog.columns:
        values = [value for value in catalog.column(name) if value is not None]
        single = all(isinstance(value, str | int | float) for value in values)
        if values and single and sum(len(str(v)) for v in values) <= SHORT * len(values):
            found.append(name)
    return found[:most]


def checked_columns(catalog: Catalog, names: Sequence[str]) -> dict[str, list[Any]]:
    """Read metadata columns by name.

    Raises:
        InputError: There is no such column.
    """
    for name in names:
        if name not in catalog.columns:
            raise InputError(
                f"Fields to show are metadata columns of the catalog, {sorted(catalog.columns)} — "
                f"found '{name}'; name some of them.{nearest(name, catalog.columns)}"
            )
    return {name: catalog.column(name) for name in names}


def make_answers(
    method: str,
    queries: Sequence[Query],
    sets: SetBatch,
    scores: Scores,
    *,
    metadata: Mapping[str, Sequence[Any]],
    reasons: Reasons | None = None,
    size: int | None = None,
) -> list[Answer]:
    """Read off what a method returned for each of B queries.

    The items are the first distinct ones of the pool; of the members, where there is no pool.

    Args:
        method: Its name.
        queries: B queries.
        sets: Their sets, with the catalog attached (a ``Searcher`` does so).
        scores: B numbers by name.
        metadata: Columns to show, N values each.
        reasons: B reasons by the name of the score they explain; "" for none.
        size: Items a query; the set size k by default.

    Raises:
        InputError: The sets have no catalog, or their number is not that of the queries.
    """
    catalog = sets.catalog
    if catalog is None or len(queries) != len(sets):
        found = "none" if catalog is None else f"{len(sets)} sets for {len(queries)} queries"
        raise InputError(
            f"Answers are read off one set a query, with its catalog — found {found}; build the "
            "sets with a Searcher, from these queries."
        )
    listed = sets.items if sets.pool is None else sets.pool
    rows = distinct_first(listed, sets.set_size if size is None else size).tolist()
    said = {} if reasons is None else reasons
    texts = [[] for _ in queries] if sets.texts is None else sets.texts
    return [
        Answer(
            query_id=query.id,
            query=query.text,
            method=method,
            directions=0 if sets.directions is None else int(sets.mask[place].sum()),
            subqueries=list(texts[place]),
            items=[
                AnswerItem(
                    id=catalog.ids[row],
                    title=catalog.texts[row],
                    cosine=cosine,
                    direction=number,
                    subquery=_text(texts[place], number),
                    is_reference=catalog.ids[row] in query.references,
                    metadata={name: _plain(values[row]) for name, values in metadata.items()},
                )
                for row, cosine, number in _found(catalog, sets, place, rows[place])
            ],
            scores={name: values[place] for name, values in scores.items()},
            reasons={name: given[place] for name, given in said.items() if given[place]},
        )
        for place, query in enumerate(queries)
    ]


def _found(
    catalog: Catalog, sets: SetBatch, place: int, listed: list[int]
) -> list[tuple[int, float, int | None]]:
    """Row, cosine with the query and number of the nearest direction of each listed item."""
    rows = [row for row in listed if row >= 0]
    vectors = catalog.embeddings[rows]
    cosines = [round(cosine, 4) for cosine in (vectors @ sets.query[place]).tolist()]
    numbers: list[int | None] = [None] * len(rows)
    if sets.directions is not None and rows:
        near = (vectors @ sets.directions[place].T).masked_fill(~sets.mask[place], -torch.inf)
        numbers = [direction + 1 for direction in near.argmax(1).tolist()]
    return list(zip(rows, cosines, numbers))


def _text(texts: Sequence[str], number: int | None) -> str:
    return "" if number is None or number > len(texts) else texts[number - 1]


def _plain(value: Any) -> Any:
    """A metadata value as JSON has it: NaN is none."""
    return None if isinstance(value, float) and value != value else value


class AnswerWriter:
    """Writes answers to a JSONL file as they come, one line for each query of each method.

    The lines go to ``PATH.part``, which takes the place of ``PATH`` when the writer is closed: an
    evaluation that ends early leaves the old file as it was.

    Args:
        path: The file; its folder is made if missing.
        fields: Metadata columns to write with each item.
    """

    def __init__(self, path: str | Path, fields: Sequence[str] = ()) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.path.with_name(self.path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8")
        self._fields = fields
        self._metadata: dict[str, list[Any]] = {}

    def __call__(
        self,
        method: str,
        queries: Sequence[Query],
        sets: SetBatch,
        scores: Scores,
        reasons: Reasons | None = None,
    ) -> None:
        """Write the answers of one method to B queries."""
        if not self._metadata and sets.catalog is not None:
            self._metadata = checked_columns(sets.catalog, self._fields)
        for answer in make_answers(
            method, queries, sets, scores, metadata=self._metadata, reasons=reasons
        ):
            self._file.write(json.dumps(asdict(answer), ensure_ascii=False, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Put the file in its place."""
        if not self._file.closed:
            self._file.close()
            os.replace(self._part, self.path)

    def __enter__(self) -> "AnswerWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        self._file.close()
        self._part.unlink()


def read_answers(path: str | Path) -> list[Answer]:
    """Read what an ``AnswerWriter`` wrote.

    Raises:
        InputError: There is no such file, or a line is no answer.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"Answers are read from a JSONL file — found none at {path}; write one with "
            "'r4t evaluate RUN'."
        )
    with path.open(encoding="utf-8") as file:
        return [_parse(line, f"line {number} of {path}") for number, line in enumerate(file, 1)]


def _parse(line: str, place: str) -> Answer:
    try:
        row = json.loads(line)
        return Answer(**{**row, "items": [AnswerItem(**item) for item in row["items"]]})
    except (ValueError, TypeError, KeyError):
        raise InputError(
            "An answer is a JSON object with query_id, query, method, directions, subqueries, items "
            f"and scores — found {line[:80]!r} at {place}; evaluate the run again."
        ) from None
