"""Credit of members by hand, against slow references, and the gradient that it gives."""

from itertools import combinations, permutations, product
from math import comb

import pytest
import torch

from r4t.credit import LeaveOneOut, Shapley, WholeSet, best_start, marginals, part, smaller_sets
from r4t.errors import InputError
from r4t.geometry import take_turns
from r4t.objective import Objective, load_objective
from r4t.reward import Ramp, Reward
from r4t.sets import SetBatch
from r4t.testing import example_sets


def sets_of(items, width=4, **fields):
    """Sets of the items (B, k), −1 for a missing one; item i has the unit vector i mod ``width``."""
    items = torch.tensor(items)
    mask = items >= 0
    vectors = torch.eye(width)[items.clamp(min=0) % width] * mask.unsqueeze(-1)
    query = torch.eye(width)[:1].expand(len(items), -1)
    return SetBatch(query, items, vectors, mask, **{"directions": vectors, **fields})


class Kinds(Objective):
    """Number of different items, of three at most, as a share of 3: has no marginals of its own."""

    bounds = (0.0, 1.0)

    def score(self, sets):
        rows = [{i for i in row if i >= 0} for row in sets.items.tolist()]
        return torch.tensor([min(len(row), 3) / 3 for row in rows])


class Mean(Objective):
    """Mean of item / 10 over the members."""

    bounds = (0.0, 1.0)
    averages = True

    def score(self, sets):
        return (sets.items * sets.mask / 10).sum(1) / sets.mask.sum(1).clamp(min=1)


def credit_of(credit, objective, sets, weight=1.0):
    reward = Reward({"it": weight}, {"it": objective})
    return credit(reward, sets, reward.components(sets))


def test_leave_one_out_by_hand():
    # Items 1, 2, 1: without the 2 one kind remains (2/3 to 1/3), without either 1 two remain.
    # One member: 1/3 minus the lower bound 0. Four kinds: the fourth is not needed, so none is.
    sets = sets_of([[1, 2, 1, -1], [3, -1, -1, -1], [0, 1, 2, 3], [-1, -1, -1, -1]])
    credit = credit_of(LeaveOneOut(), Kinds(), sets, weight=3.0)
    nan = torch.nan
    expected = [[0, 1, 0, nan], [1, nan, nan, nan], [0, 0, 0, 0], [nan] * 4]
    torch.testing.assert_close(credit, torch.tensor(expected), equal_nan=True)
    whole = credit_of(WholeSet(), Kinds(), sets, weight=3.0)
    expected = [[2, 2, 2, nan], [1, nan, nan, nan], [3, 3, 3, 3], [nan] * 4]
    torch.testing.assert_close(whole, torch.tensor(expected), equal_nan=True)


def test_a_mean_pays_each_member_its_own_value_so_that_length_does_not_matter():
    sets = sets_of([[2, 6, -1], [4, -1, -1]])
    credit = credit_of(LeaveOneOut(), Mean(), sets)
    # Values .2 and .6, and .4 alone, above 0 and over k = 3, however many are there. Leave-one-out
    # itself would give −.2 and +.2: the member below the mean would have to go.
    nan = torch.nan
    torch.testing.assert_close(
        credit, torch.tensor([[0.2, 0.6, nan], [0.4, nan, nan]]) / 3, equal_nan=True
    )
    losses = marginals(Mean(), sets, Mean()(sets))
    torch.testing.assert_close(losses, torch.tensor([[-0.2, 0.2, 0.0], [0.4, 0.0, 0.0]]))
    assert torch.equal(credit_of(Shapley(), Mean(), sets)[sets.mask], credit[sets.mask])


def test_a_mean_of_costs_pays_to_write_one_more():
    """Costs are negative: a member is worth more than none, however bad, so that lists do not shrink."""

    class Cost(Mean):
        bounds = (-1.0, 0.0)

        def score(self, sets):
            return super().score(sets) - 1

    sets = sets_of([[2, 6, -1], [4, -1, -1]])
    found, mean = (credit_of(LeaveOneOut(), each(), sets) for each in (Cost, Mean))
    torch.testing.assert_close(found, mean, equal_nan=True)


