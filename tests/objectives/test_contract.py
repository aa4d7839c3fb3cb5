"""Every installed objective keeps the contract; broken ones are refused in one sentence."""

import math

import pytest
import torch
from r4t_objectives.constraint import AtMost, Budget, MustInclude

from r4t.errors import InputError, PluginError
from r4t.objective import Objective
from r4t.plugins import installed, load_objective
from r4t.reward import Reward
from r4t.sets import Popularity, SetBatch

ITEMS, WIDTH, MEMBERS = 50, 6, 5
# What an objective is built with here, for those that cannot be built without.
ARGUMENTS = {
    "constraint": {
        "rules": [AtMost("color", 1), Budget("price", 30), MustInclude("category", "hat")]
    }
}
ASKS_A_SERVER = {"judge"}  # tests/objectives/test_judge.py
CASES = [(name, ARGUMENTS.get(name, {})) for name in installed() if name not in ASKS_A_SERVER]
CASES += [
    ("diversity", {"q": 0.5}),
    ("diversity", {"q": 2.0}),
    ("diversity", {"q": math.inf}),
    ("coverage", {"cosine": 0.5}),
    ("coherence", {"field": "color"}),
    ("coherence", {"field": "tags"}),
]
# Names and numbers alone: the address of an object would differ from one process to the next.
every_case = pytest.mark.parametrize(
    "name, arguments",
    CASES,
    ids=[
        f"{number}-{name}-{'-'.join(arguments)}" for number, (name, arguments) in enumerate(CASES)
    ],
)


