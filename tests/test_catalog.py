"""The catalog reads back what was written, memory-mapped, with a fingerprint of its content."""

import hashlib
import json
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from r4t.catalog import Catalog, text_encoder, write_catalog
from r4t.data.source import Items
from r4t.encoder import LsaEncoder
from r4t.errors import InputError

ITEMS = Items(
    ["a", "b", "Ünï 3"],
    ["red hat", "blue hat", "green boot"],
    {"color": ["red", "blue", None], "price": [1.5, 2.0, 3.0], "tags": [["x"], [], ["y", "z"]]},
)
EYE = torch.eye(3)


def test_round_trip(tmp_path):
    encoder = LsaEncoder.fit(ITEMS.texts, dim=2)
    embeddings = encoder.encode(ITEMS.texts)
    write_catalog(tmp_path / "c", ITEMS, embeddings, encoder, origin={"name": "toy", "seed": 4})
    catalog = Catalog.load(tmp_path / "c")
    assert (catalog.ids, catalog.texts, len(catalog), catalog.dim) == (ITEMS.ids, ITEMS.texts, 3, 2)
    assert catalog.columns == ["color", "price", "tags"]
    assert all(catalog.column(name) == column for name, column in ITEMS.metadata.items())
    assert catalog.rows(["Ünï 3", "a", "a"]) == [2, 0, 0]
    assert torch.equal(catalog.embeddings, embeddings)
    assert torch.equal(text_encoder(catalog).encode(["blue boot"]), encoder.encode(["blue boot"]))
    assert catalog.info["origin"] == {"name": "toy", "seed": 4}
    assert catalog.info["encoder"] == "LSA, 2 dimensions, 5 words"


def test_fingerprint_is_the_hash_of_the_content(tmp_path):
    digest = hashlib.sha256()
    for text in ITEMS.ids + ITEMS.texts:
        digest.update(struct.pack("<q", len(text.encode())) + text.encode())
    for row in EYE.tolist():
        digest.update(struct.pack("<3f", *row))
    catalog = write_catalog(tmp_path / "c", ITEMS, EYE, None)
    assert catalog.fingerprint == digest.hexdigest() == Catalog.load(tmp_path / "c").fingerprint


def test_fingerprint_changes_with_ids_texts_and_embeddings_only(tmp_path):
    def mark(name: str, items: Items, rows: torch.Tensor) -> str:
        return write_catalog(tmp_path / name, items, rows, None).fingerprint

    bare = Items(ITEMS.ids, ITEMS.texts)
    marks = [
        mark("0", ITEMS, EYE),
        mark("1", Items(["a", "b", "c"], ITEMS.texts), EYE),
        mark("2", Items(ITEMS.ids, ["red hat", "blue hat", "boot"]), EYE),
        mark("3", ITEMS, EYE.flip(0)),
        mark("4", Items(["ab", "c", "d"], ["x", "y", "z"]), EYE),
        mark("5", Items(["a", "bc", "d"], ["x", "y", "z"]), EYE),
    ]
    assert len(set(marks)) == 6
    assert mark("6", bare, EYE) == marks[0]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to see mappings")
def test_embeddings_are_memory_mapped(tmp_path):
    catalog = write_catalog(tmp_path / "c", ITEMS, EYE, None)
    assert str(tmp_path / "c" / "embeddings.safetensors") in Path("/proc/self/maps").read_text()
    assert torch.equal(catalog.embeddings, EYE)


def test_rows_are_scaled_to_unit_length_and_unit_rows_keep_their_bits(tmp_path):
    # (3, 4)/5 = (0.6, 0.8)
    rows = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    scaled = write_catalog(tmp_path / "c", ITEMS, rows, None).embeddings
    torch.testing.assert_close(scaled, torch.tensor([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]]))
    again = write_catalog(tmp_path / "d", ITEMS, scaled, None).embeddings
    assert torch.equal(again, scaled)


