"""r4t catalog: from files to a catalog folder, with a summary of what was written and left out."""

import json
import subprocess
import sys
from argparse import ArgumentError

import numpy as np
import pytest
import torch

from r4t.catalog import Catalog, text_encoder
from r4t.cli import catalog as verb
from r4t.data.wardrobe import SMALLEST, generate
from r4t.encoder import LsaEncoder
from r4t.errors import InputError

TITLES = [
    f"{color} {thing}" for color in ("red", "blue", "green") for thing in ("hat", "boot", "coat")
]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [
        {"id": f"i{n}", "text": text, "color": text.split()[0]} for n, text in enumerate(TITLES)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [{"id": "s", "query": "hats", "items": ["i0", "gone"]}]
    (folder / "sets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sets))
    return folder


def test_lsa_catalog_and_its_summary(source, tmp_path, capsys):
    out = tmp_path / "out"
    verb.run([str(source), "--out", str(out), "--dim", "4"])
    catalog = Catalog.load(out)
    assert catalog.texts == TITLES
    assert torch.equal(catalog.embeddings, LsaEncoder.fit(TITLES, dim=4).encode(TITLES))
    assert torch.equal(text_encoder(catalog).encode(TITLES), catalog.embeddings)
    printed = capsys.readouterr().out
    for part in (
        "items        9 (metadata: color)",
        "embeddings   4 dimensions",
        "encoder      LSA, 4 dimensions, 6 words",
        f"fingerprint  {catalog.fingerprint}",
        "sets         1 (r4t queries",
        "left out     1 reference to an item without an entry left out",
    ):
        assert part in printed


def test_a_csv_with_names_of_its_own(tmp_path, capsys):
    rows = "".join(f"{n},{title},{n}.5\n" for n, title in enumerate(TITLES))
    (tmp_path / "shop.csv").write_text("sku,title,price\n" + rows)
    arguments = [str(tmp_path / "shop.csv"), "--out", str(tmp_path / "out"), "--dim", "4"]
    with pytest.raises(InputError, match=r"FILE --id_field sku --text_field title\."):
        verb.run(arguments)
    verb.run([*arguments, "--id_field", "sku", "--text_field", "title"])
    assert "items        9 (metadata: price)" in capsys.readouterr().out
    catalog = Catalog.load(tmp_path / "out")
    assert (catalog.ids[3], catalog.texts) == ("3", TITLES)
    assert catalog.numbers("price").tolist() == [n + 0.5 for n in range(9)]


def test_own_vectors_without_encoder(source, tmp_path, capsys):
    vectors = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    arguments = [str(source), "--vectors", str(tmp_path / "v.npy"), "--out"]
    verb.run([*arguments, str(tmp_path / "a")])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(Catalog.load(tmp_path / "a").embeddings, unit, atol=1e-6)
    assert "none: search with vectors only" in capsys.readouterr().out
    verb.run([*arguments, str(tmp_path / "b"), "--dim", "2"])
    short = vectors[:, :2] / np.linalg.norm(vectors[:, :2], axis=1, keepdims=True)
    np.testing.assert_allclose(Catalog.load(tmp_path / "b").embeddings, short, atol=1e-6)
    with pytest.raises(
        InputError, match=r"--dim in 1\.\.5, the width of the vectors, but found 6\."
    ):
        verb.run([*arguments, str(tmp_path / "c"), "--dim", "6"])
    with pytest.raises(InputError, match=r"found lsa, whose space is another"):
        verb.run([*arguments, str(tmp_path / "c"), "--encoder", "lsa"])


def test_own_vectors_with_an_encoder_class(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_color.py").write_text(
        "class Color:\n"
        "    dim = 3\n"
        "    def encode(self, texts):\n"
        "        words = ('red', 'blue', 'green')\n"
        "        return [[float(word in text) for word in words] for text in texts]\n"
    )
    np.save("v.npy", np.repeat(np.eye(3, dtype=np.float32), 3, axis=0))
    arguments = [str(source), "--vectors", "v.npy", "--encoder", "own_color:Color", "--out", "out"]
    verb.run(arguments)
    assert "encoder      own_color:Color, 3 dimensions" in capsys.readouterr().out
    catalog = Catalog.load("out")
    assert text_encoder(catalog).encode(["blue sky"]).tolist() == [[0.0, 1.0, 0.0]]
    # Without vectors, the class makes those of the items too.
    verb.run([str(source), "--encoder", "own_color:Color", "--out", "made"])
    assert torch.equal(Catalog.load("made").embeddings, catalog.embeddings)
    with pytest.raises(
        InputError, match=r"pretrained --encoder, but found 9 with the encoder own_c"
    ):
        verb.run([*arguments, "--overwrite", "--max_length", "9"])


def test_overwrite_only_when_asked(source, tmp_path):
    arguments = [str(source), "--out", str(tmp_path / "out"), "--dim", "2"]
    verb.run(arguments)
    with pytest.raises(InputError, match="a new folder .* found a catalog in"):
        verb.run(arguments)
    verb.run([*arguments, "--overwrite", "--seed", "5"])
    assert Catalog.load(tmp_path / "out").dim == 2


def test_few_words_make_a_narrow_catalog(source, tmp_path, capsys):
    verb.run([str(source), "--out", str(tmp_path / "out")])  # 9 texts with 6 words
    assert Catalog.load(tmp_path / "out").dim == 6
    assert "encoder      LSA, 6 dimensions, 6 words" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"found dim=7 for 9 texts with 6 words\. Give a dim of"):
        verb.run([str(source), "--out", str(tmp_path / "other"), "--dim", "7"])


def test_wardrobe_with_its_truth_apart(tmp_path):
    verb.run(["wardrobe", "--out", str(tmp_path / "w"), "--size", str(SMALLEST), "--seed", "3"])
    catalog, wardrobe = Catalog.load(tmp_path / "w"), generate(3, SMALLEST)
    assert catalog.ids == wardrobe.items.ids
    assert catalog.info["origin"] == {"name": "wardrobe", "seed": 3, "size": SMALLEST}
    truth = json.loads((tmp_path / "w" / "truth" / "truth.json").read_text())
    assert truth["items"].keys() == set(catalog.ids)
    assert "style" not in catalog.columns


def test_help_starts_without_heavy_imports():
    code = (
        "import sys\nfrom r4t.cli import catalog, queries\n"
        "from r4t.cli.arguments import verb_parser\n"
        "verb_parser('catalog').format_help(); verb_parser('queries').format_help()\n"
        "print([m for m in ('torch', 'transformers', 'lightning', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def outfits(source):
    """The nine items, two sets with metadata and one without a text of its own."""
    sets = [
        {"id": "s1", "query": "warm things", "items": ["i0", "i4"], "mood": "calm"},
        {"id": "s2", "query": "warm things", "items": ["i4", "gone", "i8"]},
        {"id": "s3", "items": ["i1"]},
    ]
    (source / "sets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sets))
    return source


def test_collections_by_mean(outfits, tmp_path, capsys):
    out = tmp_path / "out"
    verb.run([str(outfits), "--out", str(out), "--collections", "mean", "--dim", "4"])
    catalog = Catalog.load(out)
    assert (catalog.ids, catalog.texts) == (
        ["s1", "s2", "s3"],
        ["warm things", "warm things", "red boot"],
    )
    assert catalog.column("mood") == ["calm", None, None]
    assert catalog.column("size") == [2, 2, 1]
    assert catalog.column("items") == [["i0", "i4"], ["i4", "i8"], ["i1"]]
    items = LsaEncoder.fit(TITLES, dim=4).encode(TITLES)
    means = torch.stack([items[[0, 4]].mean(0), items[[4, 8]].mean(0), items[1]])
    torch.testing.assert_close(catalog.embeddings, torch.nn.functional.normalize(means, dim=1))
    # The encoder of queries is that of the items.
    assert torch.equal(text_encoder(catalog).encode(TITLES), items)
    assert catalog.info["origin"] == {"name": "shop", "collections": "mean"}
    printed = capsys.readouterr().out
    for part in (
        "collections  3 (metadata: mood, size, items)",
        "made of      9 items, by mean",
        "left out     1 reference to an item without an entry left out",
    ):
        assert part in printed
    assert "r4t queries" not in printed


def test_collections_by_text(outfits, tmp_path):
    out = tmp_path / "out"
    verb.run([str(outfits), "--out", str(out), "--collections", "text", "--dim", "2"])
    catalog = Catalog.load(out)
    texts = ["warm things: red hat; blue boot", "warm things: blue boot; green coat", "red boot"]
    assert catalog.texts == texts
    assert torch.equal(catalog.embeddings, LsaEncoder.fit(texts, dim=2).encode(texts))


def test_collections_of_own_vectors(outfits, tmp_path):
    np.save(tmp_path / "v.npy", 3 * np.eye(9, dtype=np.float32))
    arguments = [str(outfits), "--out", str(tmp_path / "out"), "--vectors", str(tmp_path / "v.npy")]
    verb.run([*arguments, "--collections", "mean"])
    half = 0.5**0.5
    expected = torch.zeros(3, 9)
    expected[0, [0, 4]] = expected[1, [4, 8]] = half
    expected[2, 1] = 1
    torch.testing.assert_close(Catalog.load(tmp_path / "out").embeddings, expected)
    with pytest.raises(InputError, match=r"found --vectors with --collections text.* Use --coll"):
        verb.run([*arguments, "--overwrite", "--collections", "text"])
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(
        InputError, match=r"one row for each of the 9 items, but found shape \(3, 3\)"
    ):
        verb.run([*arguments, "--overwrite", "--collections", "mean"])


def test_collections_of_the_wardrobe(tmp_path):
    from r4t.cli import queries
    from r4t.data.facet_truth import FacetTruth, load_truth
    from r4t.data.queries import read_queries

    arguments = ["--size", str(SMALLEST), "--seed", "3", "--collections", "mean"]
    verb.run(["wardrobe", "--out", str(tmp_path / "w"), *arguments])
    catalog, wardrobe = Catalog.load(tmp_path / "w"), generate(3, SMALLEST)
    assert catalog.ids == [outfit.id for outfit in wardrobe.outfits]
    assert catalog.column("items") == [list(outfit.items) for outfit in wardrobe.outfits]
    queries.run([str(tmp_path / "w"), "--out", str(tmp_path / "q"), "--wardrobe", "oar"])
    ids = [query.id for query in read_queries(tmp_path / "q", "all")]
    truth = FacetTruth(load_truth(tmp_path / "w" / "truth"), catalog.ids)
    # Of rare combinations of style, occasion and color family there is no outfit among 800.
    assert truth.fits(ids).any(1).float().mean() == pytest.approx(0.681, abs=0.001)
    with pytest.raises(InputError, match=r"for --wardrobe wscr.* entries are collections"):
        queries.run([str(tmp_path / "w"), "--out", str(tmp_path / "r"), "--wardrobe", "wscr"])


def test_first_values_and_verbatim_texts(source, tmp_path):
    path = tmp_path / "songs.jsonl"
    rows = [
        {"id": "a", "text": "home red", "artists": ["Tom", "Ann"]},
        {"id": "b", "text": "waves blue", "artists": ["Ann"]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    verb.run([str(path), "--out", str(tmp_path / "s"), "--dim", "2", "--first", "artists"])
    assert Catalog.load(tmp_path / "s").column("first_artists") == ["Tom", "Ann"]
    shop = tmp_path / "bundles"
    shop.mkdir()
    (shop / "bundle_intent.csv").write_text("bundle ID,intent\n0,rings\n")
    (shop / "bundle_item.csv").write_text("bundle ID,item ID\n0,1\n")
    (shop / "item_titles.csv").write_text("item ID,titles\n1,Ring &amp; Box\n2,Hat\n")
    (shop / "item_categories.csv").write_text("item ID,categories\n")
    for more, text in (([], "Ring & Box"), (["--verbatim"], "Ring &amp; Box")):
        verb.run([str(shop), "--out", str(tmp_path / "b"), "--dim", "2", "--overwrite", *more])
        assert Catalog.load(tmp_path / "b").texts == [text, "Hat"]


def test_refused_collections(source, tmp_path):
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(ArgumentError, match=r"--collections: .*'means' .*'text', 'mean'"):
        verb.run([str(source), *out, "--collections", "means"])
    (source / "sets.jsonl").unlink()
    with pytest.raises(InputError, match=r"found none in shop\. Name a source with sets"):
        verb.run([str(source), *out, "--collections", "text"])
    with pytest.raises(InputError, match=r"found 64 with the encoder lsa\. Leave it out"):
        verb.run([str(source), *out, "--max_length", "64"])
    with pytest.raises(
        InputError, match=r"--dtype with a pretrained .* found bfloat16 with .* lsa"
    ):
        verb.run([str(source), *out, "--dtype", "bfloat16"])
    assert not (tmp_path / "out").exists()