@pytest.fixture
def full_sets(catalog_of, chosen):
    """Four queries with every field: a whole set, no member, one member, some with a duplicate."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    numbers = range(ITEMS)
    catalog = catalog_of(
        draw(ITEMS, WIDTH),
        category=[None if n % 9 == 8 else ("shirt", "shoe", "hat")[n % 3] for n in numbers],
        color=[("red", "blue", "green", "black", "white", "grey", "brown")[n % 7] for n in numbers],
        price=[None if n == 40 else n * 0.5 for n in numbers],
        tags=[["a", "b", "c", "d"][n % 4 : n % 5] for n in numbers],
    )
    rows = [[3, 14, 15, 9, 24], [-1] * 5, [-1, 35, -1, -1, -1], [8, -1, 32, 32, 40]]
    directions = draw(4, MEMBERS, WIDTH)
    directions[torch.tensor(rows) < 0] = 0
    return chosen(
        catalog,
        rows,
        directions=directions,
        texts=[["hat", "cap", "hat", "beach day", "sun"], [], ["", "boots"], list("abcde")],
        pool=torch.randint(-1, ITEMS, (4, 8), generator=generator),
        references=torch.tensor([[3, 7, 1], [5, 6, -1], [35, -1, -1], [1, 2, 32]]),
        query_texts=["beach day", "city", "snow", "hiking"],
        popularity=Popularity(torch.arange(ITEMS) % 11, 10),
    ).extended(query=draw(4, WIDTH))


def reordered(sets: SetBatch, order: list[int]) -> SetBatch:
    members = {
        name: getattr(sets, name)[:, order]
        for name in ("items", "item_embeddings", "mask", "directions")
    }
    texts = [[*texts, *[""] * (MEMBERS - len(texts))] for texts in sets.texts]
    return sets.extended(**members, texts=[[row[place] for place in order] for row in texts])


def padded(sets: SetBatch) -> SetBatch:
    """With one more member asked for, which is missing."""
    zeros = torch.zeros(len(sets), 1, WIDTH)
    return sets.extended(
        items=torch.cat([sets.items, torch.full((len(sets), 1), -1)], 1),
        item_embeddings=torch.cat([sets.item_embeddings, zeros], 1),
        mask=torch.cat([sets.mask, torch.zeros(len(sets), 1, dtype=torch.bool)], 1),
        directions=torch.cat([sets.directions, zeros], 1),
    )


@every_case
def test_every_installed_objective_keeps_the_contract(full_sets, name, arguments):
    objective = load_objective(name, **arguments)
    assert objective.name == name
    assert objective.needs <= full_sets.present
    scores = objective(full_sets)
    low, high = objective.bounds
    assert low < high
    assert scores.shape == (4,)
    assert scores[1] == low  # no member at all
    assert scores.unique().numel() > 1  # the sets are not alike


@every_case
def test_a_batch_scores_as_its_queries_one_by_one(full_sets, name, arguments):
    objective = load_objective(name, **arguments)
    alone = [objective(full_sets.select(torch.tensor([row]))) for row in range(4)]
    torch.testing.assert_close(objective(full_sets), torch.cat(alone))


@every_case
def test_members_have_no_order(full_sets, name, arguments):
    objective = load_objective(name, **arguments)
    turned = objective(reordered(full_sets, [3, 0, 4, 2, 1]))
    torch.testing.assert_close(turned, objective(full_sets))


@every_case
def test_a_member_more_that_is_missing_changes_what_k_changes(full_sets, name, arguments):
    objective = load_objective(name, **arguments)
    before = objective(full_sets)
    # Shares of k; the rest are means over the members that are there. In complementarity the
    # divisor log(min(k, V)) stays: the catalog has V = 3 < 5 categories.
    of_k = {"diversity": 5 / 6, "distinctness": 5 / 6}
    after = before * of_k.get(name, 1)
    if name == "prompt_format":
        # One of its four shares is that of the sub-queries written: 5, -, 1 and 5 of k.
        written = torch.tensor([5.0, 0, 1, 5])
        after = before - (written / 5 - written / 6) / 4
    if name == "coherence":  # 10 pairs of 15 are left, which lifts nothing below 0
        after = torch.minimum(before, before * 10 / 15)
    torch.testing.assert_close(objective(padded(full_sets)), after)


@every_case
def test_gradients_flow_where_they_are_declared(full_sets, name, arguments):
    objective = load_objective(name, **arguments)
    sets = full_sets.select(torch.tensor([0, 2]))  # no duplicates: λ log λ has no slope at λ = 0
    fields = ("query", "directions", "item_embeddings")
    tensors = [getattr(sets, field).double().requires_grad_() for field in fields]

    def score(*values):
        return objective(sets.extended(**dict(zip(fields, values))))

    if objective.differentiable:
        assert torch.autograd.gradcheck(score, tensors)
        assert any(
            gradient is not None and gradient.abs().sum() > 0
            for gradient in torch.autograd.grad(score(*tensors).sum(), tensors, allow_unused=True)
        )
    else:
        assert not score(*tensors).requires_grad


def test_gradients_of_diversity_are_finite_at_duplicates(full_sets):
    items = full_sets.item_embeddings.clone().requires_grad_()
    for q in (0.5, 1.0, 2.0, math.inf):
        score = load_objective("diversity", q=q)(full_sets.extended(item_embeddings=items))
        (gradient,) = torch.autograd.grad(score.sum(), items)
        assert gradient.isfinite().all()
        assert (gradient[~full_sets.mask] == 0).all()


class Broken(Objective):
    bounds = (0.0, 1.0)

    def __init__(self, result):
        self.result = result

    def score(self, sets):
        return self.result


@pytest.mark.parametrize(
    "result, sentence",
    [
        (torch.tensor([0.0, 0.5, 0.0, math.nan]), "finite.*found nan for query 3 of 4 .'hiking'"),
        (torch.tensor([0.5, 0.0, 0.0, 1.5]), "within .0.0, 1.0. — found 1.5 for query 3 of 4"),
        (torch.tensor([[0.5]]), r"shape \(4,\), one score a query — found \(1, 1\)"),
        (0.5, r"shape \(4,\), one score a query — found float"),
        (torch.tensor([0.5, 0.0, float("inf"), 0.0]), "finite scores.*found inf for query 2"),
    ],
)
def test_wrong_scores_are_refused(full_sets, result, sentence):
    with pytest.raises(InputError, match=f"Objective 'broken' must return .*{sentence}"):
        Broken(result)(full_sets)


def test_nan_may_mean_not_scored_where_it_is_declared(full_sets):
    class Unsure(Broken):
        partial = True

    scores = Unsure(torch.tensor([math.nan, math.nan, 1.0, 0.5]))(full_sets)
    assert scores[0].isnan()
    assert scores[1:].tolist() == [0.0, 1.0, 0.5]  # without a member: the lower bound


def test_what_a_class_declares_is_checked_before_any_work():
    class Declares(Broken):
        pass

    for attribute, value, sentence in (
        ("bounds", (1.0, 0.0), r"lowest and highest score, both finite — found \(1.0, 0.0\)"),
        ("bounds", (0.0, float("inf")), r"both finite — found \(0.0, inf\); write"),
        ("bounds", 1.0, r"both finite — found 1.0; write for instance bounds = \(0.0, 1.0\)"),
        ("needs", ["directions"], r"needs as a set of field names — found \['directions'\]"),
        ("needs", {"direction"}, r"needs \['direction'\], which no SetBatch has"),
    ):
        wrong = Declares(torch.zeros(4))
        setattr(wrong, attribute, value)
        with pytest.raises(InputError, match=sentence):
            Reward({"declares": 1.0}, {"declares": wrong})


def test_what_a_score_raises_is_the_cause(full_sets):
    class Raises(Broken):
        def score(self, sets):
            raise KeyError("season")

    with pytest.raises(
        PluginError, match=r"'raises' of .* could not score .KeyError: 'season'"
    ) as caught:
        Raises(None)(full_sets)
    assert isinstance(caught.value.__cause__, KeyError)


def test_missing_and_unknown_fields_are_named(full_sets):
    bare = SetBatch(full_sets.query, full_sets.items, full_sets.item_embeddings, full_sets.mask)
    with pytest.raises(InputError, match=r"'coverage' needs sets with .*found sets without"):
        load_objective("coverage")(bare)

    class Odd(Broken):
        needs = frozenset({"pictures"})

    with pytest.raises(InputError, match=r"needs \['pictures'\], which no SetBatch has"):
        Odd(torch.zeros(4))(full_sets)
