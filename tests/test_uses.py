"""The three uses of an objective: reward, filter, metric."""

import math

import pytest
import torch

from r4t.errors import InputError
from r4t.filters import Filter, item_overlap
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.objective import Objective, load_objective
from r4t.reward import Ramp, Reward, query_free_share
from r4t.sets import SetBatch
from r4t.training.soft_grpo import group_advantage


class Given(Objective):
    """Returns the first coordinate of the query."""

    bounds = (-10.0, 10.0)

    def score(self, sets):
        return sets.query[:, 0]


def batch_of(*values: float) -> SetBatch:
    size = len(values)
    return SetBatch(
        query=torch.tensor([[value, 0.0] for value in values]),
        items=torch.zeros(size, 1, dtype=torch.long),
        item_embeddings=torch.zeros(size, 1, 2),
        mask=torch.ones(size, 1, dtype=torch.bool),
    )


def test_eq1_reward_is_the_weighted_sum(sets_from):
    # Direction 1: on the query and on its item; direction 2: cos 0.6 to the query, item at (0, 1).
    sets = sets_from([[[1, 0], [0.6, 0.8]]], [[[1, 0], [0, 1]]])
    ground = 1 - (0 + (0.36 + 0.04) ** 0.5) / 2  # eq. 3
    align = (1 + 0.6) / 2  # eq. 4
    reward, components = Reward({"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2})(sets)
    assert components["diversity"].item() == pytest.approx(1.0)  # eq. 2: orthogonal items
    assert reward.item() == pytest.approx(0.6 * ground + 0.2 * 1.0 + 0.2 * align)


def test_the_query_free_share_equals_a_slow_analysis_of_variance():
    generator = torch.Generator().manual_seed(0)
    for noise in (0.0, 0.5, 5.0):
        lists = torch.randn(7, generator=generator)
        scores = lists + torch.randn(5, 1, generator=generator)  # a query's level does not count
        scores += noise * torch.randn(5, 7, generator=generator)
        rows = scores.tolist()
        means = [sum(row) / 7 for row in rows]
        overall = sum(means) / 5
        columns = [sum(row[j] for row in rows) / 5 - overall for j in range(7)]
        within = sum((x - mean) ** 2 for row, mean in zip(rows, means) for x in row) / 35
        expected = sum(x**2 for x in columns) / 7 / within
        assert query_free_share(scores) == pytest.approx(expected, rel=1e-5)
        assert (expected > 1 - 1e-9) == (noise == 0)
    assert query_free_share(torch.eye(4)) == pytest.approx(
        0.0
    )  # each list suits its own query only
    # Lists that are worth nothing to others leave 1/n on average.
    draws = [query_free_share(torch.randn(10, 10, generator=generator)) for _ in range(200)]
    assert sum(draws) / 200 == pytest.approx(0.1, abs=0.01)


def test_the_query_free_share_of_too_little_is_nan():
    rows = torch.tensor([[1.0, 2.0], [3.0, 5.0], [math.nan, 0.0]])
    assert query_free_share(rows) == query_free_share(rows[:2])
    assert math.isnan(query_free_share(rows[1:]))  # one row is left
    assert math.isnan(query_free_share(torch.tensor([[0.1, 0.1], [0.7, 0.7]])))


def test_a_weight_of_zero_is_audited_but_does_not_count():
    reward = Reward({"first": 2.0, "second": 0.0}, {"first": Given(), "second": Given()})
    total, components = reward(batch_of(1.0, 3.0))
    assert total.tolist() == [2.0, 6.0]
    assert components["second"].tolist() == [1.0, 3.0]
    assert reward.bounds == (-20.0, 20.0)


def test_reward_refuses_unknown_and_unweighted_names():
    with pytest.raises(
        InputError, match=r"objective, but found 'diversty'. Installed: .*Did you mean 'div"
    ):
        Reward({"diversty": 1.0})
    with pytest.raises(
        InputError, match=r"a weight for each objective, but found none for \['mine'\] among"
    ):
        Reward({"diversity": 1.0}, {"mine": Given()})
    with pytest.raises(
        InputError, match=r"a weight other than 0, but found no weight\. Weight at least one"
    ):
        Reward({})


def test_filter_share_and_floor_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.5, 0.4], [0.1, 0.2, 0.3, 0.35]])
    selection = Filter(share=0.5, floor=0.32)(scores)
    assert selection.kept.tolist() == [[True, False, True, False], [False, False, False, True]]
    assert selection.dropped["below the floor"] == 4  # 0.1 | 0.1, 0.2, 0.3
    assert selection.dropped["beyond the best share"] == 1  # 0.4
    assert Filter(share=0.01)(scores).kept.sum(1).tolist() == [1, 1]
    with pytest.raises(InputError, match=r"share in \(0, 1\], but found 1\.5\. Use 0\.25"):
        Filter(share=1.5)


def test_metric_is_the_mean_over_all_queries():
    metric = ObjectiveMetric(Given(), "given")
    metric.update(batch_of(1.0, 2.0))
    metric.update(batch_of(6.0))
    assert metric.compute().item() == 3.0


