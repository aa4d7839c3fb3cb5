import csv
import json
from dataclasses import astuple

import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation.results import Results, compare
from r4t.report.aggregate import Report

SETTINGS = {
    "set_size": 10, "pool_size": 150, "catalog_items": 3000, "split": "test",
    "weights": {"diversity": 1.0}, "encoder": "LSA, 8 dimensions, 90 words", "catalog": "a" * 64,
}  # fmt: skip
RECALL = "items/recall"


def run(ours, theirs, ids=("p", "q"), texts=(), **settings):
    values = {"Ours": {RECALL: list(ours)}, "Theirs": {RECALL: list(theirs)}}
    return Results({**SETTINGS, **settings}, list(ids), values, texts=list(texts))


@pytest.fixture
def seeds():
    """The same two queries answered by three seeds: means 0.25, 0.5 and 0.75 of ours."""
    runs = [run([0.0, 0.5], [0, 0]), run([0.25, 0.75], [0.5, 0]), run([0.5, 1.0], [0, 0.25])]
    return dict(zip(("s0", "s1", "s2"), runs))


def test_seeds_are_averaged_query_by_query(seeds):
    report = Report(seeds)
    found = report.spread("Ours", RECALL)
    # Means 0.25, 0.5, 0.75: mean ½, deviation √((0.0625 + 0 + 0.0625) / 2) = 0.25.
    assert (found.runs, found.mean, found.deviation) == (3, 0.5, 0.25)
    # The queries' averages are 0.25 and 0.75: every draw is a mean of two of them.
    assert (found.low, found.high, found.queries) == (0.25, 0.75, 2)


def test_folds_hold_different_queries():
    report = Report({"f0": run([1.0, 0.0], [0, 0]), "f1": run([1.0], [0], ids=["r"])})
    found = report.spread("Ours", RECALL)
    # Means ½ and 1; p and q are drawn apart from r: the first mean is 0, ½ or 1, the second 1.
    assert (found.mean, found.queries) == (0.75, 3)
    assert (found.low, found.high) == (0.5, 1.0)


def test_folds_of_unequal_size_count_alike_in_mean_and_interval():
    """The review's case: the mean 0.525 had an interval from 0.050 to 0.069."""
    values = [0.04, 0.06] * 250
    big = run(values, [0] * 500, ids=[f"q{n}" for n in range(500)])
    report = Report({"f0": run([1] * 5, [0] * 5, ids="abcde"), "f1": big})
    found = report.spread("Ours", RECALL)
    # (1 + 0.05) / 2; the small fold does not vary, the big one by 0.01/√500 = 0.00045, half of it
    # 0.00022, and 1.96 of these 0.00044.
    assert found.mean == pytest.approx(0.525)
    assert (found.low, found.high) == pytest.approx((0.52456, 0.52544), abs=5e-5)
    (paired,) = report.differences("Ours", "Theirs")
    assert (paired.mean, paired.low) == pytest.approx((0.525, 0.52456), abs=5e-5)
    assert paired.queries == 505


def test_differences_are_of_runs_that_have_both_methods():
    """The review's case: B only in seed 0, where A is better; in seed 1, A is far worse."""
    runs = {"s0": run([0.5, 0.75], [0.25, 0.5]), "s1": run([0, 0], [0, 0])}
    del runs["s1"].values["Theirs"]
    report = Report(runs)
    (found,) = report.differences("Ours", "Theirs")
    assert (found.mean, found.low, found.high, found.queries) == (0.25, 0.25, 0.25, 2)
    assert report.by_run(found) == [0.25]
    (back,) = report.differences("Theirs", "Ours")
    assert back.mean == -0.25


