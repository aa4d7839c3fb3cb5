"""benchmarks.variants on a small wardrobe: share of fitting items by hand, with and without variants."""

import json

import pytest

from benchmarks import variants
from r4t.__main__ import run as run_verb
from r4t.data.variants import product_title
from r4t.methods.context import MethodContext
from r4t.run import Run


def test_small(tmp_path):
    run_verb(["catalog", "wardrobe", "--out", str(tmp_path / "catalog"), "--size", "2000"])
    words = ["--wardrobe", "oar", "--count", "80", "--out", str(tmp_path / "queries")]
    run_verb(["queries", str(tmp_path / "catalog"), *words])
    out = tmp_path / "variants.json"
    variants.main([str(tmp_path), "--out", str(out)])
    means = json.loads(out.read_text())["means"]
    words = [f"Words of the {near} nearest" for near in (5, 20, 50, 100)]
    assert list(means) == ["No fan-out", "MMR", "DPP", "k-means facets", *words]
    run = Run.open(tmp_path)
    context, queries = MethodContext(run, run.searcher()), run.read_queries("test")
    _, rows = context.searcher.nearest(context.searcher.encode([q.text for q in queries]), 150)
    fits, titles = context.truth.fits([q.id for q in queries]), context.searcher.catalog.texts
    shares = {"none": [], "auto": []}
    for fitting, line in zip(fits.tolist(), rows.tolist()):
        products = {}
        for row in line:
            products.setdefault(product_title(titles[row]), row)
        firsts = list(products.values())
        shares["none"].append(sum(fitting[row] for row in line[:10]) / 10)
        shares["auto"].append(sum(fitting[row] for row in firsts[:10]) / 10)
    for distinct_by, values in shares.items():
        mean = means["No fan-out"][distinct_by]["fit precision"]
        assert mean == pytest.approx(sum(values) / len(values), abs=1e-6)