def test_metrics_with_equal_first_states_stay_apart(sets_from):
    metrics = objective_metrics({"a": Given(), "b": Given()})
    metrics["a"].update(torch.tensor([1.0]))
    metrics["b"].update(torch.tensor([1.0]))
    metrics["a"].update(torch.tensor([0.0]))
    metrics["b"].update(torch.tensor([1.0]))
    assert {name: value.item() for name, value in metrics.compute().items()} == {
        "a/mean": 0.5,
        "b/mean": 1.0,
    }


def test_one_objective_gives_the_same_number_in_every_use(sets_from):
    sets = sets_from([[[1, 0], [0.6, 0.8]]], [[[1, 0], [0, 1]]])
    objective = load_objective("alignment")
    metric = ObjectiveMetric(objective)
    metric.update(sets)
    reward, _ = Reward({"alignment": 1.0})(sets)
    assert metric.compute().item() == pytest.approx(reward.item())
    assert Filter(floor=0.79)(reward.view(1, 1)).kept.item()
    assert not Filter(floor=0.81)(reward.view(1, 1)).kept.item()


class Unsure(Given):
    """Cannot score a query that begins with 0."""

    partial = True

    def score(self, sets):
        return torch.where(sets.query[:, 0] == 0, torch.nan, sets.query[:, 0])


def test_an_unscored_set_is_left_out_and_counted():
    sets = batch_of(1.0, 0.0, 3.0, 2.0)
    reward = Reward({"first": 1.0, "unsure": 0.5}, {"first": Given(), "unsure": Unsure()})
    total = reward.score(sets)
    assert total[1].isnan()
    assert total[[0, 2, 3]].tolist() == [1.5, 4.5, 3.0]
    assert reward.partial
    # The best half of the three that have a score is round(1.5) = 2.
    selection = Filter(share=0.5, floor=2.0)(total.view(1, 4))
    assert selection.kept.tolist() == [[False, False, True, True]]
    assert list(selection.dropped.values()) == [1, 0, 0, 1]  # below the floor; not scored
    metric = ObjectiveMetric(Unsure())
    metric.update(sets)
    assert metric.compute().item() == 2.0  # (1 + 3 + 2) / 3
    assert metric.unscored == 1
    # μ = 3, deviations −1.5, 1.5, 0 over √(4.5 / 2) = 1.5: the unscored set affects neither.
    advantages = group_advantage(total.view(1, 4), epsilon=0.0)
    assert advantages.tolist() == [[-1.0, 0.0, 1.0, 0.0]]


def test_an_unscored_audited_objective_does_not_affect_the_reward():
    reward = Reward({"first": 1.0, "unsure": 0.0}, {"first": Given(), "unsure": Unsure()})
    total, components = reward(batch_of(0.0, 2.0))
    assert total.tolist() == [0.0, 2.0]
    assert components["unsure"].isnan().tolist() == [True, False]
    assert not reward.partial


def test_a_reward_that_only_decides_does_not_score_audited_objectives():
    class Costly(Given):
        costly = True

        def score(self, sets):
            raise AssertionError("scored")

    reward = Reward({"first": 1.0, "audited": 0.0}, {"first": Given(), "audited": Costly()})
    assert reward.score(batch_of(2.0)).tolist() == [2.0]
    assert not reward.costly
    assert Reward({"weighted": Ramp(0.0, 1.0, 5)}, {"weighted": Costly()}).costly
    assert Reward({"diversity": 1.0, "coverage": 0.0}).deciding_needs == frozenset()


def test_a_ramp_moves_a_weight_over_the_steps():
    reward = Reward(
        {"first": 1.0, "late": Ramp(0.0, 0.5, steps=10)}, {"first": Given(), "late": Given()}
    )
    components = reward.components(batch_of(4.0))
    # 4·(1 + 0), 4·(1 + 0.2), and 4·(1 + 0.5) from step 10 on, which is also the weight without steps.
    totals = [reward.total(components, step).item() for step in (0, 4, 10, 99)]
    assert totals == pytest.approx([4.0, 4.8, 6.0, 6.0])
    assert reward(batch_of(4.0))[0].item() == 6.0
    assert reward.weighted(components, 4)["late"].item() == pytest.approx(0.8)
    assert reward.weights == {"first": 1.0, "late": 0.5}
    with pytest.raises(InputError, match="steps to be at least 1, but found 0"):
        Ramp(0.0, 1.0, steps=0)


@pytest.mark.parametrize(
    "weights, sentence",
    [
        ({"given": math.nan}, r"finite weights, but found \{'given': nan\}\. Correct"),
        ({"given": math.inf}, r"finite weights, but found \{'given': inf\}\. Correct"),
        (
            {"given": Ramp(1.0, 0.0, steps=5)},
            r"weight other than 0, but found 0 for all of \['given'\]",
        ),
        ({"a.b": 1.0}, r"begins with a letter .* found 'a.b' as an objective's name\. Choose"),
        ({"items": 1.0}, r"no other meaning in logs and tables, but found 'items'"),
        ({"compute": 1.0}, r"found 'compute'"),
        ({"reward": 1.0}, r"found 'reward'"),
        ({"1st": 1.0}, r"found '1st'"),
    ],
)
def test_unusable_weights_and_names_are_refused(weights, sentence):
    with pytest.raises(InputError, match=sentence):
        Reward(weights, {name: Given() for name in weights})


