"""r4t.data.readers.jsonl_folder: items and sets by hand, and the errors of sets."""

import json
from pathlib import Path

import pytest

from r4t.data.readers import read_source
from r4t.data.source import ReferenceSet
from r4t.errors import InputError

ROWS = [
    {"id": 7, "text": "red hat", "color": "red"},
    {"id": "x7", "text": 'blue, "big" hat\nof wool', "price": 3.5},
]


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_jsonl_folder_by_hand(tmp_path):
    sets = lines(
        {"id": 1, "query": "hats", "items": [7, "x7", "x7"], "mood": "calm"},
        {"id": "s2", "query": "gone", "items": ["q"]},
    )
    source = read_source(
        write(tmp_path / "j", **{"items.jsonl": lines(*ROWS) + "\n", "sets.jsonl": sets})
    )
    assert source.name == "j"
    assert source.items.ids == ["7", "x7"]
    assert source.items.texts == [row["text"] for row in ROWS]
    assert source.items.metadata == {"color": ["red", None], "price": [None, 3.5]}
    assert source.sets == [ReferenceSet("1", "hats", ("7", "x7"))]
    assert source.note == (
        "1 set without a known item left out; 1 reference to an item without an entry left out; "
        "1 repeat within a set left out"
    )


def test_sets_of_a_jsonl_folder_keep_their_metadata_and_need_no_query(tmp_path):
    sets = lines(
        {"id": "s1", "query": "hats", "items": [7], "mood": "calm", "tags": ["a"]},
        {"id": "s2", "items": ["x7"], "mood": "loud"},
    )
    folder = write(tmp_path / "j", **{"items.jsonl": lines(*ROWS), "sets.jsonl": sets})
    source = read_source(folder)
    assert source.note == "1 set without a query left out"
    assert [entry.metadata for entry in source.sets] == [{"mood": "calm", "tags": ["a"]}]
    both = read_source(folder, keep_without_query=True).sets
    assert [(entry.id, entry.query, entry.metadata["mood"]) for entry in both] == [
        ("s1", "hats", "calm"),
        ("s2", "", "loud"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "s", "query": "q"}, r"a list in the field 'items', but found \{.*\} at line 1 of"),
        (
            {"id": "s", "query": [], "items": []},
            r"a string in the field 'query', but found \{.*\} at",
        ),
        (
            {"id": ["s"], "query": "q", "items": []},
            r"a string in the field 'id', but found \{.*\} at",
        ),
        (
            {"id": "", "query": "q", "items": []},
            r"distinct set ids, but found '' at line 1 of .*\. C",
        ),
        ({"query": "q", "items": []}, r"a string in the field 'id', but found \{.*\} at line 1 of"),
    ],
)
def test_faulty_sets(tmp_path, row, message):
    write(tmp_path, **{"items.jsonl": lines(*ROWS), "sets.jsonl": lines(row)})
    with pytest.raises(InputError, match=message):
        read_source(tmp_path)


def test_set_ids_are_distinct(tmp_path):
    sets = lines(*[{"id": "s", "query": "q", "items": [7]}] * 2)
    write(tmp_path, **{"items.jsonl": lines(*ROWS), "sets.jsonl": sets})
    with pytest.raises(InputError, match=r"distinct set ids, but found 's' again at line 2 of"):
        read_source(tmp_path)


def test_facets_and_the_split_of_the_source(tmp_path):
    sets = lines(
        {
            "id": 1,
            "query": "hats",
            "items": [7, "x7"],
            "facets": [[7, 7], ["x7", 7]],
            "split": "dev",
        },
        {"id": 2, "query": "caps", "items": [7, "q"], "facets": [["q"], ["q", 7]], "split": None},
        {"id": 3, "query": "gone", "items": ["q"], "facets": [["q"]]},
    )
    folder = write(tmp_path / "j", **{"items.jsonl": lines(*ROWS), "sets.jsonl": sets})
    source = read_source(folder)
    # An item may be in two facets; a repeat within one counts once. The second set's first facet
    # has no known item, and the third set is left out with its own.
    assert [(entry.id, entry.items, entry.facets) for entry in source.sets] == [
        ("1", ("7", "x7"), (("7",), ("x7", "7"))),
        ("2", ("7",), (("7",),)),
    ]
    assert [entry.metadata for entry in source.sets] == [{"split": "dev"}, {"split": None}]
    assert source.note == (
        "1 set without a known item left out; 2 references to items without an entry left out; "
        "1 facet without a known item left out"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"facets": "7"}, r"a list of lists of item ids in the field 'facets', but found \"7\" at"),
        ({"facets": ["7"]}, r"a list of lists .* but found \[\"7\"\] at line 2 of .*\. Correct it"),
        ({"facets": [[None]]}, r"a list of lists .* but found \[\[null\]\] at line 2 of"),
        (
            {"facets": [[["7"]]]},
            r"a list of lists of item ids .* but found \[\[\[\"7\"\]\]\] at line 2",
        ),
        (
            {"facets": [[7], []]},
            r"at least one item in each .* an empty one in \[\[7\], \[\]\] at line 2",
        ),
        ({"facets": [[7], ["x7"]]}, r"facets of the set's own items, but found 'x7' at line 2 of"),
        (
            {"split": "tset"},
            r"one of train, val, .* found 'tset' at line 2 of .* Did you mean 'test'\?",
        ),
        (
            {"split": 1},
            r"one of train, val, dev, valid, validation, test in the field 'split', but found 1 at line 2",
        ),
    ],
)
def test_faulty_facets_and_splits(tmp_path, fields, message):
    sets = lines({"id": "r", "items": [7]}, {"id": "s", "query": "q", "items": [7], **fields})
    write(tmp_path, **{"items.jsonl": lines(*ROWS), "sets.jsonl": sets})
    with pytest.raises(InputError, match=message):
        read_source(tmp_path)
