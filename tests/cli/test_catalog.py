"""r4t catalog: from files to a catalog folder, with a summary of what was written and left out."""

import json
import subprocess
import sys

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
    with pytest.raises(InputError, match=r"--dim must lie in 1\.\.5, .* — found 6"):
        verb.run([*arguments, str(tmp_path / "c"), "--dim", "6"])
    with pytest.raises(InputError, match=r"found lsa, which has a space of its own"):
        verb.run([*arguments, str(tmp_path / "c"), "--encoder", "lsa"])


def test_overwrite_only_when_asked(source, tmp_path):
    arguments = [str(source), "--out", str(tmp_path / "out"), "--dim", "2"]
    verb.run(arguments)
    with pytest.raises(InputError, match="not overwritten unasked"):
        verb.run(arguments)
    verb.run([*arguments, "--overwrite", "--seed", "5"])
    assert Catalog.load(tmp_path / "out").dim == 2


def test_too_few_texts_for_the_default_width(source, tmp_path):
    with pytest.raises(InputError, match=r"found dim=128 for 9 texts with 6 words — give a dim of"):
        verb.run([str(source), "--out", str(tmp_path / "out")])


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
        "catalog.parser().format_help(); queries.parser().format_help()\n"
        "print([m for m in ('torch', 'transformers', 'lightning', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
