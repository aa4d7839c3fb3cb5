"""A judge of single items → grades that are bought once, kept in a book, and learned within a budget."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from r4t.catalog import Catalog, text_encoder
from r4t.errors import InputError, check_least
from r4t.sets import SetBatch
from r4t_objectives.reward_model import RewardModel

PART = 32  # questions between two entries in the book

Pair = tuple[str, str]  # text of a query, id of an item


class Grader(Protocol):
    """Grades single items for a query: ``Shopper``, ``Judge``, or a class of your own.

    Attributes:
        partial: Whether a grade may be missing (NaN).
        costly: Whether grades cost money or minutes.
    """

    partial: bool
    costly: bool

    @property
    def paid(self) -> int:
        """Answers that it has paid for so far; those from its cache are free."""

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that its grades depend on."""

    def grades(self, query_texts: Sequence[str], catalog: Catalog, items: Tensor) -> Tensor:
        """Return grades (B, k) in [0, 1] of catalog rows (B, k); NaN for −1 and where it has none."""

    def accepts(self, sets: SetBatch) -> bool:
        """Whether it can grade items of these sets."""

    def facts(self) -> dict[str, Any]:
        """Return what to store beside its grades."""


class GradeBook:
    """Grades by query text and item id, in memory and, with a path, in a file that processes share.

    The first line of the file says whose grades it holds. Each further line holds the grades of one
    purchase and the number of answers paid for, and is appended at once. A line that was cut off by
    the end of a process is skipped.

    Args:
        path: A JSONL file, created if missing; None for memory alone.
        owner: Plain values: the catalog and the judge.
        budget: Answers that may be paid for.

    Raises:
        InputError: If the file belongs to another catalog or judge.
    """

    def __init__(self, path: Path | None, owner: Mapping[str, Any], budget: int) -> None:
        self.grades: dict[Pair, float] = {}
        self.of_query: Counter[str] = Counter()  # number of grades by query
        self.paid = 0
        self.within = 0  # grades that were known when the budget was spent
        self._path, self._owner, self._budget = path, dict(owner), budget
        self._read = 0  # bytes of the file
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                self._append({"owner": self._owner})
            self.refresh()

    @property
    def room(self) -> int:
        """Answers that may still be paid for."""
        return max(self._budget - self.paid, 0)

    def add(self, grades: Mapping[Pair, float], paid: int) -> None:
        """Enter the grades of one purchase."""
        line = {"paid": paid, "grades": [[*pair, grade] for pair, grade in grades.items()]}
        if self._path is None:
            self._enter(line)
        else:
            self._append(line)
            self.refresh()  # in the order of the file, which is the same in every process

    def refresh(self) -> None:
        """Read what any process has appended since the last time."""
        if self._path is None:
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "owner" in row and row["owner"] != self._owner:
                raise InputError(
                    expected=f"grades of {json.dumps(self._owner)} in {self._path}",
                    found=f"those of {json.dumps(row['owner'])}",
                    remedy="Name another file as book.",
                )
            if "grades" in row:
                self._enter(row)

    def _enter(self, line: Mapping[str, Any]) -> None:
        has_room = self.room > 0
        self.paid += line["paid"]
        for text, item, grade in line["grades"]:
            self.of_query[text] += (text, item) not in self.grades
            self.grades.setdefault((text, item), grade)
        self.within = len(self.grades) if has_room else self.within

    def _append(self, line: Mapping[str, Any]) -> None:
        """Append a line with a single write, after the end of a line that was cut off."""
        assert self._path is not None
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        with self._path.open("ab") as file:
            if file.tell() and not self._ends_a_line():
                data = b"\n" + data
            os.write(file.fileno(), data)

    def _ends_a_line(self) -> bool:
        assert self._path is not None
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"


