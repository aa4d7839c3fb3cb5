import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from r4t.evaluation.results import Results, compare
from r4t.report.table import NOTE, blocks, markdown, notes, write_results
from r4t.report.terminal import print_blocks

SETTINGS = {"set_size": 2, "pool_size": 3, "catalog_items": 60}


@pytest.fixture
def results():
    """Of four queries; recall 0 1 0 1 has a bootstrap interval from 0 to 1."""
    values = {
        "No fan-out": {
            "directions/alignment": [None] * 4,
            "items/recall": [0.25, 0.25, 0.25, 0.25],
            "items/vendi": [1.0, 2.0, 1.0, 2.0],
        },
        "Ways": {
            "directions/alignment": [0.5, 0.5, 0.5, 0.5],
            "items/recall": [0.0, 1.0, 0.0, 1.0],
            "items/vendi": [2.0, 2.0, None, 2.0],
        },
    }
    timed = {"encode": 0.001, "generate": 0.0, "search": 0.0025, "total": 0.0035}
    latency = {name: {"1": timed} for name in values}
    return Results(SETTINGS, list("pqrs"), values, latency, ["a", "b", "c", "d"])


def test_blocks(results):
    difference = compare(results, "Ways", "No fan-out", "items/recall")
    directions, items, paired, seconds = blocks(results, [difference])
    assert directions.title == "Directions: 2 directions, mean of 4 queries"
    assert directions.header == ["method", "alignment"]
    assert directions.rows == [["Ways", "0.500 ±0.000"]]  # No fan-out has no directions
    # A pool of 3 of 60 items.
    assert items.title == (
        "Returned items: 2 items, pool of 3 distinct items, 5.0% of the catalog, mean of 4 queries"
    )
    assert items.header == ["method", "recall", "vendi"]
    assert items.rows[0][:2] == ["No fan-out", "0.250 ±0.000"]
    # Four draws of 0 or 1: 1 in 16 are all 0 (6 % > 2.5 %), so the interval is the whole 0 … 1.
    assert items.rows[1] == ["Ways", "0.500 ±0.500", "2.000 ±0.000"]
    # −¼ or ¾ on each query: of the 16 signs, those with |sum| ≥ 1 are all but the four of sum
    # ±½ (¾ − ¾ + ¼ ± ¼ …): checked against the loop in test_resampling.
    assert paired.title == "Differences over the same queries: Ways − No fan-out"
    assert paired.rows[0][:2] == ["items/recall", "+0.250"]
    assert seconds.title == (
        "Milliseconds per query, from its text to 2 items and an ordered pool of 3, batch 1"
    )
    assert seconds.header[1:] == ["encode", "generate", "search", "total"]
    assert seconds.rows[0] == ["No fan-out", "1", "0", "2.5", "3.5"]


def test_tiny_p_values_are_not_written_as_zero():
    values = {"a": {"items/recall": [1.0] * 20}, "b": {"items/recall": [0.0] * 20}}
    results = Results(SETTINGS, [str(n) for n in range(20)], values)
    difference = compare(results, "a", "b", "items/recall")
    assert blocks(results, [difference])[-1].rows[0][-1] == "<0.001"


