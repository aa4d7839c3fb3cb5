"""r4t.data.readers.polyvore: outfits of the Maryland JSON by hand, and its errors."""

import json
from pathlib import Path

import pytest
import torch
from r4t_objectives.constraint import Budget

from r4t.catalog import Catalog
from r4t.cli import catalog as catalog_verb
from r4t.cli import queries as queries_verb
from r4t.data.collections import collection_items
from r4t.data.queries import read_queries
from r4t.data.readers import read_source
from r4t.data.source import ReferenceSet
from r4t.errors import InputError
from r4t.objective import load_objective
from r4t.sets import SetBatch


def item(index, name, categoryid=11, price=24.0, likes=3):
    image = f"http://img/{index}.jpg"
    return {
        "index": index,
        "name": name,
        "categoryid": categoryid,
        "price": price,
        "likes": likes,
        "image": image,
    }


OUTFITS = {
    "train": [
        {
            "set_id": "214",
            "name": "beach day ",
            "desc": "A look by someone.",
            "likes": 9,
            "items": [
                item(1, "linen dress", 3, 24.5),
                item(4, "sandals", 41),
                item(5, "Polyvore", 41),
            ],
        },
        {"set_id": "215", "name": "", "desc": "for rain", "items": [item(1, "sandals", 41, None)]},
    ],
    "test": [
        {"set_id": 216, "name": "none", "items": [item(1, " ")]},
        {"set_id": 217, "name": " ", "items": [item(2, "red hat", None)]},
    ],
}


def write(folder: Path, outfits=OUTFITS, categories=None) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for split, content in outfits.items():
        (folder / f"{split}_no_dup.json").write_text(json.dumps(content), encoding="utf-8")
    if categories is not None:
        (folder / "category_id.txt").write_text(categories, encoding="utf-8")
    return folder


def test_outfits_by_hand(tmp_path):
    source = read_source(write(tmp_path / "polyvore", categories="3 Day Dresses\n\n41 Sandals\n"))
    assert source.name == "polyvore"
    # Items of one name stay apart; 214_5 has the name of the site and 216_1 has none.
    assert source.items.ids == ["214_1", "214_4", "215_1", "217_2"]
    assert source.items.texts == ["linen dress", "sandals", "sandals", "red hat"]
    assert source.items.metadata == {
        "categoryid": ["3", "41", "41", None],
        "price": [24.5, 24.0, None, 24.0],
        "likes": [3.0, 3.0, 3.0, 3.0],
        "category": ["Day Dresses", "Sandals", "Sandals", None],
    }
    assert source.sets == [
        ReferenceSet("214", "beach day", ("214_1", "214_4")),
        ReferenceSet("215", "for rain", ("215_1",)),
    ]
    assert [entry.metadata for entry in source.sets] == [
        {"desc": "A look by someone.", "likes": 9.0, "split": "train"},
        {"desc": "for rain", "likes": None, "split": "train"},
    ]
    assert source.note == (
        "1 set without a query left out; 1 set without a known item left out; "
        "2 items without a name left out; "
        "1 outfit without a name queried by description"
    )


def test_one_file_and_outfits_without_query(tmp_path):
    folder = write(tmp_path)
    source = read_source(folder / "test_no_dup.json", keep_without_query=True)
    assert (source.name, source.items.ids) == ("test_no_dup", ["217_2"])
    assert source.sets == [ReferenceSet("217", "", ("217_2",))]
    assert source.sets[0].metadata["split"] == "test"
    assert "category" not in source.items.metadata
    # One file may have any name: its first character shows that it holds a list of outfits.
    (tmp_path / "mine.json").write_text("  " + json.dumps(OUTFITS["train"]))
    assert read_source(tmp_path / "mine.json").sets[0].metadata["split"] is None


