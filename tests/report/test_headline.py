"""The differences and ratios behind the headline claims, by hand."""

import pytest

from r4t.evaluation.results import Results
from r4t.report.headline import differences, ratios, verdict

COMPOSITE = "directions/composite"


def by_hand():
    return Results(
        {"set_size": 10, "pool_size": 150},
        ["p", "q", "r"],
        {
            "Zero-shot": {COMPOSITE: [0.1, 0.2, 0.3], "items/vendi": [2.0, 3.0, 4.0]},
            "Best-of-5": {COMPOSITE: [0.2, 0.3, 0.4], "items/vendi": [2.0, 2.0, 2.0]},
            "R4T-FOLM": {COMPOSITE: [0.5, 0.6, 0.7], "items/vendi": [5.0, 5.0, 5.0]},
            "R4T-Diffusion": {COMPOSITE: [0.4, 0.6, 0.62], "items/vendi": [6.0, 3.0, 6.0]},
        },
        {
            "R4T-FOLM": {"1": {"total": 0.06}, "64": {"total": 0.01}},
            "R4T-Diffusion": {"1": {"total": 0.01}, "64": {"total": 0.005}},
        },
    )


def test_differences_by_hand():
    by_pair = {(d.first, d.second, d.measure): d for d in differences(by_hand())}
    assert list(by_pair) == [
        ("R4T-FOLM", "Best-of-5", COMPOSITE),
        ("Best-of-5", "Zero-shot", COMPOSITE),
        ("R4T-Diffusion", "R4T-FOLM", COMPOSITE),
        ("R4T-FOLM", "Zero-shot", "items/vendi"),
        ("R4T-Diffusion", "Zero-shot", "items/vendi"),
    ]
    first = by_pair["R4T-FOLM", "Best-of-5", COMPOSITE]
    # 0.3 on each query, so the interval has no width.
    assert (first.mean, first.low, first.high) == pytest.approx((0.3, 0.3, 0.3))
    diffusion = by_pair["R4T-Diffusion", "Zero-shot", "items/vendi"]
    assert diffusion.mean == pytest.approx((4 + 0 + 2) / 3)
    assert (diffusion.low, diffusion.high) == pytest.approx((0, 4))  # of three queries
    assert diffusion.queries == 3


def test_recall_is_compared_with_every_baseline():
    recall = {"items/recall": [0.1, 0.2, 0.3]}
    methods = ["No fan-out", "MMR", "Nearest sets", "R4T-FOLM", "R4T-Diffusion"]
    compared = differences(Results({}, ["p", "q", "r"], dict.fromkeys(methods, recall), {}))
    baselines = ["No fan-out", "MMR", "Nearest sets"]
    ours = ["R4T-FOLM", "R4T-Diffusion"]
    assert [(d.first, d.second) for d in compared] == [(a, b) for a in ours for b in baselines]
    assert all(d.mean == 0 for d in compared)


def test_ratios_by_hand():
    # Means: zero-shot 0.2, FOLM 0.6, diffusion 0.54: 0.54/0.6 = 90 %, 0.34/0.4 = 0.85.
    assert ratios(by_hand()) == [
        "R4T-Diffusion reaches 90.0% of R4T-FOLM's composite",
        "(Diffusion − Zero-shot) / (FOLM − Zero-shot) of the composite: 0.85",
        "compared with R4T-FOLM, R4T-Diffusion answers 6.0 times as fast at batch 1 and 2.0 times as "
        "fast at batch 64",
    ]


def test_missing_methods_are_not_compared():
    whole = by_hand()
    some = {name: whole.values[name] for name in ("Zero-shot", "R4T-FOLM")}
    partial = Results(whole.settings, whole.queries, some, {})
    assert ratios(partial) == []
    assert [(d.first, d.second) for d in differences(partial)] == [("R4T-FOLM", "Zero-shot")]
    untimed = Results(whole.settings, whole.queries, whole.values, {})
    assert len(ratios(untimed)) == 2


def test_rows_with_a_choice_are_compared_with_each_other():
    values = {name: {COMPOSITE: [0.1, 0.2]} for name in ("R4T-FOLM", "R4T-Student", "Best-of-5")}
    values |= {f"{name} + choice": {COMPOSITE: [0.3, 0.5]} for name in ("R4T-FOLM", "R4T-Student")}
    values["Best-of-5 (oracle)"] = {COMPOSITE: [1.0, 1.0]}
    compared = differences(Results({}, ["p", "q"], values))
    assert [(d.first, d.second) for d in compared] == [
        ("R4T-FOLM", "Best-of-5"),
        ("R4T-Student", "R4T-FOLM"),
        ("R4T-Student + choice", "R4T-FOLM + choice"),
    ]


