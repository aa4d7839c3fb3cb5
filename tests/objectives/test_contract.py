"""Every installed objective keeps the contract; broken ones are refused by name."""

import math

import pytest
import torch
from r4t_objectives.constraint import AtMost, Budget, MustInclude

from r4t.errors import InputError, PluginError
from r4t.objective import Objective, load_objective
from r4t.plugins import OBJECTIVES, installed
from r4t.reward import Reward
from r4t.sets import SetBatch
from r4t.testing import check_objective, example_sets

# Arguments for objectives that cannot be built without any.
ARGUMENTS = {
    "constraint": {
        "rules": [AtMost("color", 1), Budget("price", 30), MustInclude("category", "hat")]
    }
}
# In tests/objectives/test_NAME.py: one asks a server, two need a wardrobe.
TESTED_THERE = {"judge", "shopper", "fit"}
CASES = [
    (name, ARGUMENTS.get(name, {})) for name in installed(OBJECTIVES) if name not in TESTED_THERE
]
CASES += [
    ("diversity", {"q": 0.5}),
    ("diversity", {"q": 2.0}),
    ("diversity", {"q": math.inf}),
    ("coverage", {"cosine": 0.5}),
    ("coherence", {"field": "color"}),
    ("coherence", {"field": "tags"}),
]
# Only names and numbers, because the address of an object differs between processes.
every_case = pytest.mark.parametrize(
    "name, arguments",
    CASES,
    ids=[
        f"{number}-{name}-{'-'.join(arguments)}" for number, (name, arguments) in enumerate(CASES)
    ],
)


@pytest.fixture
def full_sets():
    """Four queries with every field: a whole set, no member, one member, and a duplicate."""
    return example_sets()


# How one more missing member changes a score. These are shares of k; all others are means over the
# members present. Complementarity keeps its divisor log(min(k, V)): the catalog has V = 3 < 5 categories.
def share_of_k(scores, sets):
    return torch.where(sets.mask.any(-1), scores * 5 / 6, scores)


def pairs_of_k(scores, sets):
    """10 of 15 pairs are left, which does not raise a negative score."""
    return torch.minimum(scores, scores * 10 / 15)


def written_of_k(scores, sets):
    """One of the four shares counts the sub-queries written: 5, -, 1 and 5 of k."""
    written = torch.tensor([5.0, 0, 1, 5])
    return scores - (written / 5 - written / 6) / 4


def evidence_of_k(scores, sets):
    """The sum of the members is divided by k + 1 = 6 instead of 5, as at a higher temperature."""
    return load_objective("specificity", temperature=0.05 * 6 / 5)(sets)


PADDED = {
    "diversity": share_of_k,
    "distinctness": share_of_k,
    "coherence": pairs_of_k,
    "prompt_format": written_of_k,
    "specificity": evidence_of_k,
}


@every_case
def test_every_installed_objective_keeps_the_contract(name, arguments):
    unchanged = lambda scores, sets: scores  # noqa: E731
    check_objective(name, arguments=arguments, padded=PADDED.get(name, unchanged))


@every_case
def test_names_lower_bounds_and_fields(full_sets, name, arguments):
    objective = load_objective(name, **arguments)
    assert objective.name == name
    assert objective.needs <= full_sets.present
    scores = objective(full_sets)
    low, high = objective.bounds
    assert low < high
    assert scores.shape == (4,)
    assert scores[1] == low  # no member


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
        (torch.tensor([0.5, 0.0, 0.0, 1.5]), "within .0.0, 1.0., but found 1.5 for query 3 of 4"),
        (torch.tensor([[0.5]]), r"shape \(4,\), one score per query, but found \(1, 1\)"),
        (0.5, r"shape \(4,\), one score per query, but found float"),
        (torch.tensor([0.5, 0.0, float("inf"), 0.0]), "finite scores.*found inf for query 2"),
    ],
)
def test_wrong_scores_are_refused(full_sets, result, sentence):
    with pytest.raises(InputError, match=f"objective 'broken' to return .*{sentence}"):
        Broken(result)(full_sets)


def test_a_partial_objective_may_return_nan(full_sets):
    class Unsure(Broken):
        partial = True

    scores = Unsure(torch.tensor([math.nan, math.nan, 1.0, 0.5]))(full_sets)
    assert scores[0].isnan()
    assert scores[1:].tolist() == [0.0, 1.0, 0.5]  # without a member: the lower bound


def test_declarations_are_checked_before_any_work():
    class Declares(Broken):
        pass

    for attribute, value, sentence in (
        ("bounds", (1.0, 0.0), r"declare bounds, two finite .* but found \(1.0, 0.0\)"),
        ("bounds", (0.0, float("inf")), r"the lower first, but found \(0.0, inf\)\. Write"),
        ("bounds", 1.0, r"but found 1.0\. Write, for example, bounds = \(0.0, 1.0\)"),
        ("needs", ["directions"], r"needs as a set of field names, but found \['directions'\]"),
        ("needs", {"direction"}, r"found \['direction'\] in its needs.* mean 'directions'\?"),
    ):
        wrong = Declares(torch.zeros(4))
        setattr(wrong, attribute, value)
        with pytest.raises(InputError, match=sentence):
            Reward({"declares": 1.0}, {"declares": wrong})


def test_an_error_in_score_is_the_cause(full_sets):
    class Raises(Broken):
        def score(self, sets):
            raise KeyError("season")

    with pytest.raises(
        PluginError, match=r"'raises' of .* to score the sets, but found KeyError: 'season'"
    ) as caught:
        Raises(None)(full_sets)
    assert isinstance(caught.value.__cause__, KeyError)


def test_missing_and_unknown_fields_are_named(full_sets):
    bare = SetBatch(full_sets.query, full_sets.items, full_sets.item_embeddings, full_sets.mask)
    with pytest.raises(
        InputError, match=r"sets with .* for objective 'coverage', but found sets without"
    ):
        load_objective("coverage")(bare)

    class Odd(Broken):
        needs = frozenset({"pictures"})

    with pytest.raises(
        InputError, match=r"fields of SetBatch, but found \['pictures'\] in its needs"
    ):
        Odd(torch.zeros(4))(full_sets)
