import math

import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from r4t.evaluation.agreement import (
    correlation,
    mean_interval,
    of_means,
    over_methods,
    ranks,
    within,
)
from r4t.evaluation.resampling import bootstrap

NAN = math.nan


def numbers(*shape, seed=0):
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed)).double()


def test_correlations_equal_those_of_scipy_with_ties():
    x, y = numbers(20, 8) + 0.1 * numbers(20, 8, seed=2), numbers(20, 8, seed=1)
    found, ranked = correlation(x, y), correlation(ranks(x), ranks(y))
    for row in range(20):
        assert found[row].item() == pytest.approx(pearsonr(x[row], y[row]).statistic)
        assert ranked[row].item() == pytest.approx(spearmanr(x[row], y[row]).statistic)


def test_what_cannot_be_ranked_does_not_count_and_what_ranks_nothing_counts_0():
    level, rising = [0.1, 0.1, 0.1], [0.0, 1.0, 2.0]
    scores = torch.tensor([rising, level, level, [0.0, NAN, 1.0], rising])
    truth = torch.tensor([level, rising, level, rising, [0.0, NAN, 1.0]])
    found = correlation(scores, truth)
    assert found[1].item() == 0
    assert found.isnan().tolist() == [True, False, True, True, True]


def test_draws_are_compared_within_a_method():
    scores = {"a": torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "b": torch.tensor([[5.0, 9.0], [0, 0]])}
    truth = {"a": torch.tensor([[0.0, 0.1], [0.0, 0.1]]), "b": torch.tensor([[0.1, 0.0], [0, 1.0]])}
    found = within(scores, truth)
    assert found["a"].tolist() == pytest.approx([1, -1])
    assert found["b"].tolist() == pytest.approx([-1, 0])


def test_methods_are_compared_by_their_first_draw():
    truth = {name: torch.tensor([[place, 9.0], [-place, 9.0]]) for place, name in enumerate("abcd")}
    scores = {
        "a": torch.tensor([[1.0, 9.0], [2.0, 9.0]]),
        "b": torch.tensor([[3.0], [2.0]]),
        "c": torch.tensor([[2.0], [0.0]]),
        "d": torch.tensor([[NAN], [NAN]]),  # what an objective cannot score
    }
    # Query 0: ranks 0, 2, 1 of truths 0, 1, 2; query 1: 1.5, 1.5, 0 of 2, 1, 0.
    expected = [0.5, spearmanr([2, 2, 0], [0, -1, -2]).statistic]
    assert over_methods(scores, truth).tolist() == pytest.approx(expected)
    # Means 1.5, 2.5, 1 of truths that are all 0 on average.
    assert math.isnan(of_means(scores, truth))
    truth["b"][1] = 1.0  # truths 0, 1, 0
    assert of_means(scores, truth) == pytest.approx(pearsonr([1.5, 2.5, 1.0], [0, 1, 0]).statistic)
    truth["b"][1] = NAN  # then the first query alone has all: 1, 3, 2 of 0, 1, 2
    assert of_means(scores, truth) == pytest.approx(0.5)
    del scores["c"]  # two methods are left
    assert over_methods(scores, truth).isnan().all()
    assert math.isnan(of_means(scores, truth))
    nothing = {"d": scores["d"]}
    assert over_methods(nothing, truth).isnan().tolist() == [True, True]


def test_the_interval_is_the_bootstraps():
    values = numbers(30, seed=3)
    values[4] = NAN
    found = mean_interval(values)
    known = values[~values.isnan()]
    low, high = bootstrap(known.unsqueeze(1)).flatten().tolist()
    assert (found.mean, found.low, found.high) == pytest.approx((known.mean().item(), low, high))
    assert found.queries == 29
    assert mean_interval(torch.full((3,), NAN)) is None
