"""r4t.data.readers.bundles: the four CSVs by hand, and their errors."""

from pathlib import Path

import pytest

from r4t.data.readers import read_source
from r4t.data.readers.bundles import main_category
from r4t.data.source import ReferenceSet
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


def test_verbatim_texts_and_sets_without_query(tmp_path):
    folder = write(tmp_path / "shop", **BUNDLES)
    source = read_source(folder, verbatim=True, keep_without_query=True)
    assert source.items.texts == ["Ring, 5&quot;", "Hat", "Cap"]
    assert source.sets == [
        ReferenceSet("0", "rings &amp; more", ("007", "8")),
        ReferenceSet("1", "", ("8",)),
        ReferenceSet("2", "hats", ("9",)),
    ]
    assert "without a query" not in source.note


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


def test_faulty_bundles(tmp_path):
    folder = write(tmp_path / "b", **BUNDLES)
    for titles, message in (
        (
            "item ID,titles\n1,Hat\n1,Cap\n",
            r"an id of its own .* found '1' again at line 3 of .*\. C",
        ),
        ("item ID,titles\n,Hat\n", r"in each row of item_titles\.csv, but found '' at line 2 of"),
        (
            "item ID,titles\n1,Hat,Cap\n",
            r"the 2 columns of the header .* number of cells at line 2 of",
        ),
        ("id,titles\n1,Hat\n", r"columns item ID, titles, but found id, titles in .*\. Correct"),
    ):
        (folder / "item_titles.csv").write_text(titles)
        with pytest.raises(InputError, match=message):
            read_source(folder)
    (folder / "item_titles.csv").unlink()
    with pytest.raises(InputError, match=r"found no item_titles\.csv in .*\. Add the file"):
        read_source(folder)