@pytest.mark.parametrize("name", ["alignment", "groundedness", "diversity", "distinctness"])
def test_leave_one_out_agrees_with_a_slow_loop(name):
    objective, sets = load_objective(name), example_sets(1)
    credit = LeaveOneOut().of_objective(objective, sets, objective(sets))
    for row, place in sets.mask.nonzero().tolist():
        kept = sets.mask[row].clone()
        kept[place] = False
        smaller = sets.select(torch.tensor([row])).extended(
            mask=kept.unsqueeze(0), items=sets.items[row].masked_fill(~kept, -1).unsqueeze(0)
        )
        loss = (objective(sets)[row] - objective(smaller)[0]).item()
        count = int(sets.mask[row].sum())
        if objective.averages:
            score = objective(sets)[row].item() - objective.bounds[0]
            value = score + (count - 1) * loss if count > 1 else score
            loss = value / sets.set_size
        assert credit[row, place].item() == pytest.approx(loss, abs=1e-5)


def use_orders(monkeypatch, orders):
    """Let Shapley go through these orders of places, in every set."""

    def fixed(self, sets):
        return [torch.tensor(order).expand(len(sets), -1) for order in orders]

    monkeypatch.setattr(Shapley, "_orders", fixed)


def test_shapley_is_the_mean_over_all_orders(monkeypatch):
    use_orders(monkeypatch, list(permutations(range(3))))
    sets = sets_of([[1, 2, 1], [0, 3, 2]])
    credit = credit_of(Shapley(), Kinds(), sets, weight=3.0)
    # The two equal items share one kind: a half each. Leave-one-out gives them nothing.
    torch.testing.assert_close(credit, torch.tensor([[0.5, 1.0, 0.5], [1.0, 1.0, 1.0]]))


class Table(Objective):
    """Any number from 0 to 1 for any part of the items 0 to 5, far above the lower bound.

    Counts the sets that it scores.
    """

    def __init__(self, low=-3.0):
        self.bounds, self.scored = (low, 1.0), 0
        self.values = torch.rand(2**6, generator=torch.Generator().manual_seed(4))

    def score(self, sets):
        assert len(sets) > 0
        self.scored += len(sets)
        return self.values[self.codes(sets)]

    def codes(self, sets):
        return (2 ** sets.items.clamp(min=0) * sets.mask).sum(1)


class FastTable(Table):
    """Knows what a set loses without a member."""

    def marginals(self, sets):
        codes = self.codes(sets).unsqueeze(1)
        smaller = codes - 2 ** sets.items.clamp(min=0) * sets.mask
        without = torch.where(smaller == 0, self.bounds[0], self.values[smaller])
        return self.values[codes] - without


def brute_force(table, items):
    """The formula: the mean over sizes of the mean addition to the parts of the others of that size."""

    def value(part):
        return table.values[sum(2**item for item in part)].item() if part else table.bounds[0]

    credits = []
    for item in items:
        others, total = [each for each in items if each != item], 0.0
        for size in range(len(items)):
            added = sum(value((*p, item)) - value(p) for p in combinations(others, size))
            total += added / comb(len(others), size)
        credits.append(total / len(items))
    return credits


@pytest.mark.parametrize("table", [Table(), FastTable()])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_shapley_over_all_orders_is_exact_and_a_few_orders_are_so_on_average(
    count, table, monkeypatch
):
    items = [3, 0, 5, 1, 4][:count]
    expected = torch.tensor(brute_force(table, items))
    orders = list(permutations(range(count)))
    sets = sets_of([items])
    use_orders(monkeypatch, orders)
    credit = credit_of(Shapley(), table, sets)[0]
    torch.testing.assert_close(credit, expected, atol=1e-5, rtol=0)
    found = []
    for order in orders:
        use_orders(monkeypatch, [order, order[::-1]])
        found.append(credit_of(Shapley(), table, sets)[0])
        total = table(sets).item() - table.bounds[0]
        assert found[-1].sum().item() == pytest.approx(total, abs=1e-5)
    torch.testing.assert_close(torch.stack(found).mean(0), expected, atol=1e-5, rtol=0)


