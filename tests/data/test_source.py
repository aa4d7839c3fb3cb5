"""r4t.data.source and its readers: nothing faulty gets in, nothing gets lost unseen."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r4t.data.bundles import main_category
from r4t.data.source import Items, ReferenceSet, collect_sets, read_source
from r4t.errors import InputError

BUNDLES = {
    "bundle_intent.csv": "bundle ID,intent\n0,rings &amp; more\n1,\n2,hats\n3,gone\n",
    "bundle_item.csv": "bundle ID,item ID\n0,007\n0,8\n0,8\n1,8\n2,9\n3,404\n7,8\n",
    "item_titles.csv": 'item ID,titles\n007,"Ring, 5&quot;"\n8,Hat\n9,Cap\n10, \n',
    "item_categories.csv": 'item ID,categories\n007,"[[Shop,Brand],[Shop,Women,Rings, Fine & Bold]]"\n',
}


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_bundles_by_hand(tmp_path):
    source = read_source(write(tmp_path / "shop", **BUNDLES))
    assert source.items.ids == ["007", "8", "9"]
    assert source.items.texts == ['Ring, 5"', "Hat", "Cap"]
    assert source.items.metadata["category"] == ["Rings, Fine & Bold", None, None]
    assert (
        source.items.metadata["categories"][0] == "[[Shop,Brand],[Shop,Women,Rings, Fine & Bold]]"
    )
    assert source.sets == [
        ReferenceSet("0", "rings & more", ("007", "8")),
        ReferenceSet("2", "hats", ("9",)),
    ]
    assert source.note == (
        "1 set without a query left out; 1 set without a known item left out; "
        "1 reference to an item without an entry left out; 1 repeat within a set left out; "
        "1 item with an empty title left out; 1 bundle without a row of intent left out"
    )


def test_verbatim_texts_and_unasked_sets(tmp_path):
    folder = write(tmp_path / "shop", **BUNDLES)
    source = read_source(folder, verbatim=True, unasked=True)
    assert source.items.texts == ["Ring, 5&quot;", "Hat", "Cap"]
    assert source.sets == [
        ReferenceSet("0", "rings &amp; more", ("007", "8")),
        ReferenceSet("1", "", ("8",)),
        ReferenceSet("2", "hats", ("9",)),
    ]
    assert "without a query" not in source.note


def test_sets_of_a_jsonl_folder_keep_their_metadata_and_need_no_query(tmp_path):
    sets = lines(
        {"id": "s1", "query": "hats", "items": [7], "mood": "calm", "tags": ["a"]},
        {"id": "s2", "items": ["x7"], "mood": "loud"},
    )
    folder = write(tmp_path / "j", **{"items.jsonl": lines(*ROWS), "sets.jsonl": sets})
    source = read_source(folder)
    assert source.note == "1 set without a query left out"
    assert [entry.metadata for entry in source.sets] == [{"mood": "calm", "tags": ["a"]}]
    both = read_source(folder, unasked=True).sets
    assert [(entry.id, entry.query, entry.metadata["mood"]) for entry in both] == [
        ("s1", "hats", "calm"),
        ("s2", "", "loud"),
    ]


@pytest.mark.parametrize(
    ("raw", "category"),
    [
        (None, None),
        ("[[A, B & C,D]]", "D"),
        ("[[A,B],[A,C]]", "B"),
        ("[[Novelty, Costumes & More]]", "Novelty, Costumes & More"),
        ("[[A,X &amp; Y]]", "X & Y"),
    ],
)
def test_main_category(raw, category):
    assert main_category(raw) == category


def test_bundle_refusals(tmp_path):
    folder = write(tmp_path / "b", **BUNDLES)
    (folder / "item_titles.csv").write_text("item ID,titles\n1,Hat\n1,Cap\n")
    with pytest.raises(
        InputError, match=r"Ids in item_titles\.csv .* found '1' again at line 3 of"
    ):
        read_source(folder)
    (folder / "item_titles.csv").write_text("item ID,titles\n,Hat\n")
    with pytest.raises(
        InputError, match=r"needs an id and a value — found \['', 'Hat'\] at line 2"
    ):
        read_source(folder)
    (folder / "item_titles.csv").write_text("id,titles\n1,Hat\n")
    with pytest.raises(InputError, match=r"columns item ID, titles — found id, titles in"):
        read_source(folder)
    (folder / "item_titles.csv").unlink()
    with pytest.raises(InputError, match=r"found no item_titles\.csv in .* — add the file"):
        read_source(folder)


ROWS = [
    {"id": 7, "text": "red hat", "color": "red"},
    {"id": "x7", "text": 'blue, "big" hat\nof wool', "price": 3.5},
]


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


def test_one_file_of_each_form_reads_alike(tmp_path):
    (tmp_path / "i.jsonl").write_text(lines(*({"id": r["id"], "text": r["text"]} for r in ROWS)))
    (tmp_path / "i.csv").write_text('id,text\n7,red hat\nx7,"blue, ""big"" hat\nof wool"\n')
    table = pa.table({"id": ["7", "x7"], "text": [row["text"] for row in ROWS]})
    pq.write_table(table, tmp_path / "i.parquet")
    read = [read_source(tmp_path / f"i.{form}") for form in ("jsonl", "csv", "parquet")]
    assert read[0].items == read[1].items == read[2].items
    assert read[0].items.ids == ["7", "x7"]
    assert (read[0].name, read[0].sets, read[0].note) == ("i", [], "")


def test_columns_of_a_csv_are_numbers_or_texts(tmp_path):
    path = tmp_path / "i.csv"
    path.write_text("id,text,price,year,code,note\n007,hat,3.50,2003,01,\n8,cap,,1999,2,wool\n")
    items = read_source(path).items
    assert items.ids == ["007", "8"]
    assert items.metadata == {
        "price": [3.5, None],
        "year": [2003, 1999],
        "code": ["01", "2"],
        "note": [None, "wool"],
    }
    assert [type(value) for value in items.metadata["year"]] == [int, int]


def test_fields_of_other_names(tmp_path):
    (tmp_path / "i.csv").write_text("sku,title,brand\n1,red hat,Acme\n")
    message = (
        r"no id and no text among \['brand', 'sku', 'title'\] .* --id_field sku --text_field title"
    )
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "i.csv")
    with pytest.raises(InputError, match=r"found no text among .* --text_field title\."):
        read_source(tmp_path / "i.csv", fields=("sku", "text"))
    with pytest.raises(InputError, match=r"found no headline among .* --text_field title\."):
        read_source(tmp_path / "i.csv", fields=("sku", "headline"))
    items = read_source(tmp_path / "i.csv", fields=("sku", "title")).items
    assert items == Items(["1"], ["red hat"], {"brand": ["Acme"]})
    (tmp_path / "i.jsonl").write_text(lines({"id": 1, "text": "hat", "words": "a red hat"}))
    message = r"one text — found the fields 'text' and 'words', .* at line 1 of .* — rename or"
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "i.jsonl", fields=("id", "words"))
    (tmp_path / "odd.jsonl").write_text(lines({"a": 1}))
    with pytest.raises(
        InputError, match=r"no id and no text among \['a'\] .* --id_field NAME --text_field N"
    ):
        read_source(tmp_path / "odd.jsonl")
    write(tmp_path / "j", **{"items.jsonl": lines(*ROWS)})
    with pytest.raises(InputError, match=r"for one file of items .* found sku and text for .* — l"):
        read_source(tmp_path / "j", fields=("sku", "text"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"at least one item — found none in"),
        (
            '{"id": "a", "text": "x"}\nnot json\n',
            r"one JSON object — found 'not json' at line 2 of",
        ),
        ("[1]\n", r"one JSON object — found '\[1\]' at line 1"),
        ('\n{"id": "a"}\n', r"fields id and text — found no text among \['id'\] at line 2 of"),
        ('{"text": "x"}\n', r"found no id among \['text'\] at line 1"),
        ('{"id": "", "text": "x"}\n', r"needs an id, .* — found '' at line 1"),
        ('{"id": null, "text": "x"}\n', r"needs an id, .* — found None at line 1"),
        ('{"id": true, "text": "x"}\n', r"needs an id, .* — found True at line 1"),
        (
            lines(*ROWS, ROWS[0]),
            r"distinct — found '7' at line 1 and again at line 3 of .* — rename",
        ),
        (lines({"id": "a", "text": "  "}), r"needs a text — found '  ' for item 'a' at line 1"),
        (lines({"id": "a", "text": 3}), r"needs a text — found 3 for item 'a'"),
    ],
)
def test_refused_items(tmp_path, content, message):
    (tmp_path / "items.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "items.jsonl")
    with pytest.raises(InputError, match=message):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines({"id": "s", "query": "q"}), r"A set needs an id, a query .* at line 1 of"),
        (lines({"id": "s", "query": 3, "items": []}), r"A set needs an id, a query"),
        (lines({"id": ["s"], "query": "q", "items": []}), r"A set needs an id, a query"),
        (lines({"query": "q", "items": []}), r"A set needs an id, a query"),
        (
            lines(*[{"id": "s", "query": "q", "items": [7]}] * 2),
            r"Set ids .* found 's' again at line 2",
        ),
    ],
)
def test_refused_sets(tmp_path, content, message):
    write(tmp_path, **{"items.jsonl": lines(*ROWS), "sets.jsonl": content})
    with pytest.raises(InputError, match=message):
        read_source(tmp_path)


def test_refused_csv_rows(tmp_path):
    (tmp_path / "i.csv").write_text("id,text\n1,a hat\n2,a hat,of wool\n")
    with pytest.raises(InputError, match=r"the 2 columns of the header .* at line 3 of"):
        read_source(tmp_path / "i.csv")


def test_refused_sources(tmp_path):
    with pytest.raises(InputError, match=r"found nothing at .*/none — check the path"):
        read_source(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"one file of items .* found \['notes\.txt'\] at"):
        read_source(tmp_path)
    with pytest.raises(InputError, match=r"found \.txt at"):
        read_source(tmp_path / "notes.txt")


def test_refused_columns():
    with pytest.raises(InputError, match=r"called 'id', .* — rename the column"):
        Items(["a"], ["x"], {"id": ["b"]})
    with pytest.raises(InputError, match=r"'color' must have one value an item \(1\) — found 2"):
        Items(["a"], ["x"], {"color": ["b", "c"]})
    with pytest.raises(InputError, match=r"found 2 ids and 1 texts in items — give both"):
        Items(["a", "b"], ["x"])
    with pytest.raises(InputError, match=r"found 'a' at row 0 and again at row 1 of items"):
        Items(["a", "a"], ["x", "y"])


@given(
    st.lists(
        st.tuples(
            st.text(max_size=3), st.sampled_from(["q", " "]), st.lists(st.sampled_from("abxy"))
        )
    )
)
def test_every_reference_is_kept_or_counted(rows):
    found = [ReferenceSet(name, query, tuple(items)) for name, query, items in rows]
    sets, note = collect_sets(found, {"a", "b"})
    counts = {
        part.split(" ", 1)[1]: int(part.split(" ", 1)[0]) for part in note.split("; ") if part
    }
    kept = sum(len(entry.items) for entry in sets)

    def count(start: str) -> int:
        return sum(n for what, n in counts.items() if what.startswith(start))

    asked = [items for _, query, items in rows if query.strip()]
    assert kept + count("reference") + count("repeat") == sum(map(len, asked))
    assert len(sets) + count("set without") + count("sets without") == len(rows)
