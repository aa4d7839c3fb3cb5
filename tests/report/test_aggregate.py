import csv
import json
from dataclasses import astuple, replace

import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation.results import Results, compare
from r4t.report.aggregate import Aggregate

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
    aggregate = Aggregate(seeds)
    spread = aggregate.interval("Ours", RECALL)
    # Means 0.25, 0.5, 0.75: mean ½, deviation √((0.0625 + 0 + 0.0625) / 2) = 0.25.
    assert (spread.runs, spread.mean, spread.deviation) == (3, 0.5, 0.25)
    # The queries' averages are 0.25 and 0.75: every draw is a mean of two of them.
    assert (spread.low, spread.high, spread.queries) == (0.25, 0.75, 2)


def test_folds_hold_different_queries():
    aggregate = Aggregate({"f0": run([1.0, 0.0], [0, 0]), "f1": run([1.0], [0], ids=["r"])})
    spread = aggregate.interval("Ours", RECALL)
    # Means ½ and 1; p and q are drawn apart from r: the first mean is 0, ½ or 1, the second 1.
    assert (spread.mean, spread.queries) == (0.75, 3)
    assert (spread.low, spread.high) == (0.5, 1.0)


def test_folds_of_unequal_size_count_the_same_in_mean_and_interval():
    """A mean of 0.525 once had an interval from 0.050 to 0.069."""
    values = [0.04, 0.06] * 250
    big = run(values, [0] * 500, ids=[f"q{n}" for n in range(500)])
    aggregate = Aggregate({"f0": run([1] * 5, [0] * 5, ids="abcde"), "f1": big})
    spread = aggregate.interval("Ours", RECALL)
    # (1 + 0.05) / 2; the small fold does not vary, the big one by 0.01/√500 = 0.00045, half of it
    # 0.00022, and 1.96 of these 0.00044.
    assert spread.mean == pytest.approx(0.525)
    assert (spread.low, spread.high) == pytest.approx((0.52456, 0.52544), abs=5e-5)
    (paired,) = aggregate.differences("Ours", "Theirs")
    assert (paired.mean, paired.low) == pytest.approx((0.525, 0.52456), abs=5e-5)
    assert paired.queries == 505


def test_differences_use_only_runs_with_both_methods():
    """Theirs is only in seed 0, where ours is better; in seed 1, ours is far worse."""
    runs = {"s0": run([0.5, 0.75], [0.25, 0.5]), "s1": run([0, 0], [0, 0])}
    del runs["s1"].values["Theirs"]
    aggregate = Aggregate(runs)
    (difference,) = aggregate.differences("Ours", "Theirs")
    assert (difference.mean, difference.low, difference.high, difference.queries) == (
        0.25,
        0.25,
        0.25,
        2,
    )
    assert aggregate.by_run(difference) == [0.25]
    (back,) = aggregate.differences("Theirs", "Ours")
    assert back.mean == -0.25


def test_a_difference_is_the_mean_of_the_runs_differences():
    # Folds: f0 has p and q (½, 0), f1 has r (1): means ¼ and 1.
    aggregate = Aggregate({"f0": run([0.5, 0], [0, 0]), "f1": run([1], [0], ids=["r"])})
    (difference,) = aggregate.differences("Ours", "Theirs")
    assert aggregate.by_run(difference) == [0.25, 1.0]
    assert difference.mean == 0.625
    # p is drawn never, once or twice of two: 0, ¼ or ½ of the first fold.
    assert (difference.low, difference.high) == (0.5, 0.75)
    # Three queries add 3 · (¼, 0, 1) / 2: of the eight signs, ++ on p and r, or −−: 4 of 8.
    assert difference.p_value == 0.5


def test_one_run_is_reported_with_the_numbers_of_its_evaluation():
    generator = torch.Generator().manual_seed(0)
    ours = [*torch.rand(39, generator=generator, dtype=torch.float64).tolist(), None]
    theirs = torch.rand(40, generator=generator, dtype=torch.float64).tolist()
    alone = run(ours, theirs, ids=[f"q{n}" for n in range(40)])
    aggregate = Aggregate({"s": alone})
    spread, expected = aggregate.interval("Ours", RECALL), alone.interval("Ours", RECALL)
    assert (spread.mean, spread.low, spread.high, spread.queries) == pytest.approx(
        (expected.mean, expected.low, expected.high, expected.queries)
    )
    (paired,) = aggregate.differences("Ours", "Theirs")
    expected = compare(alone, "Ours", "Theirs", RECALL)
    assert astuple(paired) == pytest.approx(astuple(expected))


def test_intervals_hold_their_means():
    """For folds of any size, with values missing."""
    generator = torch.Generator().manual_seed(1)
    for sizes in ((2, 30, 300), (50, 50, 50), (1, 1, 40)):
        runs = {}
        for number, size in enumerate(sizes):
            values = (torch.rand(2, size, generator=generator) + number).tolist()
            values[0][0] = None if size > 2 else values[0][0]
            ids = [f"q{n}" for n in range(size)]  # the folds share their first ids
            runs[f"r{number}"] = run(*values, ids=ids)
        aggregate = Aggregate(runs)
        for method in ("Ours", "Theirs"):
            spread = aggregate.interval(method, RECALL)
            assert spread.low <= spread.mean <= spread.high
            assert spread.high - spread.low < 1
        for difference in aggregate.differences("Ours", "Theirs"):
            assert difference.low <= difference.mean <= difference.high


