"""r4t.data.readers.table: files of items by hand, and their errors."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r4t.data.readers import read_source
from r4t.data.source import Items
from r4t.errors import InputError

ROWS = [
    {"id": 7, "text": "red hat", "color": "red"},
    {"id": "x7", "text": 'blue, "big" hat\nof wool', "price": 3.5},
]


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


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
    message = (
        r"one text .* in the field 'words', but found a field 'text' as well at line 1 of .*\. Ren"
    )
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "i.jsonl", fields=("id", "words"))
    (tmp_path / "odd.jsonl").write_text(lines({"a": 1}))
    with pytest.raises(
        InputError, match=r"no id and no text among \['a'\] .* --id_field NAME --text_field N"
    ):
        read_source(tmp_path / "odd.jsonl")
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "items.jsonl").write_text(lines(*ROWS))
    message = r"only for one file of items \(.*\), but found sku and text for .*\. Leave"
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "j", fields=("sku", "text"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"at least one item, but found none in .*items\.jsonl\. Add"),
        (
            '{"id": "a", "text": "x"}\nnot json\n',
            r"one JSON object on each line, but found 'not json' at line 2 of",
        ),
        ("[1]\n", r"one JSON object on each line, but found '\[1\]' at line 1"),
        (
            '\n{"id": "a"}\n',
            r"fields id and text in each item, but found no text among \['id'\] at line 2 of",
        ),
        ('{"text": "x"}\n', r"found no id among \['text'\] at line 1"),
        ('{"id": "", "text": "x"}\n', r"as the id of each item, but found '' at line 1"),
        ('{"id": null, "text": "x"}\n', r"as the id of each item, but found None at line 1"),
        ('{"id": true, "text": "x"}\n', r"as the id of each item, but found True at line 1"),
        (
            lines(*ROWS, ROWS[0]),
            r"distinct item ids, but found '7' at line 1 and again at line 3 of .*\. Rename",
        ),
        (
            lines({"id": "a", "text": "  "}),
            r"a text for each item, but found '  ' for item 'a' at line 1",
        ),
        (lines({"id": "a", "text": 3}), r"a text for each item, but found 3 for item 'a'"),
    ],
)
def test_faulty_items(tmp_path, content, message):
    (tmp_path / "items.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "items.jsonl")
    with pytest.raises(InputError, match=message):
        read_source(tmp_path)


def test_faulty_csv_rows(tmp_path):
    (tmp_path / "i.csv").write_text("id,text\n1,a hat\n2,a hat,of wool\n")
    with pytest.raises(
        InputError, match=r"the 2 columns of the header .* number of cells at line 3 of"
    ):
        read_source(tmp_path / "i.csv")
    (tmp_path / "i.csv").write_text("id;text\n1;a hat\n")
    with pytest.raises(
        InputError, match=r"commas .* found ';' in the header 'id;text' of .*\. Save"
    ):
        read_source(tmp_path / "i.csv")


def test_other_content_in_a_parquet_file(tmp_path):
    (tmp_path / "i.parquet").write_text("id,text\n1,a hat\n")
    with pytest.raises(InputError, match=r"a Parquet file at .*, but found other content \(.*W"):
        read_source(tmp_path / "i.parquet")
