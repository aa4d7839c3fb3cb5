"""Perspectrum, on a small source of the same form: every file, and the numbers of the tables by hand."""

import json

import pytest

from benchmarks import perspectrum

WORDS = [
    "red",
    "blue",
    "green",
    "wool",
    "silk",
    "linen",
    "coat",
    "shirt",
    "skirt",
    "hat",
    "scarf",
    "shoe",
]


@pytest.fixture
def source(tmp_path):
    """Two words ask for two items of each of two facets."""
    folder = tmp_path / "perspectrum"
    folder.mkdir()
    items = [f"{one} {other} {n}" for one in WORDS for other in WORDS if one != other for n in "ab"]
    rows = [{"id": f"i{row}", "text": text} for row, text in enumerate(items)]
    number = {row["text"]: row["id"] for row in rows}
    sets = []
    pairs = [(one, other) for one in WORDS for other in WORDS if one != other]
    for row, (one, other) in enumerate(pairs[::3]):
        facets = [[number[f"{one} {other} {n}"] for n in "ab"], [number[f"{other} {one} a"]]]
        held = [item for facet in facets for item in facet]
        split = ("train", "train", "train", "val", "test")[row % 5]
        words = {"id": f"s{row}", "query": f"{one} with {other}", "split": split}
        sets.append({**words, "items": held, "facets": facets if row % 10 != 9 else facets[:1]})
    for name, lines in (("items", rows), ("sets", sets)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def test_every_method_is_measured_and_timed(source, monkeypatch, capsys):
    monkeypatch.setattr(perspectrum, "POOL", 30)
    monkeypatch.setattr(perspectrum, "CALLS", 2)
    folders = ["--run", str(source / "run"), "--results", str(source / "results")]
    words = ["--data", str(source), *folders, "--encoder", "lsa"]
    perspectrum.main(words)
    record = json.loads((source / "results/perspectrum.json").read_text(encoding="utf-8"))
    reached = record["facet recall of the candidates"]
    assert reached >= record["methods"]["Learned choice"]["facet recall"][0] > 0
    assert record["queries"] == 4  # of eight test queries; the others have one facet
    assert [*record["methods"]] == [*record["milliseconds"]] == perspectrum.METHODS
    for name, measures in record["methods"].items():
        values = record["values"][name]["facet recall"]
        assert measures["facet recall"][0] == pytest.approx(sum(values) / 4, abs=1e-4)
        if name != "Learned choice":
            gain = record["differences"][f"Learned choice − {name}"]["facet recall"][0]
            own = record["values"]["Learned choice"]["facet recall"]
            assert gain == pytest.approx(sum(own) / 4 - sum(values) / 4, abs=2e-4)
    table = (source / "results/perspectrum.md").read_text(encoding="utf-8")
    assert table.startswith("4 test claims with at least 2 clusters")
    assert len([line for line in table.splitlines() if line.startswith("| Learned choice")]) == 11
    assert min(record["milliseconds"].values()) > 0
    assert table in capsys.readouterr().out


def test_claims_of_one_cluster_are_drawn_together():
    values = {
        name: {m: [0.0, 1.0, 1.0, 0.0] for m in perspectrum.MEASURES}
        for name in ("MMR", "Learned choice")
    }
    values["Learned choice"]["facet recall"] = [1.0, 1.0, 0.0, 0.0]
    apart = perspectrum.summary(values, [0, 1, 2, 3])["differences"]["Learned choice − MMR"]
    alike = perspectrum.summary(values, [0, 1, 0, 2])["differences"]["Learned choice − MMR"]
    assert apart["facet recall"][:3] != [0.0, 0.0, 0.0]
    assert alike["facet recall"][:3] == [0.0, 0.0, 0.0]  # +1 and −1 of one cluster cancel
