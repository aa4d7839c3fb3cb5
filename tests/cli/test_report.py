import json
import re

import pytest

from r4t.__main__ import run
from r4t.errors import InputError
from r4t.evaluation.results import Results


@pytest.fixture
def runs(tmp_path):
    """Three seeds of a run with one query."""
    folders = []
    for seed, ours in enumerate((0.25, 0.5, 0.75)):
        values = {"R4T-FOLM": {"items/recall": [ours]}, "No fan-out": {"items/recall": [0.25]}}
        settings = {"set_size": 10, "pool_size": 150, "encoder": "LSA", "catalog": "b" * 64}
        folders.append(str(tmp_path / f"seed{seed}"))
        Results(settings, ["q"], values).save(f"{folders[-1]}/results")
    return folders


def test_means_spread_and_differences_are_printed_and_written(runs, tmp_path, capsys):
    run(["report", *runs, "--compare", "R4T-FOLM", "No fan-out", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "0.500 ±0.000, s 0.250" in printed
    assert "R4T-FOLM − No fan-out" in printed
    assert "+0.000 +0.250" in printed
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["runs"] == runs
    assert content["differences"][0]["mean"] == 0.25
    assert (tmp_path / "out" / "report.md").is_file()
    assert (tmp_path / "out" / "report.csv").is_file()


def test_without_out_nothing_is_written(runs, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    run(["report", runs[0]])
    assert "0.250" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_with_different_settings_are_refused(runs, tmp_path):
    Results({"set_size": 5}, ["q"], {"A": {"items/recall": [1.0]}}).save(tmp_path / "other")
    with pytest.raises(InputError, match="agree in set_size, but found 10 in .* and 5 in "):
        run(["report", runs[0], str(tmp_path / "other")])


def test_different_catalogs_must_be_allowed(runs, tmp_path, capsys):
    settings = {"set_size": 10, "pool_size": 150, "encoder": "LSA", "catalog": "c" * 64}
    other = str(tmp_path / "other")
    Results(settings, ["q"], {"R4T-FOLM": {"items/recall": [1.0]}}).save(other)
    with pytest.raises(InputError, match="or add --across-catalogs"):
        run(["report", runs[0], other])
    run(["report", runs[0], other, "--across-catalogs"])
    # Means 0.25 and 1 of two queries.
    assert "0.625" in capsys.readouterr().out


def test_tables_are_as_wide_as_the_terminal(runs, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    for folder in runs:
        results = Results.load(f"{folder}/results")
        for values in results.values.values():
            values |= {f"items/{name}": [0.5] for name in ("groundedness", "diversity", "hit")}
        results.save(f"{folder}/results")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    run(["report", *runs, "--compare", "R4T-FOLM", "No fan-out"])
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(len(line) for line in printed.splitlines()) <= 80
    for whole in ("groundedness", "0.500 ±0.000, s 0.250", "R4T-FOLM − No fan-out"):
        assert whole in printed
    assert "…" not in printed.replace(" … ", "")
