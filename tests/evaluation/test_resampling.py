import itertools
import math

import pytest
import torch

from r4t.evaluation import resampling
from r4t.evaluation.resampling import (
    bootstrap,
    drop_missing,
    intervals,
    mean_of_runs,
    shares,
    sign_flip,
)


def test_bootstrap_of_few_queries_by_hand():
    # Two queries, 0 and 1: the means 0, ½, 1 have the chances ¼, ½, ¼.
    assert bootstrap(torch.tensor([[0.0], [1.0]])).tolist() == [[0.0], [1.0]]
    # Ten queries, one of them 1: the number of ones drawn is binomial (10, 0.1), of which
    # P(≤ 0) = 0.35 and P(≤ 2) = 0.930, P(≤ 3) = 0.987: from 0 to 3 tenths.
    values = torch.zeros(10, 1)
    values[0] = 1
    low, high = bootstrap(values)
    assert low.item() == 0
    assert high.item() == pytest.approx(0.3)


def test_bootstrap_of_many_queries_is_the_normal_law():
    noise = torch.randn(900, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = bootstrap(noise, 5000)
    half = 1.96 * noise.std(0) / math.sqrt(900)
    assert torch.allclose((high - low) / 2, half, rtol=0.06)
    assert torch.allclose((high + low) / 2, noise.mean(0), atol=0.1 * half.min().item())


def test_bootstrap_equals_a_slow_loop(monkeypatch):
    values = torch.rand(7, 3, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randint(7, (7,), generator=generator) for _ in range(40)]
    means = torch.stack([values[rows].double().mean(0) for rows in drawn])
    monkeypatch.setattr(resampling, "CELLS", 7)  # one draw at a time, as the loop
    low, high = bootstrap(values, 40, seed=5)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    assert torch.allclose(torch.stack([low, high]), means.quantile(ends, dim=0))


def test_clusters_equal_a_slow_loop(monkeypatch):
    """Clusters of unequal size in two runs; the second run lacks a cluster and a value."""
    values = torch.rand(9, 2, 1, generator=torch.Generator().manual_seed(2)).double()
    values[5:7, 1], values[0, 1] = torch.nan, torch.nan
    clusters = torch.tensor([0, 1, 1, 2, 0, 3, 3, 2, 1])
    strata = torch.tensor([0, 0, 0, 1])
    generator = torch.Generator().manual_seed(8)
    expected = []
    for _ in range(60):
        drawn = torch.randint(3, (3,), generator=generator).tolist()
        drawn += [3 + row for row in torch.randint(1, (1,), generator=generator).tolist()]
        rows = [row for c in drawn for row in range(9) if clusters[row] == c]
        of_runs = [[x for row in rows if (x := values[row, r, 0].item()) == x] for r in (0, 1)]
        expected.append(sum(sum(run) / len(run) for run in of_runs) / 2)
    monkeypatch.setattr(resampling, "CELLS", 4)  # one draw at a time, as the loop
    ends = bootstrap(values, 60, seed=8, strata=strata, clusters=clusters).flatten()
    levels = torch.tensor([0.025, 0.975], dtype=torch.float64)
    assert torch.allclose(ends, torch.tensor(expected, dtype=torch.float64).quantile(levels))


def test_clusters_of_one_query_change_no_bit():
    values = torch.rand(40, 3, 2, generator=torch.Generator().manual_seed(3))
    values[:7, 1] = torch.nan
    strata = (torch.arange(40) < 7).long()
    own = torch.arange(40)
    assert torch.equal(bootstrap(values, strata=strata), bootstrap(values, 2000, 0, strata, own))
    flips = values[:, 0, 0] - 0.45
    assert sign_flip(flips) == sign_flip(flips, clusters=own)


def test_identical_queries_of_a_cluster_are_one_observation():
    """Each of 40 values four times: intervals as of 40, not half as wide."""
    once = torch.rand(40, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    four, clusters = once.repeat(4, 1), torch.arange(40).repeat(4)
    assert torch.allclose(bootstrap(four, clusters=clusters), bootstrap(once))
    low, high = bootstrap(four).flatten().tolist()
    width = (bootstrap(once)[1] - bootstrap(once)[0]).item()
    assert high - low == pytest.approx(width / 2, rel=0.1)
    assert sign_flip(four[:, 0] - 0.4, clusters=clusters) == sign_flip(once[:, 0] - 0.4)


def test_a_single_cluster_has_an_interval_without_width():
    values = torch.tensor([[0.0], [1.0], [0.5]])
    assert bootstrap(values, clusters=torch.zeros(3, dtype=torch.long)).tolist() == [[0.5], [0.5]]
    assert sign_flip(torch.ones(3), clusters=torch.zeros(3, dtype=torch.long)) == 1.0


def test_columns_share_their_draws_and_seeds_differ():
    values = torch.rand(30, 2, generator=torch.Generator().manual_seed(0))
    both = bootstrap(values)
    assert torch.allclose(both[:, :1], bootstrap(values[:, :1]))
    assert torch.equal(both, bootstrap(values))
    assert not torch.equal(both, bootstrap(values, seed=1))


def test_sign_flips_by_hand():
    # Of the eight signs of (1, 2, 4), only + + + and − − − have a sum of 7.
    assert sign_flip(torch.tensor([1.0, 2.0, 4.0])) == 0.25
    # (3, −1): sums ±2 and ±4, all at least 2 away from 0.
    assert sign_flip(torch.tensor([3.0, -1.0])) == 1.0
    assert sign_flip(torch.zeros(5)) == 1.0


def test_signs_of_a_cluster_are_flipped_together():
    clusters = torch.tensor([0, 1, 0, 2])
    # Cluster sums 3, 4 and −2, in all 5. Of 3 ± 4 ± 2 and their negatives, 9, 5, 1 and −3: 2 of 4
    # are at least 5 away from 0.
    assert sign_flip(torch.tensor([1.0, 4.0, 2.0, -2.0]), clusters=clusters) == 0.5


def test_signs_of_clusters_equal_a_slow_loop():
    values = torch.randn(30, generator=torch.Generator().manual_seed(5)).double() + 0.3
    clusters = torch.arange(30) % 9
    sums = [
        abs(sum(signs[clusters[row]] * values[row].item() for row in range(30)))
        for signs in itertools.product((1, -1), repeat=9)
    ]
    expected = sum(total >= abs(values.sum().item()) - 1e-9 for total in sums) / len(sums)
    assert sign_flip(values, clusters=clusters) == pytest.approx(expected)
    assert sign_flip(values, samples=500, clusters=clusters) == pytest.approx(expected, abs=0.06)


def test_sign_flips_equal_a_slow_loop():
    differences = torch.randn(9, generator=torch.Generator().manual_seed(2)) + 0.4
    values = differences.double().tolist()
    sums = [
        abs(sum(sign * x for sign, x in zip(signs, values)))
        for signs in itertools.product((1, -1), repeat=9)
    ]
    expected = sum(total >= abs(sum(values)) - 1e-12 for total in sums) / len(sums)
    assert sign_flip(differences) == pytest.approx(expected)
    # With drawn signs instead of all, the chance is close.
    assert sign_flip(differences, samples=500) == pytest.approx(expected, abs=0.06)
    assert sign_flip(-differences) == sign_flip(differences)


def test_drawn_sign_flips_are_never_zero_and_follow_the_normal_law():
    # 20 queries, all 1: only 2 of 2^20 signs reach the sum; none is drawn, one is added.
    assert sign_flip(torch.ones(20)) == pytest.approx(1 / 10_001)
    differences = torch.randn(400, generator=torch.Generator().manual_seed(3))
    z = (differences.sum() / differences.norm()).item()
    expected = math.erfc(abs(z) / math.sqrt(2))
    assert sign_flip(differences) == pytest.approx(expected, abs=0.02)


def test_memory_is_bounded_by_drawing_in_parts(monkeypatch):
    assert resampling._chunks(2000, 10_000) == [419] * 4 + [324]
    monkeypatch.setattr(resampling, "CELLS", 60)
    assert resampling._chunks(5, 30) == [2, 2, 1]
    assert resampling._chunks(2, 100) == [1, 1]


def test_ties_are_ties_in_float32_and_in_rounded_numbers():
    # In thirds: −1 2 2 2 2 −1 2 2 0 with the sum 10. Of the 2^7 · 2 signs of the twos and ones, a sum
    # of at least 10 needs all six twos plus and at most one of the ones plus … or all signs turned:
    # twos all plus (12): ones ±1 ±1 give 14, 12, 12, 10: 4. One two minus (8): only 8 + 2 = 10: 6.
    # 2 · (4 + 6) of 2^8, the zero aside: 20/256 = 0.078125.
    exact = torch.tensor([-1, 2, 2, 2, 2, -1, 2, 2, 0], dtype=torch.float64) / 3
    assert sign_flip(exact) == 0.078125
    assert sign_flip(exact.float()) == 0.078125
    assert sign_flip(torch.tensor([round(x, 6) for x in exact.tolist()])) == 0.078125
    assert sign_flip(torch.tensor([round(x, 9) for x in exact.tolist()])) == 0.078125


def test_runs_count_the_same_whatever_their_number_of_queries():
    # Folds of 5 queries with 1 and of 500 with about 0.05.
    generator = torch.Generator().manual_seed(0)
    values = torch.full((505, 2, 1), torch.nan, dtype=torch.float64)
    values[:5, 0] = 1.0
    values[5:, 1, 0] = 0.05 + 0.1 * torch.randn(500, generator=generator, dtype=torch.float64)
    strata = torch.tensor([0] * 5 + [1] * 500)
    mean = mean_of_runs(values)
    assert mean.item() == pytest.approx((1 + values[5:, 1].mean().item()) / 2)
    low, high = bootstrap(values, strata=strata)
    # The first fold does not vary: half the interval of the second.
    half = 1.96 * values[5:, 1].std().item() / math.sqrt(500) / 2
    assert low.item() == pytest.approx(mean.item() - half, abs=0.1 * half)
    assert high.item() == pytest.approx(mean.item() + half, abs=0.1 * half)


def test_runs_with_the_same_queries_equal_their_average():
    values = torch.rand(12, 3, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.allclose(mean_of_runs(values), values.mean(1).mean(0))
    assert torch.allclose(bootstrap(values), bootstrap(values.mean(1)))
    assert torch.allclose(shares(values[..., 0]), values[..., 0].mean(1))


def test_strata_equal_a_slow_loop(monkeypatch):
    """Runs a and b share two queries; b has three more, one without a value."""
    nan = torch.nan
    values = torch.tensor([[1.0, 2.0], [3.0, 5.0], [nan, 7.0], [nan, nan], [nan, 9.0]])
    strata = torch.tensor([0, 0, 1, 1, 1])
    generator = torch.Generator().manual_seed(6)
    expected = []
    for _ in range(50):
        both = torch.randint(2, (2,), generator=generator).tolist()
        others = [2 + row for row in torch.randint(3, (3,), generator=generator).tolist()]
        runs = [
            [values[row, 0].item() for row in both],
            [values[r, 1].item() for r in both + others],
        ]
        present = [[value for value in run if value == value] for run in runs]
        expected.append(sum(sum(run) / len(run) for run in present) / 2)
    monkeypatch.setattr(resampling, "CELLS", 5)  # one draw at a time, as the loop
    low, high = bootstrap(values.unsqueeze(-1), 50, seed=6, strata=strata)
    ends = torch.tensor(expected, dtype=torch.float64).quantile(
        torch.tensor([0.025, 0.975]).double()
    )
    assert torch.allclose(torch.cat([low, high]), ends)


def test_shares_add_up_to_the_mean():
    values = torch.rand(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values[:5, 0] = torch.nan
    values[6, 2] = torch.nan
    assert shares(values).mean().item() == pytest.approx(mean_of_runs(values.unsqueeze(-1)).item())


def test_queries_and_runs_without_values_are_left_out():
    nan = torch.nan
    values = torch.tensor([[0.0, 1.0], [nan, 0.5], [nan, 2.0], [nan, nan]])
    asked = torch.tensor([[True, True], [True, True], [False, True], [True, True]])
    own = torch.arange(4)
    values_left, strata, clusters = drop_missing(values.unsqueeze(-1), asked, own)
    assert clusters.tolist() == [0, 1, 2]
    assert torch.equal(values_left.squeeze(-1).nan_to_num(-1), values[:3].nan_to_num(-1))
    # Both runs asked the second query, though one has no value.
    assert strata[0] == strata[1] != strata[2]
    # In the second run alone, all three queries are in one stratum.
    values[:, 0] = nan
    values_left, strata, _ = drop_missing(values.unsqueeze(-1), asked, own)
    assert values_left.shape == (3, 1, 1)
    assert strata.tolist() == [0, 0, 0]


def test_a_cluster_is_asked_by_the_runs_that_asked_any_of_its_queries():
    nan = torch.nan
    values = torch.tensor([[1.0, nan], [nan, 2.0], [nan, nan], [nan, 3.0], [4.0, nan]])
    asked = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 1], [1, 0]]).bool()
    kept, strata, clusters = drop_missing(
        values.unsqueeze(-1), asked, torch.tensor([0, 0, 1, 2, 3])
    )
    # The third query has no value; the cluster of the first two was asked by both runs.
    assert len(kept) == 4
    assert clusters.tolist() == [0, 0, 1, 2]
    assert len(set(strata.tolist())) == 3


def test_intervals_by_hand():
    nan = torch.nan
    columns = {"a": [0.5, nan, 0.75], "b": [0.0, nan, 1.0], "c": [0.5, 0.5, 0.5], "d": [nan] * 3}
    tensors = {name: torch.tensor(values).unsqueeze(1) for name, values in columns.items()}
    by_name = intervals(tensors, torch.ones(3, 1, dtype=torch.bool), torch.arange(3))
    # Of two queries, every draw is a mean of two values of theirs.
    assert {name: (i.mean, i.low, i.high, i.queries) for name, i in by_name.items()} == {
        "a": (0.625, 0.5, 0.75, 2), "b": (0.5, 0.0, 1.0, 2), "c": (0.5, 0.5, 0.5, 3)
    }  # fmt: skip
