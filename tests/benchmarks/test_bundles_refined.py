"""The table of bundles_refined: means and paired differences over the queries of all folds."""

import json

import pytest

from benchmarks import bundles_refined
from benchmarks.bundles import MEASURES


def fold(recalls, vendi=2.0):
    """Contents of one fold; the same for all methods but R4T-Refined, which recalls all."""
    count = len(recalls)
    methods = {
        method: dict(zip(MEASURES, (recalls, [vendi] * count), strict=True))
        for method in bundles_refined.METHODS
    }
    methods[bundles_refined.REFINED] = {"recall": [1.0] * count, "vendi": [3.0] * count}
    return {"methods": methods, "clusters": list(range(count))}


def test_the_queries_of_all_folds_count_alike(tmp_path, capsys):
    for number, recalls in enumerate(([0.0, 0.5, 0.25], [1.0])):
        path = tmp_path / f"refined-clothing-fold{number}.json"
        path.write_text(json.dumps(fold(recalls)), encoding="utf-8")
    bundles_refined.tables(tmp_path)
    found = json.loads((tmp_path / "refined.json").read_text(encoding="utf-8"))["clothing"]
    assert (found["folds"], found["queries"]) == (2, 4)
    assert found["methods"]["Ridge map"]["recall"][0] == pytest.approx(0.4375)
    assert found["methods"]["R4T-Refined"]["recall"] == [1.0, 1.0, 1.0]
    changes = found["differences"]["R4T-Refined − Ridge map"]
    assert changes["recall"][0] == pytest.approx(0.5625)
    assert changes["vendi"][:3] == [1.0, 1.0, 1.0]
    assert "| R4T-Refined − Ridge map | +0.562 (" in capsys.readouterr().out.replace(
        "0.563", "0.562"
    )