class BudgetedGrader:
    """Buys at most ``budget`` answers of a judge; then a model of its grades answers the rest.

    Each call buys at most one ``spread``-th of the budget, for the queries with the fewest grades first:
    a model learns more from a few grades of many queries than from many of a few. A grade in the book
    is never bought again. With a file as book the budget covers all processes
    that use it, one after the other; ranks that buy at the same time may exceed it by ``PART`` each.
    An answer without a grade counts, a call without an answer does not: it is tried again when the
    pair is next asked for.

    Args:
        judge: Whose grades these are.
        budget: Answers that may be paid for, at least 1.
        book: File of the grades; None for memory alone, which a resumed run begins without.
        spread: Calls of ``grades`` over which the budget is spent at least; 1 buys at once.

    Raises:
        InputError: If ``budget`` or ``spread`` is below 1; or, when called, if the book belongs to
            another catalog or judge, or the catalog has no text encoder.
    """

    def __init__(
        self, judge: Grader, budget: int, book: str | Path | None = None, spread: int = 50
    ) -> None:
        check_least({"budget of grades": (budget, 1), "spread of the budget": (spread, 1)})
        self.judge, self.budget = judge, budget
        self._at_once = -(-budget // spread)
        self._path = None if book is None else Path(book).expanduser()
        self._opened: tuple[str, GradeBook] | None = None  # by the fingerprint of its catalog
        self._model: RewardModel | None = None

    def grades(self, query_texts: Sequence[str], catalog: Catalog, items: Tensor) -> Tensor:
        """Return grades (B, k) in [0, 1] of catalog rows (B, k); NaN for −1 and where there is none."""
        book, ids = self._book(catalog), catalog.ids
        book.refresh()
        asked = [
            (text, row) for text, rows in zip(query_texts, items.tolist()) for row in rows
        ]  # B·k
        unknown = dict.fromkeys(
            (text, row) for text, row in asked if row >= 0 and (text, ids[row]) not in book.grades
        )
        self._buy(_fewest_first(unknown, book.of_query), catalog, book)
        known = [book.grades.get((text, ids[row]), torch.nan) for text, row in asked]
        grades = torch.tensor([torch.nan if row < 0 else g for g, (_, row) in zip(known, asked)])
        if book.room == 0:
            places = [place for place, (_, row) in enumerate(asked) if row >= 0]
            places = [place for place in places if grades[place].isnan()]
            if places:
                model = self._learned(catalog, book)
                grades[places] = model.predict([asked[place] for place in places], catalog)
        return grades.view(items.shape).to(items.device)

    def facts(self) -> dict[str, Any]:
        """Return the budget, what has been spent, and how well the model agrees with the judge."""
        book = None if self._opened is None else self._opened[1]
        return {
            "budget": self.budget,
            "paid": 0 if book is None else book.paid,
            "graded": 0 if book is None else len(book.grades),
            "model": None if self._model is None else self._model.agreement,
        }

    def _book(self, catalog: Catalog) -> GradeBook:
        if self._opened is None or self._opened[0] != catalog.fingerprint:
            if catalog.info["encoder"] is None:  # which the model will need
                text_encoder(catalog)  # raises, before anything is paid for
            owner = {"catalog": catalog.fingerprint, "judge": self.judge.identity}
            self._opened = catalog.fingerprint, GradeBook(self._path, owner, self.budget)
            self._model = None
        return self._opened[1]

    def _buy(self, unknown: list[tuple[str, int]], catalog: Catalog, book: GradeBook) -> None:
        """Ask about pairs of a query and a catalog row, the first ones if there is no room for all."""
        end = book.paid + self._at_once
        while unknown and (left := min(book.room, end - book.paid)) > 0:
            size = min(PART, left)
            part, unknown = unknown[:size], unknown[size:]
            before = self.judge.paid
            rows = torch.tensor([[row] for _, row in part])
            grades = self.judge.grades([text for text, _ in part], catalog, rows).flatten().tolist()
            bought = {
                (text, catalog.ids[row]): grade
                for (text, row), grade in zip(part, grades)
                if grade == grade
            }
            paid = self.judge.paid - before
            if bought or paid:
                book.add(bought, paid)
            else:
                return  # nobody answers; the next call tries again

    def _learned(self, catalog: Catalog, book: GradeBook) -> RewardModel:
        """Return the model of the grades that the budget has bought; tell when it takes over."""
        if self._model is None:
            grades = dict(islice(book.grades.items(), book.within))
            self._model = RewardModel(grades, catalog)
            warnings.warn(
                f"The budget of {self.budget:,} grades is spent. {self._model}", stacklevel=2
            )
        return self._model


def _fewest_first(
    pairs: Iterable[tuple[str, int]], grades: Mapping[str, int]
) -> list[tuple[str, int]]:
    """Order pairs so that the queries with the fewest grades come first, one pair of each in turn.

    Examples:
        >>> _fewest_first([("a", 1), ("a", 2), ("b", 3), ("c", 4)], {"c": 1})
        [('a', 1), ('b', 3), ('a', 2), ('c', 4)]
    """
    turns, counts = [], Counter(grades)
    for text, row in pairs:
        turns.append((counts[text], text, row))
        counts[text] += 1
    return [(text, row) for _, text, row in sorted(turns, key=itemgetter(0))]