def test_only_overwrite_replaces_a_catalog_and_it_replaces_all_of_it(tmp_path):
    folder = tmp_path / "c"
    write_catalog(folder, ITEMS, EYE, LsaEncoder.fit(ITEMS.texts, dim=3))
    (folder / "truth").mkdir()
    with pytest.raises(
        InputError, match=r"a new folder .* found a catalog in .* add --overwrite\.$"
    ):
        write_catalog(folder, ITEMS, EYE, None)
    other = Items(["z"], ["scarf"])
    write_catalog(folder, other, torch.ones(1, 1), None, overwrite=True)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["catalog.json", "embeddings.safetensors", "items.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]  # no drafts left


def test_overwrite_leaves_other_folders_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(
        InputError, match=r"a new folder .* found other content in .*\. Name a new folder\.$"
    ):
        write_catalog(tmp_path, ITEMS, EYE, None, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_failed_write_leaves_nothing_behind_and_keeps_the_old_catalog(tmp_path):
    mixed = Items(["a"], ["hat"], {"size": [1]})
    write_catalog(tmp_path / "c", mixed, torch.ones(1, 1), None)
    bad = Items(["a", "b"], ["hat", "cap"], {"size": [1, "large"]})
    with pytest.raises(
        InputError, match=r"of one type in .* 'size', but found several types .* as strings"
    ):
        write_catalog(tmp_path / "c", bad, torch.ones(2, 1), None, overwrite=True)
    assert Catalog.load(tmp_path / "c").column("size") == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            torch.ones(2, 3),
            r"one row for each of the 3 items, but found shape \(2, 3\)\. Pass them",
        ),
        (torch.ones(3), r"one row for each of the 3 items, but found shape \(3,\)"),
        (
            EYE * torch.tensor([1.0, float("nan"), 1.0]),
            r"a value that is not finite in row 0 \(item 'a'\)",
        ),
        (
            torch.diag(torch.tensor([1.0, 0.0, 1.0])),
            r"found only zeros in row 1 \(item 'b'\)\. Correct",
        ),
    ],
)
def test_refused_embeddings(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        write_catalog(tmp_path / "c", ITEMS, rows, None)
    assert not (tmp_path / "c").exists()


def test_embeddings_must_fit_their_query_encoder(tmp_path):
    encoder = LsaEncoder.fit(ITEMS.texts, dim=2)
    with pytest.raises(
        InputError, match=r"as wide as their query encoder, 2, but found width 3\. Name the"
    ):
        write_catalog(tmp_path / "c", ITEMS, EYE, encoder)


def test_a_catalog_without_an_encoder_takes_no_text(tmp_path):
    catalog = write_catalog(tmp_path / "c", ITEMS, EYE, None)
    message = f"a text encoder .* found only vectors in {re.escape(str(catalog.folder))}\\. Write"
    with pytest.raises(InputError, match=message):
        text_encoder(catalog)


def test_refused_folders_and_names(tmp_path):
    with pytest.raises(InputError, match=r"found no catalog\.json in .* `r4t catalog SOURCE"):
        Catalog.load(tmp_path)
    catalog = write_catalog(tmp_path / "c", ITEMS, EYE, None)
    with pytest.raises(
        InputError,
        match=r"columns \['color', 'price', 'tags'\] of .*c, but found 'colour'\. .*'color'",
    ):
        catalog.column("colour")
    with pytest.raises(InputError, match=r"ids of the catalog .*c, but found 'q'\. Check"):
        catalog.rows(["a", "q"])
    save_file({"embeddings": torch.ones(2, 3)}, tmp_path / "c" / "embeddings.safetensors")
    with pytest.raises(InputError, match=r"shape \(3, 3\), as in catalog.json, but found \(2, 3\)"):
        Catalog.load(tmp_path / "c")


def test_catalog_json_is_readable(tmp_path):
    write_catalog(tmp_path / "c", ITEMS, EYE, None)
    info = json.loads((tmp_path / "c" / "catalog.json").read_text())
    assert {key: info[key] for key in ("items", "dim", "encoder", "columns", "origin")} == {
        "items": 3,
        "dim": 3,
        "encoder": None,
        "columns": ["color", "price", "tags"],
        "origin": None,
    }


def test_columns_as_numbers_and_codes(tmp_path):
    metadata = {
        "kind": ["shoe", None, "hat", "shoe"],
        "price": [10, None, 2.5, 4],
        "tags": [["a"], [], ["b"], []],
    }
    items = Items(list("abcd"), ["one", "two", "three", "four"], metadata)
    catalog = write_catalog(tmp_path / "c", items, torch.eye(4), None)
    codes, values = catalog.codes("kind")
    assert values == ["hat", "shoe"]
    assert codes.tolist() == [1, -1, 0, 1]
    assert catalog.numbers("price").nan_to_num(-1).tolist() == [10, -1, 2.5, 4]
    with pytest.raises(InputError, match=r"columns \['kind', 'price', 'tags'\].*'knd'.*'kind'"):
        catalog.codes("knd")
    bare = write_catalog(tmp_path / "bare", Items(["a"], ["one"]), torch.eye(1), None)
    with pytest.raises(InputError, match=r"column 'kind', but found none in .*bare, whose items"):
        bare.codes("kind")
    nan = float("nan")
    sparse = Items(["a", "b", "c"], ["one", "two", "three"], {"size": [nan, 2.0, nan]})
    assert write_catalog(tmp_path / "d", sparse, torch.eye(3), None).codes("size")[0].tolist() == [
        -1,
        0,
        -1,
    ]
    with pytest.raises(InputError, match="numbers in column 'kind' of .*, but found 'shoe'"):
        catalog.numbers("kind")
    with pytest.raises(
        InputError, match=r"a single value per item in column 'tags' of .*, but found \['a'\]"
    ):
        catalog.codes("tags")


def test_variants_by_title_by_column_or_not_at_all(tmp_path):
    texts = [
        "tall satin bow pump in red",
        "satin bow pump in jet",
        "satin bow sandal",
        "hat",
        "hat",
    ]
    metadata = {"sku": ["p", None, "q", "q", None], "tags": [["x"], [], [], [], []]}
    items = Items(list("abcde"), texts, metadata)
    catalog = write_catalog(tmp_path / "c", items, torch.eye(5), None)
    assert catalog.variants().tolist() == [0, 0, 2, 3, 3]
    assert catalog.variants("sku").tolist() == [0, 1, 2, 2, 4]
    assert catalog.variants("none").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"columns \['sku', 'tags'\] of .* found 'skew'"):
        catalog.variants("skew")
    with pytest.raises(InputError, match=r"a single value per item in column 'tags' .* found"):
        catalog.variants("tags")
    own = Items(items.ids, texts, {"variant": [1, 2, 2, 1, float("nan")]})
    catalog = write_catalog(tmp_path / "own", own, torch.eye(5), None)
    assert catalog.variants().tolist() == [0, 1, 1, 0, 4]