def test_all_other_names_become_metrics():
    names = ["update mean", "my-own", "größe", "x"]
    metrics = objective_metrics({name: Given() for name in names}, prefix="val/")
    metrics.update(batch_of(2.0))
    assert metrics.compute() == {f"val/{name}/mean": 2.0 for name in names}
    Reward(dict.fromkeys(names, 1.0), {name: Given() for name in names})


def test_ramps_and_floors_are_finite():
    with pytest.raises(InputError, match="a ramp of finite weights, but found 0.0 and nan"):
        Ramp(0.0, math.nan, steps=3)
    with pytest.raises(InputError, match="a number as a filter's floor, but found nan"):
        Filter(floor=math.nan)


def test_whole_numbers_become_float_scores():
    class Count(Given):
        bounds = (-0.5, 10.0)

        def score(self, sets):
            return sets.mask.sum(-1)

    sets = batch_of(1.0, 2.0)
    sets = sets.extended(mask=torch.tensor([[True], [False]]))
    assert Count()(sets).tolist() == [1.0, -0.5]  # no member: the lower bound, not truncated


def test_a_metric_without_scores_is_nan():
    metric = ObjectiveMetric(Unsure())
    metric.update(batch_of(0.0, 0.0))
    assert metric.compute().isnan()
    assert metric.unscored == 2


def test_a_reward_with_only_audited_objectives_is_refused():
    with pytest.raises(
        InputError, match=r"other than 0, but found 0 for all of \['diversity'\], which only audits"
    ):
        Reward({"diversity": 0.0})


def test_nan_from_a_complete_objective_names_it_and_the_query():
    class Poisoned(Given):
        def score(self, sets):
            return sets.query[:, 0] / sets.query[:, 0]

    sets = batch_of(1.0, 0.0).extended(query_texts=["boho", "beach picnic"])
    sentence = r"'poisoned' to return finite .* found nan for query 1 of 2 \('beach picnic'\)"
    with pytest.raises(InputError, match=sentence):
        Reward({"poisoned": 1.0}, {"poisoned": Poisoned()})(sets)


NONE = dict.fromkeys(("below the floor", "nearly equal", "beyond the best share", "not scored"), 0)


def test_near_equal_sets_are_dropped_by_hand():
    # Items of four candidates of one query, best first: b shares two of four items with a, c shares
    # all items of b, d has none.
    items = torch.tensor([[[1, 2, 3], [1, 2, 4], [4, 2, 1], [-1, -1, -1]]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    assert item_overlap(items)[0, 0].tolist() == [1.0, 0.5, 0.5, 0.0]
    selection = Filter(overlap=0.6)(scores, items)
    assert selection.kept.tolist() == [[True, True, False, True]]
    assert selection.dropped == {**NONE, "nearly equal": 1}
    # At 0.5 b is dropped as well, and then c is compared only with a.
    assert Filter(overlap=0.5)(scores, items).kept.tolist() == [[True, False, False, True]]
    # Half of the sets may stay: a and b, not a and the copy of b.
    selection = Filter(share=0.5, overlap=0.6)(scores.flip(1), items.flip(1))
    assert selection.kept.tolist() == [[False, False, True, True]]
    assert selection.dropped == {**NONE, "nearly equal": 1, "beyond the best share": 1}
    # The floor comes first: a set below it does not make another one a copy.
    selection = Filter(floor=0.75, overlap=0.6)(torch.tensor([[0.9, 0.7, 0.8, 0.1]]), items)
    assert selection.kept.tolist() == [[True, False, True, False]]
    with pytest.raises(
        InputError, match=r"items of sets .* but found scores alone\. Pass the items"
    ):
        Filter(overlap=0.6)(scores)
    with pytest.raises(InputError, match=r"overlap in \(0, 1\], but found 1\.2\. Use 1 to drop"):
        Filter(overlap=1.2)


def test_near_equal_sets_equal_a_loop():
    random = torch.Generator().manual_seed(0)
    items = torch.randint(-1, 9, (5, 12, 4), generator=random)
    scores = torch.rand(5, 12, generator=random)
    kept = Filter(overlap=0.4)(scores, items).kept
    for row in range(5):
        chosen = []
        for member in scores[row].argsort(descending=True).tolist():
            mine = set(items[row, member].tolist()) - {-1}
            others = [set(items[row, other].tolist()) - {-1} for other in chosen]
            if not any(len(mine & other) >= 0.4 * len(mine | other) for other in others):
                chosen.append(member)
        assert kept[row].nonzero().flatten().tolist() == sorted(chosen)
