"""A method's ``SetBatch`` → what a person reads: sub-queries, items, scores; one JSONL line each."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from r4t.catalog import Catalog
from r4t.data.queries import Query
from r4t.errors import InputError, nearest
from r4t.geometry import distinct_first
from r4t.sets import SetBatch
from r4t.support.files import replacing

NamedScores = Mapping[str, Sequence[float | None]]
Reasons = Mapping[str, Sequence[str]]
WriteAnswers = Callable[[str, Sequence[Query], SetBatch, NamedScores, Reasons], None]
SHORT = 32  # average length up to which a metadata column is shown by default


@dataclass(frozen=True)
class AnswerItem:
    """One returned item."""

    id: str
    title: str
    cosine: float  # with the query, −1 … 1
    direction: int | None = None  # number, from 1, of its nearest direction; None without any
    subquery: str = ""  # text of that direction; empty if directions have no texts
    is_reference: bool = False  # whether it is in the query's reference set
    metadata: dict[str, Any] = field(default_factory=dict)  # the columns to show


@dataclass(frozen=True)
class Answer:
    """One method's answer to one query."""

    query_id: str
    query: str
    method: str  # its name in the tables
    directions: int  # how many directions were searched; 0 for methods that pick items without
    subqueries: list[str]  # texts of the directions, in order; empty if they have none
    items: list[AnswerItem]  # distinct, best first
    scores: dict[str, float | None]  # by name ("items/vendi"); None where a score does not apply
    reasons: dict[str, str] = field(default_factory=dict)  # of scores that give some, by name

    @property
    def heading(self) -> str:
        """How many sub-queries or directions were searched with; empty for none."""
        if self.subqueries:
            return f"{len(self.subqueries)} sub-queries"
        return f"{self.directions} directions without words" if self.directions else ""

    @property
    def split_subqueries(self) -> list[tuple[str, str]]:
        """Each sub-query as the query that it begins with, or "", and the rest.

        Examples:
            >>> answer = Answer("q", "Beach day", "MMR", 2, ["beach day hats", "sandals"], [], {})
            >>> answer.split_subqueries
            [('beach day', 'hats'), ('', 'sandals')]
        """
        size, begin = len(self.query), f"{self.query} ".casefold()
        return [
            (text[:size], text[size + 1 :])
            if len(text) > size + 1 and text[: size + 1].casefold() == begin
            else ("", text)
            for text in self.subqueries
        ]


def short_columns(catalog: Catalog, most: int = 3) -> list[str]:
    """Names of the first ``most`` columns whose values are single and short enough to read."""
    names = []
    for name in catalog.columns:
        values = [value for value in catalog.column(name) if value is not None]
        single = all(isinstance(value, str | int | float) for value in values)
        if values and single and sum(len(str(v)) for v in values) <= SHORT * len(values):
            names.append(name)
    return names[:most]


def checked_columns(catalog: Catalog, names: Sequence[str]) -> dict[str, list[Any]]:
    """Read metadata columns by name.

    Raises:
        InputError: If there is no such column.
    """
    for name in names:
        if name not in catalog.columns:
            raise InputError(
                expected=f"fields among the metadata columns {sorted(catalog.columns)}",
                found=repr(name),
                remedy=f"Name columns of the catalog.{nearest(name, catalog.columns)}",
            )
    return {name: catalog.column(name) for name in names}


def make_answers(
    method: str,
    queries: Sequence[Query],
    sets: SetBatch,
    scores: NamedScores,
    metadata: Mapping[str, Sequence[Any]],
    reasons: Reasons | None = None,
) -> list[Answer]:
    """Describe what a method returned for each of B queries.

    The items are the first k distinct ones of the pool or, without a pool, of the members. Scores
    and reasons hold B values by name; ``metadata`` holds N values for each column to show.

    Raises:
        InputError: If the sets have no catalog, or their number is not that of the queries.
    """
    if sets.catalog is None or len(queries) != len(sets):
        counts = f"{len(sets)} sets for {len(queries)} queries"
        raise InputError(
            expected="one set per query, with its catalog",
            found="sets without a catalog" if sets.catalog is None else counts,
            remedy="Build the sets from these queries with a Searcher.",
        )
    rows = distinct_first(sets.items if sets.pool is None else sets.pool, sets.set_size)
    return [
        Answer(
            query_id=query.id,
            query=query.text,
            method=method,
            directions=0 if sets.directions is None else int(sets.mask[n].sum()),
            subqueries=[] if sets.texts is None else list(sets.texts[n]),
            items=_items(query, sets, n, rows[n][rows[n] >= 0].tolist(), metadata),
            scores={name: values[n] for name, values in scores.items()},
            reasons={name: texts[n] for name, texts in (reasons or {}).items() if texts[n]},
        )
        for n, query in enumerate(queries)
    ]


def _items(
    query: Query,
    sets: SetBatch,
    number: int,
    rows: list[int],
    metadata: Mapping[str, Sequence[Any]],
) -> list[AnswerItem]:
    """Describe catalog rows as items of the set with this number."""
    catalog = sets.catalog
    if catalog is None or not rows:
        return []
    vectors = catalog.embeddings[rows]
    cosines = (vectors @ sets.query[number]).tolist()
    directions: list[int | None] = [None] * len(rows)
    if sets.directions is not None:
        near = (vectors @ sets.directions[number].T).masked_fill(~sets.mask[number], -torch.inf)
        directions = (near.argmax(1) + 1).tolist()
    texts = {} if sets.texts is None else dict(enumerate(sets.texts[number], 1))
    return [
        AnswerItem(
            id=catalog.ids[row],
            title=catalog.texts[row],
            cosine=round(cosine, 4),
            direction=direction,
            subquery="" if direction is None else texts.get(direction, ""),
            is_reference=catalog.ids[row] in query.references,
            # JSON has no NaN.
            metadata={n: None if v[row] != v[row] else v[row] for n, v in metadata.items()},
        )
        for row, cosine, direction in zip(rows, cosines, directions)
    ]


@contextmanager
def answer_writer(path: str | Path, fields: Sequence[str] = ()) -> Iterator[WriteAnswers]:
    """Yield a function that writes the answers of one method to B queries, a JSON line for each.

    Each item carries the metadata columns ``fields``. The new file replaces an old one when the
    block ends, but not if it raises.
    """
    metadata: dict[str, list[Any]] = {}
    with replacing(Path(path)) as part, part.open("w", encoding="utf-8") as file:

        def write(
            name: str,
            queries: Sequence[Query],
            sets: SetBatch,
            scores: NamedScores,
            reasons: Reasons,
        ) -> None:
            if not metadata and sets.catalog is not None:
                metadata.update(checked_columns(sets.catalog, fields))
            answers = make_answers(name, queries, sets, scores, metadata, reasons)
            lines = (json.dumps(asdict(a), ensure_ascii=False, default=str) for a in answers)
            file.writelines(f"{line}\n" for line in lines)
            file.flush()

        yield write


def read_answers(path: str | Path) -> list[Answer]:
    """Read what ``answer_writer`` wrote.

    Raises:
        InputError: If there is no such file, or a line is no answer.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            expected="a JSONL file of answers",
            found=f"no file at {path}",
            remedy="Write one with `r4t evaluate RUN`.",
        )
    answers = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                answers.append(Answer(**{**row, "items": [AnswerItem(**i) for i in row["items"]]}))
            except (ValueError, TypeError, KeyError):
                raise InputError(
                    expected="an answer as JSON, with query_id, query, method, items and more",
                    found=f"{line[:80]!r} at line {number} of {path}",
                    remedy="Evaluate the run again.",
                ) from None
    return answers
