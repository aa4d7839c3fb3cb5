"""benchmarks.figure4, benchmarks.watchdog and benchmarks.bundles: from runs to curves and verdicts."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import bundles, figure4, watchdog
from r4t.training.collapse import Rises
from r4t.training.watchdog import Watchdog

HELD = {"diversity": 0.5, "recall": 0.4, "parsed": 1.0, "universal_subqueries": 0.1}


def held(**columns):
    """Rows of measurements every ten rollouts; other columns have the constants of ``HELD``."""
    count = len(next(iter(columns.values())))
    rows = [{name: values[row] for name, values in columns.items()} for row in range(count)]
    return [{"rollout": 10 * number, **HELD, **row} for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    "columns, expected",
    [
        ({"diversity": [0.5, 0.26, 0.26, 0.26]}, None),  # half of 0.5 is 0.25
        ({"diversity": [0.5, 0.24, 0.24, 0.5]}, (10, "narrow")),
        ({"diversity": [0.5, 0.24, 0.26, 0.24]}, None),  # never twice in a row
        ({"recall": [0.4, 0.4, 0.19, 0.19]}, (20, "blind")),
        ({"universal_subqueries": [0.0, 0.6, 0.6, 0.0]}, (10, "deaf")),
        ({"parsed": [1.0, 1.0, 0.6, 0.5]}, (20, "silent")),
        ({"parsed": [1.0, 0.6, 0.6, 1.0], "recall": [0.4, 0.1, 0.1, 0.1]}, (10, "blind+silent")),
        ({"parsed": [1.0, 0.6, 1.0, 1.0], "recall": [0.4, 0.4, 0.1, 0.4]}, None),  # not the same
    ],
)
def test_a_collapse_follows_the_definition(columns, expected):
    assert watchdog.collapse(held(**columns)) == expected


def test_true_facets_come_before_recall():
    rows = [row | {"facet recall": value} for row, value in zip(held(recall=[1, 0, 0]), (1, 1, 1))]
    assert watchdog.collapse(rows) is None


def run(setting, seed, repeats, rows, **weights):
    rollouts = [{"reward/mean": 0.1 * n, "repeats": value} for n, value in enumerate(repeats)]
    facts = {"setting": setting, "seed": seed, "weights": weights, "held_out": rows}
    return facts | {"rollouts": rollouts}


def test_verdicts():
    dog = Watchdog(window=1, patience=1, rules=[Rises("train/repeats", rise=0.5)])
    calm, collapsing = held(diversity=[0.5] * 3), held(diversity=[0.5, 0.1, 0.1])
    verdicts = [
        watchdog.verdict(run("a", 0, repeats, rows), dog)
        for repeats, rows in (
            ([0, 0, 1], collapsing),
            ([0, 0, 0], collapsing),
            ([0, 1, 0], calm),
            ([0, 0, 0], calm),
        )
    ]
    assert [row["verdict"] for row in verdicts] == ["hit", "miss", "false alarm", "quiet"]
    assert [row["first_alarm"] for row in verdicts] == [3, None, 2, None]
    assert verdicts[0]["collapse"] == {"rollout": 10, "how": "narrow"}
    text = watchdog.table(verdicts)
    assert "| a, seed 0 | rollout 10, narrow | 3 | hit |" in text
    assert text.endswith("hit: 1, miss: 1, false alarm: 1, quiet: 1\n")


def test_curves_are_means_and_ranges_over_seeds_of_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(figure4, "TRAINING", {"repeats": "repeats"})
    monkeypatch.setattr(figure4, "HELD_OUT", {"recall": "recall"})
    monkeypatch.setattr(figure4, "WINDOW", 2)
    runs = [
        run("6:2:2", 0, [0.0, 0.2, 0.4], held(recall=[0.4, 0.2])),
        run("6:2:2", 1, [0.0, 0.4, 0.8], held(recall=[0.4, 0.4])),
    ]
    rows = figure4.curves(runs)
    by_rollout = {(row["metric"], row["rollout"]): row for row in rows}
    # Rollouts 2 and 3: (0.2 + 0.4) / 2 and (0.4 + 0.8) / 2.
    expected = {"mean": 0.45, "low": 0.3, "high": 0.6, "seeds": 2}
    assert {n: by_rollout["repeats", 3][n] for n in expected} == pytest.approx(expected)
    assert by_rollout["repeats", 1]["mean"] == 0.0
    assert by_rollout["recall", 10]["mean"] == pytest.approx(0.3)
    for number, content in enumerate(runs):
        (tmp_path / f"622-seed{number}.json").write_text(figure4.dump(content))
    assert json.loads(figure4.dump(runs[0])) == runs[0]
    figure4.draw(tmp_path)
    with (tmp_path / "figure4.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert (tmp_path / "figure4.png").read_bytes()[1:4] == b"PNG"


def test_the_overlays_and_weights_are_yaml():
    for setting, numbers in figure4.SETTINGS.items():
        assert tuple(yaml.safe_load(figure4.weights(setting)).values()) == numbers
    assert figure4.OVERLAY.is_file()
    steps = bundles.commands("clothing", 2, Path("data"), Path("runs"))
    layers = [word for word in steps["tune"] if word.endswith(".yaml")]
    assert len(layers) == 3
    assert all(Path(layer).is_file() for layer in layers)
    assert "runs/clothing/queries/fold_2" in steps["tune"]


def test_the_tables_pool_the_queries_of_all_folds():
    def fold(shift):
        base = {"recall": [0.2, 0.4], "vendi": [5.0, 5.0]}
        methods = dict.fromkeys([*bundles.PLAIN, "Zero-shot"], base)
        tuned = {"recall": [value + shift for value in base["recall"]], "vendi": [4.0, 4.0]}
        return {"methods": methods | {"R4T-FOLM": tuned}, "clusters": [0, 1]}

    folds = [fold(0.1), fold(0.3)]
    values, clusters = bundles.pooled(folds), bundles.pooled_clusters(folds)
    assert clusters.tolist() == [0, 1, 2, 3]  # labels of two folds are different clusters
    assert torch.allclose(values["R4T-FOLM"]["recall"], torch.tensor([0.3, 0.5, 0.5, 0.7]))
    summary = bundles.summary(values, clusters)
    assert summary["methods"]["R4T-FOLM"]["recall"][0] == 0.5
    mean, low, high, chance = summary["recall differences"]["R4T-FOLM − Zero-shot"]
    assert (mean, chance) == (
        0.2,
        0.125,
    )  # two of the 16 sign patterns of four queries are as far from 0
    assert 0.1 <= low <= 0.2 <= high <= 0.3
    lines = bundles.markdown(summary)
    assert "| R4T-FOLM | 0.500 " in "\n".join(lines)
