"""r4t.data.queries: splits without leaks, the same for the same seed, nothing lost."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r4t.data.queries import (
    SPLITS,
    Query,
    cluster_queries,
    fold_sets,
    group_sets,
    official_sets,
    read_queries,
    split_sets,
    write_queries,
)
from r4t.data.source import ReferenceSet
from r4t.errors import InputError
from r4t.support.text import normalize_text

sets_of = st.lists(
    st.tuples(
        st.sampled_from(["Hats", "hats!", "a hat", "boots", "Boots ", "rings", "x", "y", "z"]),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True),
    ),
    min_size=1,
    max_size=40,
).map(
    lambda rows: [
        ReferenceSet(f"s{n}", query, tuple(items)) for n, (query, items) in enumerate(rows)
    ]
)


def keys(query: Query) -> set:
    return {normalize_text(query.text), frozenset(query.references)}


@given(sets_of, st.integers(0, 5))
def test_split_keeps_all_leaks_nothing_and_repeats(sets, seed):
    splits = split_sets(sets, seed)
    assert list(splits) == list(SPLITS)
    queries = [query for part in splits.values() for query in part]
    assert sorted((q.id, q.text, q.references) for q in queries) == sorted(
        (s.id, s.query, s.items) for s in sets
    )
    for one in SPLITS:
        for other in SPLITS:
            if one < other:
                seen = set().union(*map(keys, splits[one])) if splits[one] else set()
                assert not any(keys(query) & seen for query in splits[other])
    assert split_sets(sets, seed) == splits
    largest = max(map(len, group_sets(sets)))
    for share, split in zip((0.8, 0.1, 0.1), SPLITS):
        assert len(splits[split]) <= share * len(sets) + largest


@given(sets_of)
def test_groups_equal_a_slow_search_for_connected_sets(sets):
    def linked(a: ReferenceSet, b: ReferenceSet) -> bool:
        return normalize_text(a.query) == normalize_text(b.query) or set(a.items) == set(b.items)

    left, slow = list(range(len(sets))), []
    while left:
        group, frontier = {left[0]}, [left[0]]
        while frontier:
            here = frontier.pop()
            fresh = {n for n in left if n not in group and linked(sets[here], sets[n])}
            group |= fresh
            frontier += fresh
        left = [n for n in left if n not in group]
        slow.append(sorted(group))
    assert group_sets(sets) == slow


@given(sets_of)
def test_clusters_are_the_groups_of_the_sets(sets):
    queries = [Query(entry.id, entry.query, "set", entry.items) for entry in sets]
    numbers = cluster_queries(queries)
    assert [[n for n, of in enumerate(numbers) if of == c] for c in range(max(numbers) + 1)] == (
        group_sets(sets)
    )


def test_queries_without_references_cluster_by_text():
    texts = ["Red hat!", "boots", "red  hat"]
    assert cluster_queries([Query(t, t, "mood") for t in texts]) == [0, 1, 0]


def test_shares_of_a_large_source():
    sets = [ReferenceSet(f"{n}", f"query {n}", (f"i{n}",)) for n in range(1000)]
    sizes = {split: len(part) for split, part in split_sets(sets, seed=1).items()}
    assert sizes == {"train": 800, "val": 100, "test": 100}
    assert split_sets(sets, seed=1) != split_sets(sets, seed=2)
    halves = split_sets(sets, seed=1, fractions=(0.5, 0.0, 0.5))
    assert [len(halves[split]) for split in SPLITS] == [500, 0, 500]


def test_folds_test_every_set_once():
    sets = [ReferenceSet(f"{n}", f"query {n % 60}", (f"i{n}",)) for n in range(100)]
    folds = fold_sets(sets, folds=5, seed=0)
    for split in ("val", "test"):
        assert sorted(q.id for fold in folds for q in fold[split]) == sorted(s.id for s in sets)
    for fold in folds:
        assert sum(map(len, fold.values())) == 100
        assert not {q.text for q in fold["train"]} & {q.text for q in fold["test"] + fold["val"]}
        assert len(fold["test"]) == pytest.approx(20, abs=2)


def test_write_and_read(tmp_path):
    queries = [
        Query("1", 'boho "fête"\u2028 style', "aesthetic"),
        Query("2", "hats", "set", ("a", "b")),
    ]
    queries.append(Query("3", "caps", "set", ("a", "b"), (("a",), ("b", "a"))))
    write_queries(tmp_path / "q", {"train": queries, "test": queries[:1]})
    assert read_queries(tmp_path / "q", "train") == queries
    rows = [json.loads(line) for line in (tmp_path / "q" / "train.jsonl").open(encoding="utf-8")]
    assert ["facets" in row for row in rows] == [False, False, True]
    assert read_queries(tmp_path / "q", "test") == queries[:1]


def test_a_reference_named_twice_is_one(tmp_path):
    line = '{"id": "1", "text": "hats", "references": ["b", "a", "b"]}'
    (tmp_path / "test.jsonl").write_text(line)
    assert read_queries(tmp_path, "test")[0].references == ("b", "a")


def test_queries_of_any_script_stay_apart():
    texts = ["दिन", "दान", "दीन", "C++", "C#", "C", "Café", "Cafe\u0301"]
    sets = [ReferenceSet(f"{n}", text, (f"i{n}",)) for n, text in enumerate(texts)]
    # The last two are one word with its accent typed in two ways.
    assert group_sets(sets) == [[0], [1], [2], [3], [4], [5], [6, 7]]


def test_all_joins_the_splits_without_recomposed_queries(tmp_path):
    splits = {
        "train": [Query("1", "hats", "set", ("a",)), Query("1+1", "hats", "recomposed", ("b",))],
        "val": [],
        "test": [Query("3", "boots", "set", ("c",))],
    }
    write_queries(tmp_path / "q", splits)
    assert [query.id for query in read_queries(tmp_path / "q", "all")] == ["1", "3"]
    assert [query.id for query in read_queries(tmp_path / "q", "train")] == ["1", "1+1"]
    write_queries(tmp_path / "bare", {"train": splits["train"][1:]})
    with pytest.raises(
        InputError, match=r"at least one query, but found none in .*bare\. Write more"
    ):
        read_queries(tmp_path / "bare", "all")
    with pytest.raises(
        InputError, match=r"in all\.jsonl, but found the splits \[\] in .*none\. Write"
    ):
        read_queries(tmp_path / "none", "all")
    write_queries(tmp_path / "folds" / "fold_0", splits)
    with pytest.raises(InputError, match=r"found folds in .*folds\. Name one .*folds/fold_0\."):
        read_queries(tmp_path / "folds", "test")


def test_queries_are_json_objects(tmp_path):
    for line in ("[]", "no json"):
        (tmp_path / "val.jsonl").write_text('{"id": "0", "text": "x"}\n' + line)
        with pytest.raises(
            InputError, match=r"one JSON object on each line, .* at line 2 of .*\. C"
        ):
            read_queries(tmp_path, "val")


def test_faulty_folders_and_queries(tmp_path):
    with pytest.raises(InputError, match=r"queries in val\.jsonl, but found the splits \[\] in"):
        read_queries(tmp_path, "val")
    (tmp_path / "val.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"at least one query, but found none in .*val\.jsonl"):
        read_queries(tmp_path, "val")
    with pytest.raises(InputError, match=r"found the splits \['val'\] .* Did you mean 'val'\?"):
        read_queries(tmp_path, "vall")
    for line in (
        '{"id": "1"}',
        '{"id": "1", "text": " "}',
        '{"id": 1, "text": "x"}',
        '{"id": "1", "text": "x", "references": "abc"}',
        '{"id": "1", "text": "x", "references": [["a"]]}',
    ):
        (tmp_path / "val.jsonl").write_text('{"id": "0", "text": "x"}\n' + line)
        with pytest.raises(
            InputError, match=r"a query with the strings .* found \{.*\} at line 2 of .*\. Correct"
        ):
            read_queries(tmp_path, "val")
    with pytest.raises(InputError, match=r"sum to 1, for .* found \(0\.8, 0\.1, 0\.2\)\. Give"):
        split_sets([], 0, (0.8, 0.1, 0.2))
    with pytest.raises(InputError, match=r"at least 3 folds .* found 2\. Ask"):
        fold_sets([], 2, 0)


def test_splits_and_folds_keep_facets():
    sets = [
        ReferenceSet(f"{n}", f"query {n}", ("a", f"i{n}"), {}, (("a",), (f"i{n}", "a")))
        for n in range(20)
    ]
    facets = {entry.id: entry.facets for entry in sets}
    for splits in (split_sets(sets, 0), *fold_sets(sets, 4, 0)):
        queries = [query for part in splits.values() for query in part]
        assert {query.id: query.facets for query in queries} == facets


def test_facets_are_of_the_references(tmp_path):
    line = '{"id": "1", "text": "x", "references": ["a"], "facets": [["a"], ["b"]]}'
    (tmp_path / "val.jsonl").write_text(line)
    with pytest.raises(
        InputError, match=r"the set's own items, but found 'b' at line 1 of .*\. Add"
    ):
        read_queries(tmp_path, "val")


def official(*rows):
    return [ReferenceSet(name, text, tuple(items), {"split": s}) for name, text, items, s in rows]


def test_the_official_split_keeps_the_later_of_equal_sets():
    sets = official(
        ("1", "Hats", "a", "train"), ("2", "boots", "bc", "train"), ("3", "hats!", "d", "dev"),
        ("4", "rings", "cb", "test"), ("5", "hats", "e", "val"), ("6", "belts", "f", "train"),
        ("7", "Rings", "g", "valid"), ("8", "rings", "h", "test"),
    )  # fmt: skip
    splits, note = official_sets(sets)
    # 1 has the query of 3; 2 has the items of 4, whose query 7 has. 3 and 5 are both of val.
    assert {s: [q.id for q in part] for s, part in splits.items()} == {
        "train": ["6"], "val": ["3", "5"], "test": ["4", "8"],
    }  # fmt: skip
    assert note == (
        "2 train sets with the query or the items of a val or test set left out; "
        "1 val set with the query or the items of a test set left out"
    )


@given(sets_of, st.integers(0, 100))
def test_the_official_test_split_is_whole_and_nothing_leaks(sets, seed):
    drawn = random.Random(seed)
    named = [replace(e, metadata={"split": drawn.choice(("train", "dev", "test"))}) for e in sets]
    asked = {e.id for e in named if e.metadata["split"] == "test"}
    if not asked:
        with pytest.raises(InputError, match="sets of the split test, .* found none among"):
            official_sets(named)
        return
    splits, _ = official_sets(named)
    assert {query.id for query in splits["test"]} == asked
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        seen = set().union(*map(keys, splits[other])) if splits[other] else set()
        assert not any(keys(query) & seen for query in splits[one])
    # Each set that is left out is connected with one of a later split, by a slow search.
    kept = {query.id for part in splits.values() for query in part}
    order = {"train": 0, "dev": 1, "test": 2}
    for group in group_sets(named):
        ranks = [order[named[n].metadata["split"]] for n in group]
        assert [named[n].id in kept for n in group] == [rank == max(ranks) for rank in ranks]


def test_sets_without_a_split_have_no_official_one():
    sets = [*official(("1", "hats", "a", "train")), ReferenceSet("2", "boots", ("b",))]
    with pytest.raises(
        InputError,
        match=r"the field 'split' in every .* found none in set '2' \(1 of 2 sets lack it\)\. Add",
    ):
        official_sets(sets)
