"""Reference sets → queries, split without leaks; queries ↔ folder/{train,val,test}.jsonl."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from r4t.data.rows import json_lines, read_facets
from r4t.data.source import SPLIT_NAMES, Facets, ReferenceSet, counted, join_notes
from r4t.errors import InputError, nearest
from r4t.support.chains import chained
from r4t.support.files import write_text
from r4t.support.text import normalize_text

SPLITS = ("train", "val", "test")
ALL = "all"
RECOMPOSED = "recomposed"


@dataclass(frozen=True)
class Query:
    """One broad query.

    Its kind is one of the paper's eight, "set" for the query of a reference set, "recomposed" for a
    training query with a recomposed set, "written" by a language model, or "logged".
    """

    id: str  # distinct within a folder of queries
    text: str  # what the user asks for; not blank
    kind: str
    references: tuple[str, ...] = ()  # item ids of one plausible answer; none if unknown (OAR)
    facets: Facets = ()  # gold groups of these, as of `ReferenceSet`; none if unknown


def write_queries(folder: str | Path, splits: Mapping[str, Sequence[Query]]) -> None:
    """Write each split to `folder/{split}.jsonl`, one query a line (UTF-8), whole or not at all.

    A query without facets has no field for them. A split without queries has no file.
    """
    for split, queries in splits.items():
        if not queries:
            (Path(folder) / f"{split}.jsonl").unlink(missing_ok=True)
            continue
        rows = [asdict(query) for query in queries]
        rows = [{n: row[n] for n in row if n != "facets" or row[n]} for row in rows]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_text(Path(folder) / f"{split}.jsonl", "".join(lines))


def read_queries(folder: str | Path, split: str) -> list[Query]:
    """Read `folder/{split}.jsonl`; the split ``all`` is train, val and test in this order.

    ``all`` is for methods that do not learn: it omits recomposed queries, whose sets nobody composed.

    Raises:
        InputError: If the file is missing or empty, or a line is not a query.
    """
    folder = Path(folder)
    names = SPLITS if split == ALL else (split,)
    paths = [path for name in names if (path := folder / f"{name}.jsonl").is_file()]
    if not paths:
        raise _missing(folder, split)
    queries = [
        query
        for path in paths
        for place, row in json_lines(path)
        if (query := _parse(row, f"{place} of {path}")).kind != RECOMPOSED or split != ALL
    ]
    if not queries:
        raise InputError(
            expected="at least one query",
            found=f"none in {folder if split == ALL else paths[0]}",
            remedy="Write more queries.",
        )
    return queries


def _missing(folder: Path, split: str) -> InputError:
    splits = sorted(path.stem for path in folder.glob("*.jsonl"))
    found = f"the splits {splits} in {folder}"
    remedy = f"Write them with `r4t queries` or name another split.{nearest(split, splits)}"
    if any(folder.glob("fold_*")):
        found = f"folds in {folder}"
        remedy = f"Name one of them, such as {folder / 'fold_0'}."
    return InputError(expected=f"queries in {split}.jsonl", found=found, remedy=remedy)


def _parse(row: dict[str, Any], place: str) -> Query:
    references = row.get("references", [])
    strings = [row.get("id"), row.get("text"), row.get("kind", "")]
    strings += references if isinstance(references, list) else [None]
    if not all(isinstance(value, str) for value in strings) or not row["text"].strip():
        raise InputError(
            expected='a query with the strings "id", "text" and "kind" and a list "references"',
            found=f"{json.dumps(row, ensure_ascii=False)[:80]} at {place}",
            remedy="Correct the line.",
        )
    distinct = tuple(dict.fromkeys(references))
    facets = read_facets(row, distinct, place)
    return Query(row["id"], row["text"], row.get("kind", ""), distinct, facets)


def group_sets(sets: Sequence[ReferenceSet]) -> list[list[int]]:
    """Sorted positions of sets that must stay together: same normalized query or equal items, in chains.

    Examples:
        >>> a = ReferenceSet("1", "Shoes", ("x",))
        >>> b = ReferenceSet("2", "shoes ", ("y", "z"))
        >>> c = ReferenceSet("3", "boots", ("z", "y"))
        >>> group_sets([a, b, c, ReferenceSet("4", "hats", ("y",))])
        [[0, 1, 2], [3]]
    """
    numbers = chained([(normalize_text(each.query), frozenset(each.items)) for each in sets])
    groups: dict[int, list[int]] = {}
    for position, number in enumerate(numbers):
        groups.setdefault(number, []).append(position)
    return list(groups.values())


def cluster_queries(queries: Sequence[Query]) -> list[int]:
    """Return the number of each query's cluster: same normalized text or equal references, in chains.

    Such queries succeed and fail together, so they are no independent evidence about a method.

    Examples:
        >>> queries = [Query("1", "Red hat", ""), Query("2", "red hat!", ""), Query("3", "boots", "")]
        >>> cluster_queries(queries)
        [0, 0, 1]
    """
    return chained(
        [
            [normalize_text(query.text), *([frozenset(query.references)] * bool(query.references))]
            for query in queries
        ]
    )


def _deal(sets: Sequence[ReferenceSet], shares: Sequence[float], seed: int) -> list[list[int]]:
    """Deal shuffled groups, each to the part that lacks most of its share; parts are sorted."""
    groups = group_sets(sets)
    parts: list[list[int]] = [[] for _ in shares]

    def lack(part: int) -> float:
        return 1 - len(parts[part]) / (shares[part] * len(sets))

    open_parts = [part for part, share in enumerate(shares) if share > 0]
    for group in random.Random(seed).sample(groups, len(groups)):
        parts[max(open_parts, key=lack)].extend(group)
    return [sorted(part) for part in parts]


def _splits(sets: Sequence[ReferenceSet], *parts: list[int]) -> dict[str, list[Query]]:
    """Queries of three parts: train, val and test."""
    queries = [Query(entry.id, entry.query, "set", entry.items, entry.facets) for entry in sets]
    return {split: [queries[n] for n in part] for split, part in zip(SPLITS, parts, strict=True)}


def split_sets(
    sets: Sequence[ReferenceSet], seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> dict[str, list[Query]]:
    """Reference sets → train, val and test queries; no query and no item set is in two of them.

    A split may exceed its share by less than the largest group. A tenth of a small source is too
    little to compare methods; `fold_sets` uses all of it. The same seed gives the same split.

    Raises:
        InputError: If the fractions are not three in [0, 1] whose sum is 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            expected="three fractions in [0, 1] that sum to 1, for train, val and test",
            found=f"{tuple(fractions)}",
            remedy="Give, for example, 0.8, 0.1, 0.1.",
        )
    return _splits(sets, *_deal(sets, fractions, seed))