def test_a_difference_is_the_mean_of_those_of_the_runs():
    # Folds: f0 has p and q (½, 0), f1 has r (1): means ¼ and 1.
    report = Report({"f0": run([0.5, 0], [0, 0]), "f1": run([1], [0], ids=["r"])})
    (found,) = report.differences("Ours", "Theirs")
    assert report.by_run(found) == [0.25, 1.0]
    assert found.mean == 0.625
    # p is drawn never, once or twice of two: 0, ¼ or ½ of the first fold.
    assert (found.low, found.high) == (0.5, 0.75)
    # Three queries add 3 · (¼, 0, 1) / 2: of the eight signs, ++ on p and r, or −−: 4 of 8.
    assert found.p_value == 0.5


def test_one_run_is_reported_as_it_was_evaluated():
    generator = torch.Generator().manual_seed(0)
    ours = [*torch.rand(39, generator=generator, dtype=torch.float64).tolist(), None]
    theirs = torch.rand(40, generator=generator, dtype=torch.float64).tolist()
    alone = run(ours, theirs, ids=[f"q{n}" for n in range(40)])
    report = Report({"s": alone})
    found, expected = report.spread("Ours", RECALL), alone.interval("Ours", RECALL)
    assert (found.mean, found.low, found.high, found.queries) == pytest.approx(
        (expected.mean, expected.low, expected.high, expected.queries)
    )
    (paired,) = report.differences("Ours", "Theirs")
    expected = compare(alone, "Ours", "Theirs", RECALL)
    assert astuple(paired) == pytest.approx(astuple(expected))


def test_intervals_hold_their_means():
    """Whatever the folds, and whatever is missing."""
    generator = torch.Generator().manual_seed(1)
    for sizes in ((2, 30, 300), (50, 50, 50), (1, 1, 40)):
        runs = {}
        for number, size in enumerate(sizes):
            values = (torch.rand(2, size, generator=generator) + number).tolist()
            values[0][0] = None if size > 2 else values[0][0]
            ids = [f"q{n}" for n in range(size)]  # shared by the folds, as far as they go
            runs[f"r{number}"] = run(*values, ids=ids)
        report = Report(runs)
        for spread in report.spreads():
            assert spread.low <= spread.mean <= spread.high
            assert spread.high - spread.low < 1
        for difference in report.differences("Ours", "Theirs"):
            assert difference.low <= difference.mean <= difference.high


def test_differences_are_paired_over_all_runs(seeds):
    report = Report(seeds)
    (found,) = report.differences("Ours", "Theirs")
    # Theirs averaged: 1/6 and 1/12; ours 1/4 and 3/4: differences 1/12 and 2/3.
    assert found.mean == pytest.approx((1 / 12 + 2 / 3) / 2)
    assert (found.low, found.high) == pytest.approx((1 / 12, 2 / 3))
    assert found.p_value == 0.5  # of four signs, ++ and −−
    # Per run: ¼ − 0, ½ − ¼, ¾ − ⅛.
    assert report.by_run(found) == pytest.approx([0.25, 0.25, 0.625])


def test_methods_that_only_some_runs_have(seeds):
    del seeds["s1"].values["Theirs"]
    seeds["s2"].values["Ours"]["items/hit"] = [1.0, None]
    report = Report(seeds)
    found = report.spread("Theirs", RECALL)
    # Means 0 and 0.125.
    assert (found.runs, found.mean) == (2, 0.0625)
    assert report.spread("Ours", "items/hit").deviation is None
    assert report.spread("Theirs", "items/hit") is None
    assert report.notes()[-1] == "Of 3 runs, not all have Theirs in 2, items/hit in 1."
    assert len(report.by_run(report.differences("Ours", "Theirs")[0])) == 2