@pytest.mark.parametrize(
    ("outfits", "message"),
    [
        (
            {"set_id": "1"},
            r"a list of outfits, but found a dict with the keys \['set_id'\] in .*train_no_dup\.json\. N",
        ),
        ([], r"at least one item with a name, but found none in the 0 outfits of p\. Name other"),
        (
            [{"items": []}],
            r"a string in the field 'set_id', but found \{\"items\".* at outfit 0 of .*train",
        ),
        ([7], r"a string in the field 'set_id', but found 7 at outfit 0 of"),
        (
            [{"set_id": "1"}],
            r"a list in the field 'items', but found .* at outfit 0 of .*\. Correct or remove",
        ),
        (
            [{"set_id": "1", "items": [{"name": "hat"}]}],
            r"a string in the field 'index', but found .* at item 0 of outfit 0 of",
        ),
        (
            [{"set_id": "1", "items": [{"index": 2}]}],
            r"a string in the field 'name', but found .* at item 0 of outfit 0 of",
        ),
        (
            [{"set_id": "1", "items": [item(1, "hat", price="cheap")]}],
            r"a number in the field 'price', but found 'cheap' at item 0 of outfit 0 of .*\. W",
        ),
        (
            [{"set_id": "1", "items": [item(1, "hat"), item(1, "cap")]}],
            r"distinct indices in each outfit, but found '1_1' again at item 1 of outfit 0 of .*\. C",
        ),
        (
            [{"set_id": "1", "items": [item(1, "hat")]}, {"set_id": 1, "items": []}],
            r"each outfit once, but found set_id '1' again at outfit 1 of .*\. Correct or",
        ),
    ],
)
def test_faulty_outfits(tmp_path, outfits, message):
    with pytest.raises(InputError, match=message):
        read_source(write(tmp_path / "p", {"train": outfits}))


def test_faulty_files(tmp_path):
    folder = write(tmp_path, categories="3 Dresses\nsandals 41\n")
    with pytest.raises(
        InputError, match=r"number and the name of a category .* found 'sandals 41' at line 2 of"
    ):
        read_source(folder)
    (folder / "train_no_dup.json").write_text('[{"set_id": ')
    (folder / "category_id.txt").unlink()
    with pytest.raises(
        InputError,
        match=r"one JSON value in .*train_no_dup\.json, but found other text \(.*\)\. Unpack",
    ):
        read_source(folder)
    with pytest.raises(InputError, match=r"only for one file of items .* found id and name for"):
        read_source(folder, fields=("id", "name"))


THINGS = ("dress", "sandals", "hat", "bag", "coat")


@pytest.fixture
def shop(tmp_path) -> Path:
    """Twenty outfits of a thing of each of five categories, category n at price 10·n."""
    outfits = [
        {
            "set_id": str(100 + n),
            "name": f"idea {n}",
            "items": [item(i, f"{thing} {n}", i, 10.0 * i) for i, thing in enumerate(THINGS)],
        }
        for n in range(20)
    ]
    return write(tmp_path / "polyvore", {"train": outfits[:16], "test": outfits[16:]})


def test_from_the_files_to_queries(shop, tmp_path, capsys):
    catalog, queries = str(tmp_path / "catalog"), str(tmp_path / "queries")
    catalog_verb.run([str(shop), "--out", catalog, "--dim", "8"])
    printed = capsys.readouterr().out
    assert "items        100 (metadata: categoryid, price, likes)" in printed
    assert "sets         20 (r4t queries" in printed
    queries_verb.run([catalog, "--out", queries, "--sets", str(shop)])
    assert "splits    train 16, val 2, test 2" in capsys.readouterr().out
    by_id = {query.id: query for query in read_queries(queries, "all")}
    assert by_id["103"].text == "idea 3"
    assert by_id["103"].references == ("103_0", "103_1", "103_2", "103_3", "103_4")


def test_collections_keep_the_metadata_of_an_outfit(shop):
    entries = collection_items(read_source(shop), titles=True)
    assert entries.texts[0] == "idea 0: dress 0; sandals 0; hat 0; bag 0; coat 0"
    assert entries.metadata["split"] == ["train"] * 16 + ["test"] * 4


def test_objectives_read_the_metadata(shop, tmp_path):
    catalog_verb.run([str(shop), "--out", str(tmp_path / "catalog"), "--dim", "8"])
    catalog = Catalog.load(tmp_path / "catalog")
    assert catalog.numbers("price")[:5].tolist() == [0.0, 10.0, 20.0, 30.0, 40.0]
    # An outfit fills five slots with five items; five dresses fill one.
    members = torch.tensor([[0, 1, 2, 3, 4], [0, 5, 10, 15, 20]])
    embeddings = catalog.embeddings[members]
    sets = SetBatch(
        directions=embeddings,
        items=members,
        item_embeddings=embeddings,
        mask=torch.ones(2, 5, dtype=torch.bool),
        query=catalog.embeddings[:2],
        catalog=catalog,
    )
    slots = load_objective("complementarity", field="categoryid")(sets)
    torch.testing.assert_close(slots, torch.tensor([1.0, 0.0]))
    # The outfit costs 0 + 10 + 20 + 30 + 40 = 100, the dresses nothing.
    within = load_objective("constraint", rules=[Budget("price", 60.0)])(sets)
    torch.testing.assert_close(within, torch.tensor([0.0, 1.0]))