def test_one_query_has_no_interval():
    results = Results(SETTINGS, ["p"], {"a": {"items/recall": [0.5]}})
    assert blocks(results)[0].rows == [["a", "0.500"]]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_measures_go_to_as_many_tables_as_the_width_requires(width):
    names = ["groundedness", "diversity", "pool facet recall", "alpha nDCG", "vendi", "cosine"]
    values = {f"items/{name}": [0.25, 0.75] for name in names}
    results = Results(SETTINGS, ["p", "q"], {"References (oracle)": values})
    tables = blocks(results, width=width)
    # The name takes 19 letters, a measure 12 ("0.500 ±0.250", "groundedness"), each with 3 more,
    # and one border is left: 23 + 15 n letters. n = 2, 3, 5, 6, 6.
    fit = min(6, (width - 23) // 15)
    parts = -(-6 // fit)
    assert [len(block.header) - 1 for block in tables][:-1] == [fit] * (parts - 1)
    assert len(tables) == parts
    if parts > 1:
        assert tables[1].title.endswith(f"mean of 2 queries (2 of {parts})")
    shown = printed(results, width)
    assert shown.count("0.500 ±0.250") == 6  # none is cut or wrapped
    assert "groundedness" in shown
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines()) <= width


def test_differences_fit_a_terminal_of_80_columns():
    values = {"R4T-Diffusion": {"directions/distinctness": [1.0, 0.5]},
              "References (oracle)": {"directions/distinctness": [0.5, 0.5]}}  # fmt: skip
    results = Results(SETTINGS, ["p", "q"], values)
    names = ["R4T-Diffusion", "References (oracle)"]
    pairs = [compare(results, *ab, "directions/distinctness") for ab in (names, names[::-1])]
    assert [row[0] for row in blocks(results, pairs)[-1].rows] == [
        "R4T-Diffusion − References (oracle)", "References (oracle) − R4T-Diffusion"
    ]  # fmt: skip
    shown = printed(results, 80, pairs)
    assert max(len(line) for line in shown.splitlines()) <= 80
    for word in ("R4T-Diffusion", "References", "directions/distinctness", "+0.000 … +0.500"):
        assert word in shown


def test_points_of_curves_are_not_in_the_tables(results):
    curved = Results(
        {**SETTINGS, "curves": {"W": [["Ways", 0.5]]}}, results.queries, results.values
    )
    assert [row[0] for row in blocks(curved)[0].rows] == ["No fan-out"]


def test_notes_explain_the_blocks_and_name_what_is_missing(results):
    results.settings["left_out"] = {"x": "no column 'brand'.", "y": "no column 'brand'."}
    results.settings["lineage"] = ["R4T-FOLM is stale."]
    interval, kinds, left_out, lineage, fewer = notes(results)
    assert "half the width of the 95 % bootstrap interval" in interval
    assert kinds == NOTE
    assert left_out == "Left out: x, y. no column 'brand'."
    assert lineage == "R4T-FOLM is stale."
    assert fewer == "Measured on fewer than all 4 queries: items/vendi (3)."
    del results.settings["left_out"], results.settings["lineage"]


def test_notes_say_how_many_groups_of_queries_were_resampled(results):
    assert "interval over 4 queries: it covers" in notes(results)[0]
    clustered = replace(results, clusters=["red", "red", "red", "blue"])
    assert "interval over 2 groups of 4 queries: it covers" in notes(clustered)[0]
    # With a single group nothing is known about others: no ±.
    alone = replace(results, clusters=[0] * 4)
    assert blocks(alone)[0].rows[0][1] == "0.500"


def printed(results, width, differences=(), sentences=()):
    console = Console(file=io.StringIO(), width=width)
    print_blocks(console, blocks(results, differences, width), [*notes(results), *sentences])
    return console.file.getvalue()


def test_written_and_printed(results, tmp_path):
    write_results(tmp_path, results)
    text = (tmp_path / "results.md").read_text()
    assert "| Ways | 0.500 ±0.500 | 2.000 ±0.000 |" in text
    assert NOTE in text
    assert Results.load(tmp_path) == results
    assert len(json.loads((tmp_path / "results.json").read_text())["queries"]) == 4
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ways = next(r for r in rows if r["method"] == "Ways" and r["measure"] == "items/recall")
    assert ways == {
        "method": "Ways", "measure": "items/recall", "mean": "0.5", "low": "0", "high": "1",
        "queries": "4", "clusters": "4",
    }  # fmt: skip
    assert len(rows) == 5  # two methods, three measures, one of which one method lacks
    names = {path.name for path in tmp_path.iterdir()}
    plots = {
        f"{name}.{kind}" for name in ("items", "directions", "plane") for kind in ("png", "svg")
    }
    assert names == plots | {"results.json", "results.csv", "results.md", "latency.csv"}
    shown = printed(results, 200)
    assert "Returned items: 2 items" in shown
    assert "by items/ only" in shown


def test_plots_are_drawn_only_on_request(results, tmp_path):
    write_results(tmp_path, results, plots=False)
    assert not list(tmp_path.glob("*.png"))


def test_markdown_ends_with_the_note(results):
    assert markdown(blocks(results)).endswith(NOTE + "\n")


def test_absent_methods_and_more_sentences_follow_the_tables(results, tmp_path):
    why = "the run has no model yet"
    results.settings["absent"] = {"A": why, "Greedy bound": "it costs money.", "B": why}
    write_results(tmp_path, results, plots=False, sentences=["Twice as fast."])
    shown = printed(results, 200, [], ["Twice as fast."])
    for text in ((tmp_path / "results.md").read_text(), shown):
        assert "Not in the table: A, B, because the run has no model yet.\n" in text
        assert "Not in the table: Greedy bound, because it costs money.\n" in text
        assert text.endswith("Twice as fast.\n")
    del results.settings["absent"]


def test_json_csv_and_markdown_agree(results, tmp_path):
    difference = compare(results, "Ways", "No fan-out", "items/recall")
    write_results(tmp_path, results, [difference], plots=False)
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [{**row, "mean": float(row["mean"])} for row in rows] == [
        {**{name: f"{x:.6g}" if isinstance(x, float) else str(x) for name, x in row.items()},
         "mean": row["mean"]}
        for row in summary["means"]
    ]  # fmt: skip
    with (tmp_path / "differences.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    (written,) = summary["differences"]
    assert (written["mean"], float(row["mean"])) == (0.25, 0.25)
    assert float(row["p_value"]) == written["p_value"]
    text = (tmp_path / "results.md").read_text()
    assert f"| items/recall | +0.250 | -0.250 … +0.750 | {written['p_value']:.3f} |" in text


def test_files_of_an_older_evaluation_are_removed(results, tmp_path):
    write_results(tmp_path, results, [compare(results, "Ways", "No fan-out", "items/recall")])
    (tmp_path / "mine.png").write_text("not ours")
    plain = Results(SETTINGS, ["p"], {"No fan-out": {"items/vendi": [1.0]}})
    write_results(tmp_path, plain)
    tables = {"results.json", "results.csv", "results.md", "mine.png"}
    assert {path.name for path in tmp_path.iterdir()} == tables | {"items.png", "items.svg"}
    write_results(tmp_path, plain, plots=False)
    assert {path.name for path in tmp_path.iterdir()} == tables