def test_differences_are_paired_over_all_runs(seeds):
    aggregate = Aggregate(seeds)
    (difference,) = aggregate.differences("Ours", "Theirs")
    # Theirs averaged: 1/6 and 1/12; ours 1/4 and 3/4: differences 1/12 and 2/3.
    assert difference.mean == pytest.approx((1 / 12 + 2 / 3) / 2)
    assert (difference.low, difference.high) == pytest.approx((1 / 12, 2 / 3))
    assert difference.p_value == 0.5  # of four signs, ++ and −−
    # Per run: ¼ − 0, ½ − ¼, ¾ − ⅛.
    assert aggregate.by_run(difference) == pytest.approx([0.25, 0.25, 0.625])


def test_methods_that_only_some_runs_have(seeds):
    del seeds["s1"].values["Theirs"]
    seeds["s2"].values["Ours"]["items/hit"] = [1.0, None]
    aggregate = Aggregate(seeds)
    spread = aggregate.interval("Theirs", RECALL)
    # Means 0 and 0.125.
    assert (spread.runs, spread.mean) == (2, 0.0625)
    assert aggregate.interval("Ours", "items/hit").deviation is None
    assert aggregate.interval("Theirs", "items/hit") is None
    assert aggregate.notes()[-1] == "In fewer than all 3 runs: Theirs (2), items/hit (1)."
    assert len(aggregate.by_run(aggregate.differences("Ours", "Theirs")[0])) == 2


def test_tables_by_hand(seeds):
    aggregate = Aggregate(seeds)
    table, paired = aggregate.blocks(aggregate.differences("Ours", "Theirs"))
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
    assert "Every run counts the same" in aggregate.notes()[0]
    assert "over 2 queries" in aggregate.notes()[0]
    # One run has no deviation.
    assert Aggregate({"s0": seeds["s0"]}).blocks()[0].rows[0] == ["Ours", "0.250 ±0.250"]


def test_written_as_json_csv_and_markdown(seeds, tmp_path):
    aggregate = Aggregate(seeds)
    paths = aggregate.write(tmp_path / "new", aggregate.differences("Ours", "Theirs"))
    names = ["report.json", "report.csv", "report-differences.csv", "report.md"]
    assert [path.name for path in paths] == names
    content = json.loads(paths[0].read_text())
    assert content["runs"] == ["s0", "s1", "s2"]
    assert content["spreads"][0]["deviation"] == 0.25
    assert content["differences"][0]["by_run"] == pytest.approx([0.25, 0.25, 0.625])
    assert content["settings"]["pool_size"] == 150
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
    # The differences of the older report are removed.
    again = aggregate.write(tmp_path / "new")
    assert [path.name for path in again] == ["report.json", "report.csv", "report.md"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        p.name for p in again
    )


def test_the_same_id_with_another_text_is_another_query():
    same = Aggregate({"a": run([1, 1], [0, 0], texts=["red", "hat"]),
                   "b": run([0, 0], [0, 0], texts=["red", "cap"])})  # fmt: skip
    assert same.interval("Ours", RECALL).queries == 3
    assert [query for _, query, _ in same.grid.units] == ["p", "q", "q"]


def test_queries_of_results_without_texts_are_matched_by_id():
    old, new = run([1, 1], [0, 0]), run([0, 0], [0, 0], texts=["red", "hat"])
    assert Aggregate({"a": old, "b": new}).interval("Ours", RECALL).queries == 2


def test_clusters_are_resampled_across_runs():
    """p and q are one cluster in the first run, q and r in the second: all three are one."""
    runs = {"a": run([0, 0.5], [0, 0]), "b": run([0.5, 1.0], [0, 0], ids=["q", "r"])}
    alone = Aggregate(runs)
    assert alone.interval("Ours", RECALL).clusters == 3
    runs = {name: replace(results, clusters=["x", "x"]) for name, results in runs.items()}
    joined = Aggregate(runs)
    interval = joined.interval("Ours", RECALL)
    assert (interval.queries, interval.clusters) == (3, 1)
    assert interval.low == interval.mean == interval.high == 0.5
    (difference,) = joined.differences("Ours", "Theirs")
    assert (difference.clusters, difference.p_value) == (1, 1.0)
    assert "over 1 group of 3 queries" in joined.notes()[0]
    # A run without clusters, from an older version, joins nothing.
    runs["b"] = replace(runs["b"], clusters=[])
    assert Aggregate(runs).interval("Ours", RECALL).clusters == 2


def test_points_of_curves_are_not_reported(seeds):
    seeds["s1"].settings["curves"] = {"T": [["Theirs", 0.5]]}
    assert [row[0] for row in Aggregate(seeds).blocks()[0].rows] == ["Ours"]


def test_refusals(seeds):
    with pytest.raises(InputError, match="at least one run with results, but found none"):
        Aggregate({})
    with pytest.raises(
        InputError, match=r"\['Ours', 'Theirs'\], but found 'Our'\. .* mean 'Ours'\?"
    ):
        Aggregate(seeds).differences("Our", "Theirs")
    alone = {"s": Results(SETTINGS, ["p"], {"A": {RECALL: [None]}, "B": {RECALL: [1.0]}})}
    with pytest.raises(InputError, match="values of both methods, but found none for 'A' and 'B'"):
        Aggregate(alone).differences("A", "B")


def test_queries_on_different_catalogs_are_different_queries(seeds):
    seeds["s2"].settings.update(catalog="b" * 64, catalog_items=60)
    aggregate = Aggregate(seeds, across_catalogs=True)
    assert aggregate.interval("Ours", RECALL).queries == 4
    assert "of the catalog" not in aggregate.blocks()[0].title  # the share differs from run to run


def test_a_note_names_sub_query_files_that_differ(seeds):
    for name, results in seeds.items():
        results.settings["subqueries"] = f"{name}.jsonl"
    assert Aggregate(seeds).notes()[-1] == (
        "The runs differ in subqueries: s0.jsonl in s0, s1.jsonl in s1, s2.jsonl in s2."
    )
