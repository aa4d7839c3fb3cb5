import csv
import json

import pytest

from r4t.errors import InputError
from r4t.evaluation.aggregate import Report, load_runs
from r4t.evaluation.results import Results

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
    assert report.pooled.values["Ours"][RECALL] == [0.25, 0.75]


def test_folds_hold_different_queries():
    report = Report({"f0": run([1.0, 0.0], [0, 0]), "f1": run([1.0], [0], ids=["r"])})
    found = report.spread("Ours", RECALL)
    # Means ½ and 1; three queries, whose values are 1, 0, 1.
    assert (found.mean, found.queries) == (0.75, 3)
    assert report.pooled.queries == ["p", "q", "r"]
    assert report.pooled.values["Ours"][RECALL] == [1.0, 0.0, 1.0]


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
    assert "over 2 queries" in report.notes()[0]
    # One run has no deviation.
    assert Report({"s0": seeds["s0"]}).blocks()[0].rows[0] == ["Ours", "0.250 ±0.250"]


def test_written_as_json_csv_and_markdown(seeds, tmp_path):
    report = Report(seeds)
    paths = report.write(tmp_path / "new", report.differences("Ours", "Theirs"))
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.md"]
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
    assert "| Ours | 0.500 ±0.250, s 0.250 |" in paths[2].read_text()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("set_size", 5),
        ("pool_size", 100),
        ("split", "val"),
        ("weights", {"diversity": 0.5}),
        ("encoder", "LSA, 8 dimensions, 91 words"),
    ],
)
def test_runs_that_do_not_agree(seeds, key, value):
    seeds["s2"].settings[key] = value
    with pytest.raises(InputError, match=f"agree in {key} — found .* in s0 and .* in s2 — report "):
        Report(seeds)


def test_other_catalogs_are_other_queries_and_must_be_asked_for(seeds):
    seeds["s2"].settings.update(catalog="b" * 64, encoder="LSA, 8 dimensions, 91 words")
    with pytest.raises(InputError, match="agree in encoder"):
        Report(seeds)
    seeds["s2"].settings["encoder"] = SETTINGS["encoder"]
    with pytest.raises(
        InputError, match=r"agree in catalog — found 'a{12}' .*--across-catalogs\.$"
    ):
        Report(seeds)
    # A fitted encoder has the vocabulary of its catalog; its name and width must agree.
    seeds["s2"].settings["encoder"] = "LSA, 8 dimensions, 91 words"
    assert Report(seeds, across_catalogs=True).spread("Ours", RECALL).queries == 4
    seeds["s2"].settings["encoder"] = "LSA, 16 dimensions, 91 words"
    with pytest.raises(InputError, match="found 'LSA, 8 dimensions' in s0 and 'LSA, 16 dim"):
        Report(seeds, across_catalogs=True)


def test_the_same_id_with_another_text_is_another_query():
    same = Report({"a": run([1, 1], [0, 0], texts=["red", "hat"]),
                   "b": run([0, 0], [0, 0], texts=["red", "cap"])})  # fmt: skip
    assert same.pooled.queries == ["p", "q", "q"]
    assert same.pooled.values["Ours"][RECALL] == [0.5, 1.0, 0.0]


def test_results_of_before_texts_were_kept_go_by_ids():
    old, new = run([1, 1], [0, 0]), run([0, 0], [0, 0], texts=["red", "hat"])
    assert Report({"a": old, "b": new}).pooled.values["Ours"][RECALL] == [0.5, 0.5]


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


def test_runs_are_read_once(seeds, tmp_path):
    seeds["s0"].save(tmp_path / "run" / "results")
    seeds["s1"].save(tmp_path / "other")
    folders = [str(tmp_path / "run"), str(tmp_path / "other")]
    found = load_runs(folders)
    assert list(found) == folders
    assert found[folders[1]].values == seeds["s1"].values
    with pytest.raises(InputError, match=r"each run once — found .*run/results again after .*run "):
        load_runs([*folders, str(tmp_path / "run" / "results")])
    with pytest.raises(InputError, match=r"found none in .* — run `r4t evaluate` first"):
        load_runs([str(tmp_path)])
