import csv
import json
import math
from dataclasses import asdict

import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation.resampling import bootstrap
from r4t.evaluation.results import Interval, Results, compare, listed


def results(first, second):
    values = {"ours": {"items/recall": first}, "theirs": {"items/recall": second}}
    return Results({}, [str(n) for n in range(len(first))], values, {})


def test_mean_skips_queries_without_a_value():
    ours_and_theirs = results([0.5, None, 0.75], [None, None, None])
    assert ours_and_theirs.mean("ours", "items/recall") == 0.625
    assert ours_and_theirs.mean("theirs", "items/recall") is None
    assert ours_and_theirs.interval("theirs", "items/recall") is None


def test_interval_by_hand():
    # Of two queries with a value: every draw is a mean of two of 0.5 and 0.75.
    interval = results([0.5, None, 0.75], [1, 1, 1]).interval("ours", "items/recall")
    assert interval == Interval(0.625, 0.5, 0.75, 2, 2)
    assert interval.half == 0.125


def test_intervals_do_not_depend_on_the_other_methods():
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(50, generator=generator).tolist()
    second = [*torch.rand(49, generator=generator).tolist(), None]
    both = results(first, second)
    alone = Results({}, both.queries, {"ours": both.values["ours"]})
    assert both.interval("ours", "items/recall") == alone.interval("ours", "items/recall")
    low, high = bootstrap(torch.tensor(second[:-1], dtype=torch.float64).unsqueeze(1))
    theirs = both.interval("theirs", "items/recall")
    assert (theirs.low, theirs.high, theirs.queries) == (low.item(), high.item(), 49)
    assert theirs.low < theirs.mean < theirs.high


def test_points_of_curves_are_not_methods():
    curves = {"MMR": [["MMR λ=0.9", 0.9], ["MMR λ=0.1", 0.1], ["not measured", 0.5]]}
    values = {name: {"items/vendi": [1.0]} for name in ("plain", "MMR λ=0.1", "MMR λ=0.9")}
    curved = Results({"curves": curves}, ["q"], values)
    assert curved.methods == ["plain"]
    assert curved.curves == {"MMR": [("MMR λ=0.1", 0.1), ("MMR λ=0.9", 0.9)]}


def test_constant_difference_has_no_width():
    difference = compare(results([0.5, 0.25], [0.25, 0.0]), "ours", "theirs", "items/recall")
    assert (difference.mean, difference.low, difference.high, difference.queries) == (
        0.25,
        0.25,
        0.25,
        2,
    )
    # Of the four signs, ++ and −− reach a mean of 0.25.
    assert difference.p_value == 0.5


def test_interval_of_many_queries_is_that_of_the_normal_law():
    noise = torch.randn(900, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = (noise + 0.1).tolist()
    difference = compare(results(first, [0.0] * 900), "ours", "theirs", "items/recall")
    half = 1.96 * noise.std().item() / math.sqrt(900)
    assert difference.mean == pytest.approx(noise.mean().item() + 0.1)
    assert difference.low == pytest.approx(difference.mean - half, abs=0.1 * half)
    assert difference.high == pytest.approx(difference.mean + half, abs=0.1 * half)


def test_comparison_is_paired_seeded_and_antisymmetric():
    both = results([0.1, 0.9, None, 0.5], [0.0, 0.4, 0.3, None])
    one = compare(both, "ours", "theirs", "items/recall")
    assert one.queries == 2
    assert one.mean == pytest.approx((0.1 + 0.5) / 2)
    # Two queries: every draw is a mean of two of 0.1 and 0.5.
    assert (one.low, one.high) == pytest.approx((0.1, 0.5))
    assert one == compare(both, "ours", "theirs", "items/recall")
    back = compare(both, "theirs", "ours", "items/recall")
    assert (back.mean, back.low, back.high) == pytest.approx((-one.mean, -one.high, -one.low))
    assert back.p_value == one.p_value == 0.5


def test_unknown_names():
    both = results([0.5], [None])
    with pytest.raises(InputError, match=r"found 'our'\. Name one of them. Did you mean 'ours'\?"):
        compare(both, "our", "theirs", "items/recall")
    with pytest.raises(InputError, match=r"\['items/recall'\], but found 'items/recal'"):
        both.mean("ours", "items/recal")
    with pytest.raises(InputError, match=r"found 'their'\. Name one of them"):
        both.interval("their", "items/recall")
    with pytest.raises(
        InputError, match=r"values of both methods, but found none for 'items/recall'"
    ):
        compare(both, "ours", "theirs", "items/recall")


def test_saved_and_loaded(tmp_path):
    latency = {"m": {"1": {"total": 0.5}}}
    both = Results({"k": 2}, ["q"], {"m": {"items/x": [None]}}, latency, ["red hat"])
    both.save(tmp_path)
    assert Results.load(tmp_path) == both


def test_clusters_are_drawn_and_flipped_as_one(tmp_path):
    """Queries 0 to 2 say the same, so there are two observations, not four."""
    whole = results([0.5, 0.5, 0.5, 0.9], [0.0, 0.0, 0.0, 0.0])
    clustered = Results({}, whole.queries, whole.values, clusters=["a", "a", "a", "b"])
    interval = clustered.interval("ours", "items/recall")
    # The mean is that of the queries, 2.4 / 4; a draw is aa (0.5), ab (2.4 / 4) or bb (0.9).
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.6, 0.5, 0.9))
    assert (interval.queries, interval.clusters) == (4, 2)
    difference = compare(clustered, "ours", "theirs", "items/recall")
    assert (difference.low, difference.high) == pytest.approx((0.5, 0.9))
    # Of the four signs of (1.5, 0.9), ++ and −− reach 2.4; with single queries 2 of 16.
    assert (difference.clusters, difference.p_value) == (2, 0.5)
    assert compare(whole, "ours", "theirs", "items/recall").p_value == 0.125
    clustered.save(tmp_path)
    assert Results.load(tmp_path) == clustered