def test_tables_by_hand(seeds):
    report = Report(seeds)
    table, paired = report.blocks(report.differences("Ours", "Theirs"))
    assert table.title == (
        "Returned items: 10 items, pool of 150 distinct items, 5.0% of the catalog, "
        "mean of 3 runs (s0, s1, s2)"
    )
    # Theirs: means 0, ¼, ⅛, deviation ⅛; the queries' averages 1/6 and 1/12 are 1/12 apart.
    assert table.rows == [
        ["Ours", "0.500 ±0.250, s 0.250"],
        ["Theirs", "0.125 ±0.042, s 0.125"],
    ]
    assert paired.header[-1] == "by run"
    assert paired.rows[0][-1] == "+0.250 +0.250 +0.625"
    assert "Every run counts alike" in report.notes()[0]
    assert "over 2 queries" in report.notes()[0]
    # One run has no deviation.
    assert Report({"s0": seeds["s0"]}).blocks()[0].rows[0] == ["Ours", "0.250 ±0.250"]


def test_written_as_json_csv_and_markdown(seeds, tmp_path):
    report = Report(seeds)
    paths = report.write(tmp_path / "new", report.differences("Ours", "Theirs"))
    names = ["report.json", "report.csv", "report-differences.csv", "report.md"]
    assert [path.name for path in paths] == names
    held = json.loads(paths[0].read_text())
    assert held["runs"] == ["s0", "s1", "s2"]
    assert held["spreads"][0]["deviation"] == 0.25
    assert held["differences"][0]["by_run"] == pytest.approx([0.25, 0.25, 0.625])
    assert held["settings"]["pool_size"] == 150
    with paths[1].open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["method"], first["runs"], first["mean"], first["queries"]) == (
        "Ours", "3", "0.5", "2",
    )  # fmt: skip
    with paths[2].open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    # 1/12 and 2/3 (as above): their mean is 3/8.
    assert (row["first"], row["mean"], row["p_value"]) == ("Ours", "0.375", "0.5")
    assert "| Ours | 0.500 ±0.250, s 0.250 |" in paths[3].read_text()
    # Differences of an older report do not stay.
    again = report.write(tmp_path / "new")
    assert [path.name for path in again] == ["report.json", "report.csv", "report.md"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        p.name for p in again
    )


def test_the_same_id_with_another_text_is_another_query():
    same = Report({"a": run([1, 1], [0, 0], texts=["red", "hat"]),
                   "b": run([0, 0], [0, 0], texts=["red", "cap"])})  # fmt: skip
    assert same.spread("Ours", RECALL).queries == 3
    assert [query for _, query, _ in same.grid.units] == ["p", "q", "q"]


def test_results_of_before_texts_were_kept_go_by_ids():
    old, new = run([1, 1], [0, 0]), run([0, 0], [0, 0], texts=["red", "hat"])
    assert Report({"a": old, "b": new}).spread("Ours", RECALL).queries == 2


def test_points_of_curves_stay_out(seeds):
    seeds["s1"].settings["curves"] = {"T": [["Theirs", 0.5]]}
    assert [spread.method for spread in Report(seeds).spreads()] == ["Ours"]


def test_what_cannot_be_reported(seeds):
    with pytest.raises(InputError, match="at least one run with results — found none"):
        Report({})
    with pytest.raises(InputError, match=r"\['Ours', 'Theirs'\] — found 'Our' .* mean 'Ours'\?"):
        Report(seeds).differences("Our", "Theirs")
    alone = {"s": Results(SETTINGS, ["p"], {"A": {RECALL: [None]}, "B": {RECALL: [1.0]}})}
    with pytest.raises(InputError, match="values of both methods — found none for 'A' and 'B'"):
        Report(alone).differences("A", "B")


def test_other_catalogs_are_other_queries(seeds):
    seeds["s2"].settings.update(catalog="b" * 64, catalog_items=60)
    report = Report(seeds, across_catalogs=True)
    assert report.spread("Ours", RECALL).queries == 4
    assert "of the catalog" not in report.blocks()[0].title  # it is another share in each


def test_files_of_sub_queries_that_differ_are_told(seeds):
    for name, results in seeds.items():
        results.settings["subqueries"] = f"{name}.jsonl"
    assert Report(seeds).notes()[-1] == (
        "The runs differ in subqueries: s0.jsonl in s0, s1.jsonl in s1, s2.jsonl in s2."
    )
