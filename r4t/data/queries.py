"""Reference sets → queries, split without leaks; queries <-> folder/{train,val,test}.jsonl."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from r4t.data.source import ReferenceSet
from r4t.errors import InputError, nearest
from r4t.support.files import utf8
from r4t.support.text import normalize_text

SPLITS = ("train", "val", "test")
ALL = "all"
RECOMPOSED = "recomposed"


@dataclass(frozen=True)
class Query:
    """One broad query.

    Attributes:
        id: Distinct within a folder of queries.
        text: What is asked, not blank.
        kind: One of the paper's eight kinds, "set" for the query of a reference set, "recomposed"
            for a further training query with a recomposed one.
        references: Ids of the items of one plausible answer; empty where there is none (OAR).
    """

    id: str
    text: str
    kind: str
    references: tuple[str, ...] = ()


def write_queries(folder: str | Path, splits: Mapping[str, Sequence[Query]]) -> None:
    """Write each split to `folder/{split}.jsonl`, one query a line (UTF-8), whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for split, queries in splits.items():
        lines = (json.dumps(asdict(query), ensure_ascii=False) + "\n" for query in queries)
        (folder / f"{split}.part").write_text("".join(lines), encoding="utf-8")
    for split in splits:
        os.replace(folder / f"{split}.part", folder / f"{split}.jsonl")


def read_queries(folder: str | Path, split: str) -> list[Query]:
    """Read `folder/{split}.jsonl`, or every split that is there.

    Args:
        folder: Where the splits lie.
        split: ``train``, ``val``, ``test``, or ``all`` for the three in this order without the
            recomposed queries, whose sets nobody made: for methods that do not learn.

    Raises:
        InputError: The file is missing or empty, or a line is not a query.
    """
    folder = Path(folder)
    names = [name for name in SPLITS if (folder / f"{name}.jsonl").is_file()]
    if split == ALL and names:
        queries = [
            query
            for name in names
            for query in _read(folder / f"{name}.jsonl")
            if query.kind != RECOMPOSED
        ]
        path = folder
    else:
        path = folder / f"{split}.jsonl"
        if not path.is_file():
            there = sorted(entry.stem for entry in folder.glob("*.jsonl"))
            if any(folder.glob("fold_*")):
                raise InputError(
                    f"Queries are read from {split}.jsonl — found folds in {folder} — name one of "
                    f"them, such as {folder / 'fold_0'}."
                )
            raise InputError(
                f"Queries are read from {split}.jsonl — found splits {there} in {folder} "
                f"— write them with `r4t queries` or name another split.{nearest(split, there)}"
            )
        queries = _read(path)
    if not queries:
        raise InputError(
            f"A split needs at least one query — found none in {path} — write more queries."
        )
    return queries


def _read(path: Path) -> list[Query]:
    with utf8(path):
        lines = path.read_text(encoding="utf-8").split("\n")
    return [
        _parse(line, f"line {number} of {path}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parse(line: str, place: str) -> Query:
    try:
        row = json.loads(line)
        held = row.get("references", [])
        references = tuple(dict.fromkeys(held))  # of an item named twice one is meant
        query = Query(row["id"], row["text"], row.get("kind", ""), references)
        good = isinstance(held, list) and all(
            isinstance(x, str) for x in (query.id, query.text, query.kind, *query.references)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good or not query.text.strip():
        raise InputError(
            'A query is a JSON object with the strings "id", "text" and "kind" and a list '
            '"references" '
            f"— found {line[:80]!r} at {place} — correct the line."
        )
    return query


def normalized(text: str) -> str:
    """Words of a text without case, punctuation and spacing: equal for queries that say the same.

    Examples:
        >>> normalized("  Men's   SHOES! ")
        'men s shoes'
    """
    return normalize_text(text)


def group_sets(sets: Sequence[ReferenceSet]) -> list[list[int]]:
    """Positions of sets that must stay together: same normalized query or equal items, in chains.

    Returns:
        Groups in the order of their first member; each sorted.

    Examples:
        >>> a = ReferenceSet("1", "Shoes", ("x",))
        >>> b = ReferenceSet("2", "shoes ", ("y", "z"))
        >>> c = ReferenceSet("3", "boots", ("z", "y"))
        >>> group_sets([a, b, c, ReferenceSet("4", "hats", ("y",))])
        [[0, 1, 2], [3]]
    """
    parent = list(range(len(sets)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    first: dict[Hashable, int] = {}
    for position, entry in enumerate(sets):
        for key in (normalized(entry.query), frozenset(entry.items)):
            parent[root(position)] = root(first.setdefault(key, position))
    groups: dict[int, list[int]] = {}
    for position in range(len(sets)):
        groups.setdefault(root(position), []).append(position)
    return list(groups.values())


def _deal(groups: list[list[int]], shares: Sequence[float], seed: int) -> list[list[int]]:
    """Deal shuffled groups, each to the part that lacks most of its share; parts are sorted."""
    order = random.Random(seed).sample(groups, len(groups))
    total = sum(map(len, groups))
    parts: list[list[int]] = [[] for _ in shares]
    open_parts = [part for part, share in enumerate(shares) if share > 0]
    for group in order:
        lacking = max(open_parts, key=lambda part: 1 - len(parts[part]) / (shares[part] * total))
        parts[lacking].extend(group)
    return [sorted(part) for part in parts]


def _query(entry: ReferenceSet) -> Query:
    return Query(entry.id, entry.query, "set", entry.items)


def split_sets(
    sets: Sequence[ReferenceSet], seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> dict[str, list[Query]]:
    """Reference sets → train, val and test queries; no query and no item set is in two of them.

    A split may exceed its share by less than the largest group. For five-fold comparisons use
    `fold_sets`, since a tenth of a small source is too little to compare methods on.

    Args:
        sets: Reference sets.
        seed: Decides the order in which groups are dealt; the same seed gives the same split.
        fractions: Shares of train, val and test in [0, 1], sum 1.

    Raises:
        InputError: The fractions are not shares of one.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            "Fractions of train, val and test must be three shares that sum to 1 "
            f"— found {tuple(fractions)} — for example 0.8, 0.1, 0.1."
        )
    parts = _deal(group_sets(sets), fractions, seed)
    return {
        split: [_query(sets[position]) for position in part]
        for split, part in zip(SPLITS, parts, strict=True)
    }


def fold_sets(sets: Sequence[ReferenceSet], folds: int, seed: int) -> list[dict[str, list[Query]]]:
    """Splits for cross-validation: every set is a test query once, a val query once, else training.

    Args:
        sets: Reference sets.
        folds: At least 3.
        seed: As in `split_sets`.

    Raises:
        InputError: Fewer than three folds.
    """
    if folds < 3:
        raise InputError(
            f"Cross-validation needs at least 3 folds (train, val, test) — found {folds} — ask for "
            "more."
        )
    parts = _deal(group_sets(sets), [1 / folds] * folds, seed)
    splits = []
    for test in range(folds):
        val = (test + 1) % folds
        rest = sorted(p for part in range(folds) if part not in (test, val) for p in parts[part])
        chosen = dict(zip(SPLITS, (rest, parts[val], parts[test]), strict=True))
        splits.append({name: [_query(sets[p]) for p in part] for name, part in chosen.items()})
    return splits
