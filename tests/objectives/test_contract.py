"""Every installed objective keeps the contract; broken ones are refused in one sentence."""

import pytest
import torch

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.plugins import installed, load_objective
from r4t.sets import SetBatch


def full_batch(batch: int = 4, members: int = 5, width: int = 6) -> SetBatch:
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    mask = torch.rand(batch, members, generator=generator) < 0.7
    mask[0], mask[1] = True, False  # one whole set, one without any member
    mask[2] = torch.arange(members) == 0  # one member only
    items = torch.randint(0, 50, (batch, members), generator=generator).masked_fill(~mask, -1)
    return SetBatch(
        query=unit(batch, width),
        items=items,
        item_embeddings=unit(batch, members, width) * mask.unsqueeze(-1),
        mask=mask,
        directions=unit(batch, members, width) * mask.unsqueeze(-1),
        texts=[["words"] * int(row.sum()) for row in mask],
        pool=torch.randint(-1, 50, (batch, 8), generator=generator),
        references=torch.randint(0, 50, (batch, 3), generator=generator),
    )


@pytest.mark.parametrize("name", installed())
def test_every_installed_objective_keeps_the_contract(name):
    objective = load_objective(name)
    sets = full_batch()
    scores = objective(sets)
    low, high = objective.bounds
    assert low < high
    assert scores.shape == (4,)
    assert scores[1] == low  # no member at all
    torch.testing.assert_close(objective(sets.select(torch.tensor([3])))[0], scores[3])


class Broken(Objective):
    bounds = (0.0, 1.0)

    def __init__(self, result):
        self.result = result

    def score(self, sets):
        return self.result


@pytest.mark.parametrize(
    "result, sentence",
    [
        (torch.tensor([float("nan"), 0.5, 0.0, 0.0]), "finite scores.*found nan for query 0 of 4"),
        (torch.tensor([0.5, 0.0, 0.0, 1.5]), "within .0.0, 1.0. — found 1.5 for query 3 of 4"),
        (torch.tensor([[0.5]]), r"shape \(4,\), one score a query — found \(1, 1\)"),
        (0.5, r"shape \(4,\), one score a query — found float"),
        (torch.tensor([0.5, 0.0, float("inf"), 0.0]), "finite scores.*found inf for query 2"),
    ],
)
def test_wrong_scores_are_refused(result, sentence):
    with pytest.raises(InputError, match=sentence):
        Broken(result)(full_batch())


def test_missing_and_unknown_fields_are_named():
    sets = full_batch()
    bare = SetBatch(sets.query, sets.items, sets.item_embeddings, sets.mask)
    with pytest.raises(InputError, match=r"'coverage' needs sets with .*found sets without"):
        load_objective("coverage")(bare)

    class Odd(Broken):
        needs = frozenset({"pictures"})

    with pytest.raises(InputError, match=r"needs \['pictures'\], which no SetBatch has"):
        Odd(torch.zeros(4))(sets)