def test_a_cluster_counts_only_where_it_has_a_value():
    values = {"ours": {"items/recall": [None, 0.2, 0.4, 0.8]}}
    clustered = Results({}, list("pqrs"), values, clusters=[7, 3, 3, 5])
    interval = clustered.interval("ours", "items/recall")
    # Draws: 3 twice (0.3), 3 and 5 (1.4 / 3), 5 twice (0.8).
    assert (interval.queries, interval.clusters) == (3, 2)
    assert (interval.low, interval.mean, interval.high) == pytest.approx((0.3, 1.4 / 3, 0.8))


def test_clusters_of_other_queries_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 clusters of 2 queries"):
        Results({}, ["p", "q"], {}, clusters=[0])
    (tmp_path / "results.json").write_text(
        '{"settings": {}, "queries": ["p", "q"], "values": {}, "clusters": [0]}'
    )
    with pytest.raises(InputError, match="found something else in"):
        Results.load(tmp_path)


def test_files_without_texts_still_load(tmp_path):
    old = {"settings": {}, "queries": ["q"], "values": {"m": {"items/x": [0.5]}}, "latency": {}}
    (tmp_path / "results.json").write_text(json.dumps(old))
    loaded = Results.load(tmp_path)
    assert loaded.texts == loaded.clusters == []
    assert loaded.cluster_numbers.tolist() == [0]
    assert loaded.interval("m", "items/x") == Interval(0.5, 0.5, 0.5, 1, 1)


def test_csv_has_a_line_for_each_value(tmp_path):
    path = results([0.5, None, 0.75], [None] * 3).save_csv(tmp_path / "new")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["method", "measure", "mean", "low", "high", "queries", "clusters"],
        ["ours", "items/recall", "0.625", "0.5", "0.75", "2", "2"],
    ]


def test_csv_of_differences_and_latency(tmp_path):
    timed = {"encode": 0.001, "generate": 0.0, "search": 0.0025, "total": 0.0035}
    both = results([0.5, 0.75], [0.25, 0.25])
    both.latency["ours"] = {"1": timed}
    both.save_csv(tmp_path, [compare(both, "ours", "theirs", "items/recall")])
    # Differences ¼ and ½; of the four signs, two reach their mean.
    assert (tmp_path / "differences.csv").read_text().splitlines() == [
        "first,second,measure,mean,low,high,queries,clusters,p_value",
        "ours,theirs,items/recall,0.375,0.25,0.5,2,2,0.5",
    ]
    assert (tmp_path / "latency.csv").read_text().splitlines() == [
        "method,batch,encode seconds per query,generate seconds per query,"
        "search seconds per query,total seconds per query",
        "ours,1,0.001,0,0.0025,0.0035",
    ]
    # Files of an older evaluation are removed.
    results([0.5], [0.25]).save_csv(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_the_summary_equals_the_csv(tmp_path):
    both = results([0.5, 0.75], [None, 0.25])
    difference = compare(both, "ours", "theirs", "items/recall")
    both.save(tmp_path, [difference])
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]
    assert summary["means"][0] == {
        "method": "ours", "measure": "items/recall", "mean": 0.625, "low": 0.5, "high": 0.75,
        "queries": 2, "clusters": 2,
    }  # fmt: skip
    assert summary["differences"] == [asdict(difference)]
    assert Results.load(tmp_path) == both
    both.save(tmp_path)
    assert "summary" not in json.loads((tmp_path / "results.json").read_text())


def test_values_keep_nine_decimals():
    assert listed(torch.tensor([1 / 3, torch.nan], dtype=torch.float64)) == [0.333333333, None]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    both = results([0.5], [0.25])
    both.save(tmp_path)
    both.settings["odd"] = object()
    with pytest.raises(TypeError):
        both.save(tmp_path)
    del both.settings["odd"]
    assert Results.load(tmp_path) == both
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_files_without_results_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"in results.json, but found no readable file in .*\. Run `r4t"
    ):
        Results.load(tmp_path)
    for content in ('{"a": 1}', "[1]", "{"):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(
            InputError, match=r"found something else in .*\. Run `r4t evaluate` first"
        ):
            Results.load(tmp_path)