def test_shapley_ignores_missing_members():
    whole = sets_of([[3, 0, 5], [3, 0, 5]])
    sets = sets_of([[3, -1, 0, 5], [-1, -1, -1, -1], [2, -1, -1, -1], [1, -1, 4, -1]])
    credit = credit_of(Shapley(permutations=3), Table(), sets)
    assert torch.equal(credit.isnan(), ~sets.mask)
    total = credit.nan_to_num().sum(1)
    torch.testing.assert_close(total, Table()(sets) + 3.0)  # 0 for the empty set
    many = Shapley(permutations=400)
    exact = torch.tensor(brute_force(Table(), [3, 0, 5]))
    for found in (credit_of(many, Table(), sets)[0, [0, 2, 3]], credit_of(many, Table(), whole)[1]):
        torch.testing.assert_close(found, exact, atol=0.03, rtol=0)
    # Two members: an order and its reverse are all orders.
    torch.testing.assert_close(
        credit[3, [0, 2]], torch.tensor(brute_force(Table(), [1, 4])), atol=1e-5, rtol=0
    )


def test_a_lower_bound_far_away_adds_the_same_to_each_member():
    sets = sets_of([[3, 0, 5, 1], [2, 4, 0, 1]])
    near, far = (credit_of(Shapley(permutations=1), Table(low), sets) for low in (0.0, -100.0))
    torch.testing.assert_close(far, near + 100 / 4, atol=1e-4, rtol=0)


class Size(Objective):
    """Value .5, .8 or .9 of one, two or three members."""

    bounds = (-1.0, 1.0)

    def score(self, sets):
        return torch.tensor([0.0, 0.5, 0.8, 0.9])[sets.mask.sum(1)]


def test_the_start_of_shapley_by_hand():
    # First .5 − start, then .3 and .1. First and last pay what two middle places pay, .6, if the
    # start is 0. So each order with its reverse gives every member .6 / 2, and 1/3 more as the lower
    # bound is −1: (.9 + 1) / 3 each. From the lower bound the middle member would get .3 and others .8.
    alone, losses = torch.full((1, 3), 0.5), torch.full((1, 3), 0.1)
    start = best_start(torch.tensor([0.9]), alone, losses, torch.ones(1, 3, dtype=torch.bool))
    assert start.item() == pytest.approx(0.0, abs=1e-6)
    credit = credit_of(Shapley(permutations=1), Size(), sets_of([[1, 2, 3]]))
    torch.testing.assert_close(credit, torch.full((1, 3), 1.9 / 3))


def test_no_other_start_gives_shapley_credits_of_less_variance(monkeypatch):
    """Exactly, over all orders: credits are linear in the start, and uncorrelated with its factor."""
    sets, places = sets_of([[3, 0, 5, 1, 4]]), range(5)
    credits, factors = [], []
    for order in permutations(places):
        use_orders(monkeypatch, [order, order[::-1]])
        credits.append(credit_of(Shapley(), Table(), sets)[0])
        ends = torch.tensor([float(place in (order[0], order[-1])) for place in places])
        factors.append(1 / 5 - ends / 2)  # by how much credit rises if the start rises by 1
    credits, factors = torch.stack(credits), torch.stack(factors)
    spread = credits - credits.mean(0)
    assert spread.square().mean() > 1e-3
    assert (spread * factors).sum(1).mean().item() == pytest.approx(0.0, abs=1e-5)


