"""benchmarks.real_sets: from a source to its table."""

import json
from pathlib import Path

import pytest

from benchmarks import real_sets


def test_commands_of_each_pair():
    lines = real_sets.commands("playlists", "minilm", Path("d"), Path("r"))
    assert [" ".join(command) for command in lines] == [
        "catalog d/playlists --out r/playlists-minilm/catalog --first artists "
        "--encoder MINILM --max_length 64 --verbatim",
        "queries r/playlists-minilm/catalog --out r/playlists-minilm/queries --sets d/playlists",
        "evaluate r/playlists-minilm --split all --across_runs 0 --latency_batches [] --curves [] "
        "--pool_size 673 --subtopic_field first_artists",
    ]


def test_pools_are_about_the_share_of_the_paper():
    items = {"clothing": 4487, "electronic": 3499, "playlists": 19232, "recipes": 1530}
    for name, pool in real_sets.POOLS.items():
        # The paper: 5,000 of 142,472 items.
        assert pool / items[name] == pytest.approx(5000 / 142472, abs=0.008)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "recipes"
    folder.mkdir(parents=True)
    rows = [{"id": f"i{n}", "text": f"thing{n} of kind{n % 7}"} for n in range(200)]
    sets = [{"id": f"s{n}", "query": f"kind{n}", "items": [f"i{n}", f"i{n + 7}"]} for n in range(9)]
    for name, content in (("items", rows), ("sets", sets)):
        text = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(text)
    return tmp_path / "data"


def test_a_finished_pair_is_skipped(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        real_sets,
        "EVALUATE",
        [*real_sets.EVALUATE, "--methods", "[No fan-out]", "--plots", "false"],
    )
    results = tmp_path / "results"
    real_sets.measure("recipes", "lsa", data, tmp_path / "runs", results)
    summary = json.loads((results / "recipes-lsa.json").read_text())
    # No item has the words kind7 and kind8, so 7 of 9 queries are evaluated.
    assert (summary["items"], summary["pool"], summary["share"]) == (200, 54, 0.27)
    assert (summary["queries"], summary["unknown_queries"]) == (7, 2)
    assert summary["encoder"].startswith("LSA, 128 dimensions")
    # There are 200 / 7 = 28 or 29 items per kind, so the pool of 54 has both references.
    assert summary["methods"]["No fan-out"]["items/recall"] == [1.0, 1.0, 1.0]
    assert set(summary["seconds"]) == {"catalog", "queries", "evaluate"}
    assert "| No fan-out |" in (results / "recipes-lsa.md").read_text()
    capsys.readouterr()
    real_sets.measure("recipes", "lsa", data, tmp_path / "runs", results)
    assert capsys.readouterr().out == f"skipped: {results / 'recipes-lsa.json'} exists\n"
    real_sets.measure("recipes", "lsa", data, tmp_path / "runs", results, again=True)
    again = json.loads((results / "recipes-lsa.json").read_text())
    assert again["methods"] == summary["methods"]