def official_sets(sets: Sequence[ReferenceSet]) -> tuple[dict[str, list[Query]], str]:
    """Reference sets → the train, val and test queries of the source itself, and what was left out.

    The field ``split`` of a set's metadata names its split. As in ``split_sets``, no query and no item
    set is in two splits; but test is whole, so that its numbers compare with published ones. So
    of sets that must stay together only those of the last split among them are kept, and the
    others are left out and counted.

    Raises:
        InputError: If a set has no split, or none is of test.

    Examples:
        >>> a = ReferenceSet("1", "Shoes", ("x",), {"split": "train"})
        >>> b = ReferenceSet("2", "boots", ("y",), {"split": "dev"})
        >>> c = ReferenceSet("3", "shoes", ("z",), {"split": "test"})
        >>> splits, note = official_sets([a, b, c])
        >>> {split: [query.id for query in splits[split]] for split in splits}
        {'train': [], 'val': ['2'], 'test': ['3']}
        >>> note
        '1 train set with the query or the items of a val or test set left out'
    """
    names = [SPLIT_NAMES.get(str(entry.metadata.get("split")), "") for entry in sets]
    lacking = [entry.id for entry, name in zip(sets, names) if not name]
    if lacking:
        raise InputError(
            expected="the field 'split' in every reference set, for the official split",
            found=f"none in set {lacking[0]!r} ({len(lacking)} of {len(sets)} sets lack it)",
            remedy="Add it, or leave --split out for a random split.",
        )
    number = [SPLITS.index(name) for name in names]
    kept: list[list[int]] = [[] for _ in SPLITS]
    for group in group_sets(sets):
        last = max(number[position] for position in group)
        kept[last] += [position for position in group if number[position] == last]
    dropped = [names.count(name) - len(part) for name, part in zip(SPLITS, kept)]
    if not kept[-1]:
        raise InputError(
            expected="sets of the split test, for the official split",
            found=f"none among {len(sets)} sets",
            remedy="Correct the field 'split', or leave --split out for a random split.",
        )
    which = "with the query or the items of a"
    note = join_notes(
        counted(dropped[0], "train set", f"{which} val or test set"),
        counted(dropped[1], "val set", f"{which} test set"),
    )
    return _splits(sets, *map(sorted, kept)), note


def fold_sets(sets: Sequence[ReferenceSet], folds: int, seed: int) -> list[dict[str, list[Query]]]:
    """Splits for cross-validation: every set is a test query once, a val query once, else training.

    Raises:
        InputError: If there are fewer than three folds.
    """
    if folds < 3:
        raise InputError(
            expected="at least 3 folds (train, val, test)", found=f"{folds}", remedy="Ask for more."
        )
    parts = _deal(sets, [1 / folds] * folds, seed)
    splits = []
    for test in range(folds):
        val = (test + 1) % folds
        rest = sorted(p for n, part in enumerate(parts) if n not in (test, val) for p in part)
        splits.append(_splits(sets, rest, parts[val], parts[test]))
    return splits