def test_shapley_credits_sum_to_the_score_above_the_lower_bound():
    for name in ("diversity", "specific_coverage"):
        sets, objective = example_sets(2), load_objective(name)
        credit = Shapley(permutations=3, seed=5).of_objective(objective, sets, objective(sets))
        above = objective(sets) - objective.bounds[0]
        torch.testing.assert_close(credit.sum(1), above, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="permutations to be at least 1, but found 0"):
        Shapley(permutations=0)


def test_shapley_scores_single_members_and_all_but_one_once():
    # k = 5, 3 orders with their reverses: 5 single members, 5 times all but one (none if the objective
    # knows), and 2 parts of 2 and 3 members in each of 6 orders.
    sets = sets_of([[3, 0, 5, 1, 4]])
    for table, expected in ((Table(), 5 + 5 + 12), (FastTable(), 5 + 12)):
        Shapley(permutations=3).of_objective(table, sets, torch.tensor([0.5]))
        assert table.scored == expected


def test_orders_depend_on_step_query_and_number_of_the_set_alone():
    items = [[3, 0, 5, 1, 4]] * 4
    sets = sets_of(items, query_texts=["shoes", "hats", "shoes", "hats"])
    credit, table = Shapley(permutations=2, seed=7), Table()
    scores, reward = {"it": table(sets)}, Reward({"it": 1.0}, {"it": table})

    def at(step, sets=sets, credit=credit):
        return credit(reward, sets, {"it": scores["it"][: len(sets)]}, step)

    first = at(3)
    assert torch.equal(first, at(3, credit=Shapley(permutations=2, seed=7)))  # a resumed run
    assert torch.equal(first[[0, 2]], at(3, sets.select(torch.tensor([0, 2]))))  # one of two ranks
    assert torch.equal(first[[1, 3]], at(3, sets.select(torch.tensor([1, 3]))))
    others = [at(4), at(None), at(3, credit=Shapley(permutations=2, seed=8))]
    assert not any(torch.equal(first, other) for other in others)
    assert len({tuple(row) for row in first.tolist()}) == 4
    untold = at(3, sets.extended(query_texts=None))
    assert torch.equal(untold, at(3, sets.extended(query_texts=None)))
    assert len({tuple(row) for row in untold.tolist()}) == 4


def test_a_pool_is_what_the_other_directions_retrieve():
    # Directions rank (0, 1, 2) and (0, 3, 4); in turn: 0, 1, 3. Alone they give 0, 1, 2 and 0, 3, 4.
    rankings = torch.tensor([[[0, 1, 2], [0, 3, 4]]])
    sets = sets_of(
        [[0, 0]], rankings=rankings, pool=take_turns(rankings, 3), references=torch.tensor([[1, 3]])
    )
    assert sets.pool.tolist() == [[0, 1, 3]]
    credit = credit_of(LeaveOneOut(), load_objective("coverage"), sets)
    assert credit.tolist() == [[0.5, 0.5]]
    with pytest.raises(
        InputError, match="rankings that their pool was made of, but found a pool alone"
    ):
        part(sets.extended(rankings=None), torch.tensor([0]), torch.tensor([[True, False]]))


def test_parts_have_their_members_first_and_their_own_texts():
    sets = example_sets(0)
    (one,) = [part(sets, torch.tensor([3]), torch.tensor([[False, False, True, True, False]]))]
    assert one.items.tolist() == [[*sets.items[3, 2:4].tolist(), -1, -1, -1]]
    assert one.texts == [["c", "d"]]
    assert torch.equal(one.directions[0, :2], sets.directions[3, 2:4])
    assert not one.directions[0, 2:].any()
    assert one.query_texts == [sets.query_texts[3]]
    assert torch.equal(one.rankings[0, :2], sets.rankings[3, 2:4])


class Moody(Kinds):
    """Scores nothing that holds item 2."""

    partial = True

    def score(self, sets):
        return torch.where((sets.items == 2).any(1), torch.nan, super().score(sets))


