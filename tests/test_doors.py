"""The three doors: reward, filter, metric."""

import pytest
import torch

from r4t.errors import InputError
from r4t.filters import Filter
from r4t.metrics import ObjectiveMetric, objective_metrics
from r4t.objective import Objective
from r4t.plugins import load_objective
from r4t.reward import Reward
from r4t.sets import SetBatch


class Given(Objective):
    """Reads its scores off the first coordinate of the query."""

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


def test_a_weight_of_zero_is_audited_not_counted():
    reward = Reward({"first": 2.0, "second": 0.0}, {"first": Given(), "second": Given()})
    total, components = reward(batch_of(1.0, 3.0))
    assert total.tolist() == [2.0, 6.0]
    assert components["second"].tolist() == [1.0, 3.0]
    assert reward.bounds == (-20.0, 20.0)


def test_reward_refuses_unknown_and_unweighted_names():
    with pytest.raises(
        InputError, match=r"'diversty' is not installed. Installed: .*Did you mean 'div"
    ):
        Reward({"diversty": 1.0})
    with pytest.raises(InputError, match=r"needs a weight — \['mine'\] have none"):
        Reward({"diversity": 1.0}, {"mine": Given()})
    with pytest.raises(InputError, match="at least one objective"):
        Reward({})


def test_filter_share_and_floor_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.5, 0.4], [0.1, 0.2, 0.3, 0.35]])
    selection = Filter(share=0.5, floor=0.32)(scores)
    assert selection.kept.tolist() == [[True, False, True, False], [False, False, False, True]]
    assert selection.below_floor == 4  # 0.1 | 0.1, 0.2, 0.3
    assert selection.beyond_share == 1  # 0.4
    assert Filter(share=0.01)(scores).kept.sum(1).tolist() == [1, 1]
    with pytest.raises(InputError, match=r"share must lie in \(0, 1\], found 1.5"):
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


def test_one_objective_gives_one_number_through_all_doors(sets_from):
    sets = sets_from([[[1, 0], [0.6, 0.8]]], [[[1, 0], [0, 1]]])
    objective = load_objective("alignment")
    metric = ObjectiveMetric(objective)
    metric.update(sets)
    reward, _ = Reward({"alignment": 1.0})(sets)
    assert metric.compute().item() == pytest.approx(reward.item())
    assert Filter(floor=0.79)(reward.view(1, 1)).kept.item()
    assert not Filter(floor=0.81)(reward.view(1, 1)).kept.item()