def test_a_batch_size_that_was_not_timed_for_both_is_left_out():
    results = by_hand()
    del results.latency["R4T-FOLM"]["64"]
    assert ratios(results)[-1] == (
        "compared with R4T-FOLM, R4T-Diffusion answers 6.0 times as fast at batch 1"
    )


def test_without_models_the_baselines_are_compared_with_no_fan_out():
    recall = {"items/recall": [0.1, 0.2, 0.3]}
    compared = differences(
        Results({}, ["p", "q", "r"], dict.fromkeys(["No fan-out", "MMR"], recall))
    )
    assert [(d.first, d.second) for d in compared] == [("MMR", "No fan-out")]
    both = recall | {"items/facet recall": [0.5, 0.5, 1.0]}
    compared = differences(Results({}, ["p", "q", "r"], dict.fromkeys(["No fan-out", "MMR"], both)))
    assert [(d.first, d.second, d.measure) for d in compared] == [
        ("MMR", "No fan-out", "items/facet recall"),
        ("MMR", "No fan-out", "items/recall"),
    ]


def test_the_share_of_a_gain_that_may_be_zero_is_left_out():
    results = by_hand()
    # FOLM is below Zero-shot as often as above.
    results.values["R4T-FOLM"][COMPOSITE] = [0.0, 0.21, 0.4]
    assert not any("Zero-shot" in line for line in ratios(results))


def recommended(values, latency=None):
    """The verdict on eight queries, each a cluster; ``values`` are facet recalls by method."""
    columns = {name: {"items/facet recall": list(row)} for name, row in values.items()}
    return verdict(Results({}, [f"q{n}" for n in range(8)], columns, latency or {}))


def test_a_trained_method_is_recommended_only_if_it_beats_the_best_without_training():
    high, low, mixed = [0.5] * 8, [0.25] * 8, [0.5, 0.0] * 4
    (sentence,) = recommended(
        {
            "No fan-out": low,
            "MMR": mixed,
            "R4T-FOLM": low,
            "R4T-Refined": high,
            "Oracle": [1.0] * 8,
        },
        {"R4T-Refined": {"1": {"total": 0.0042}}},
    )
    assert sentence.startswith(
        "Deploy R4T-Refined: R4T-Refined finds 0.500 of the true facets, No fan-out 0.250 "
        "(difference +0.250, 95 % interval +0.250 … +0.250)"
    )
    assert sentence.endswith(". It answers one query in 4.2 ms")
    (sentence,) = recommended({"No fan-out": low, "R4T-Refined": mixed})
    assert sentence.startswith(
        "Deploy No fan-out, which needs no training: R4T-Refined finds 0.250"
    )
    assert recommended({"No fan-out": low, "MMR": high}) == []
    assert verdict(Results({}, ["q"], {"MMR": {"items/vendi": [1.0]}})) == []


def test_a_baseline_fitted_to_all_grades_is_named_if_it_is_ahead_and_recommended_if_not_by_chance():
    high, low, mixed = [0.5] * 8, [0.25] * 8, [0.75, 0.3] * 4
    (sentence,) = recommended({"MMR": low, "R4T-Refined": high, "Graded ridge": mixed})
    assert sentence.startswith("Deploy R4T-Refined: ")
    assert ", and Graded ridge 0.525 (difference -0.025, 95 % interval " in sentence
    assert sentence.endswith("), fitted to all grades")
    (sentence,) = recommended({"MMR": low, "R4T-Refined": high, "Graded ridge": [0.6] * 8})
    assert sentence.startswith(
        "Deploy Graded ridge: R4T-Refined finds 0.500 of the true facets, MMR"
    )
    (sentence,) = recommended({"MMR": low, "R4T-Refined": [0.24] * 8, "Graded ridge": [0.6] * 8})
    assert sentence.startswith(
        "Deploy Graded ridge: R4T-Refined finds 0.240 of the true facets, MMR"
    )
    (sentence,) = recommended({"MMR": low, "R4T-Refined": high, "Graded ridge": low})
    assert "Graded" not in sentence