def test_what_a_partial_objective_cannot_score_has_no_credit():
    sets = sets_of([[1, 2, -1], [1, 3, -1]])
    credit = credit_of(LeaveOneOut(), Moody(), sets)
    assert credit[0].isnan().all()
    torch.testing.assert_close(credit[1, :2], torch.full((2,), 1 / 3))
    # In an order that ends with item 2, item 1 adds 1/3 to nothing; what follows is not known.
    shapley = credit_of(Shapley(permutations=8), Moody(), sets)
    assert shapley[0, 0].item() == pytest.approx(1 / 3)
    assert shapley[0, 1].isnan()


class Greedy(Kinds):
    """Forgets its bounds when a member is missing."""

    def score(self, sets):
        return super().score(sets) + 5.0 * (~sets.mask).any(1)


def test_an_objective_that_leaves_its_bounds_without_a_member_is_named():
    message = "'greedy' to score a set without some of its members.*within .0.0, 1.0.*WholeSet"
    with pytest.raises(InputError, match=message):
        credit_of(LeaveOneOut(), Greedy(), sets_of([[1, 2, 3]]))


class Misshapen(Kinds):
    def marginals(self, sets):
        return torch.zeros(len(sets))


def test_marginals_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"'misshapen' of shape \(1, 3\), but found \(1,\)"):
        credit_of(LeaveOneOut(), Misshapen(), sets_of([[1, 2, 3]]))


class Silent(Kinds):
    def score(self, sets):
        raise AssertionError("asked")


def test_weights_follow_the_step_and_audited_objectives_are_not_asked():
    sets = sets_of([[1, 2, 3]])
    reward = Reward(
        {"kinds": Ramp(0.0, 3.0, 10), "audit": 0.0}, {"kinds": Kinds(), "audit": Silent()}
    )
    components = {"kinds": Kinds()(sets), "audit": torch.zeros(1)}
    assert LeaveOneOut()(reward, sets, components, 0).tolist() == [[0.0, 0.0, 0.0]]
    assert LeaveOneOut()(reward, sets, components, 5)[0].tolist() == pytest.approx([0.5] * 3)


def gradients(credit, probabilities):
    """Each set of three independent members (of 4 items), its chance, and its gradient estimate.

    Logits (3, 4) of the members; the gradient of log π for the item chosen is one-hot minus π.
    """
    chances, estimates = [], []
    for chosen in product(range(4), repeat=3):
        sets = sets_of([list(chosen)])
        members = credit_of(credit, Kinds(), sets)[0].double()
        score = torch.eye(4, dtype=torch.float64)[list(chosen)] - probabilities
        estimates.append((members.unsqueeze(1) * score).flatten())
        chances.append(probabilities[range(3), list(chosen)].prod())
    return torch.stack(chances), torch.stack(estimates)


def test_leave_one_out_has_the_gradient_of_the_set_reward_with_less_variance():
    """Exactly, over all 64 sets: the mean is the gradient of E f(S), as docs/tuning.md derives."""
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    logits.requires_grad_()
    log_probs = logits.log_softmax(1)
    expected = torch.zeros((), dtype=torch.float64)
    for chosen in product(range(4), repeat=3):
        value = Kinds()(sets_of([list(chosen)]))[0].double()
        expected = expected + log_probs[range(3), list(chosen)].sum().exp() * value
    (truth,) = torch.autograd.grad(expected, logits)
    spread = {}
    for credit in (WholeSet(), LeaveOneOut()):
        chances, estimates = gradients(credit, log_probs.exp().detach())
        mean = chances @ estimates
        torch.testing.assert_close(mean, truth.flatten(), atol=1e-6, rtol=0)
        spread[type(credit)] = (chances @ (estimates - mean).square()).sum().item()
    assert spread[LeaveOneOut] < 0.35 * spread[WholeSet]


def test_generic_marginals_ignore_sets_of_no_member():
    sets = example_sets(0)
    losses = smaller_sets(load_objective("diversity"), sets, load_objective("diversity")(sets))
    assert (losses[~sets.mask] == 0).all()
