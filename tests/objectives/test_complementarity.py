import math

import pytest
import torch

from r4t.errors import InputError
from r4t.objective import load_objective


@pytest.fixture
def catalog(catalog_of):
    kinds = ["shirt", "shirt", "shoe", "shoe", "hat", None]
    return catalog_of(torch.eye(6), category=kinds, one=["x"] * 6, none=[None] * 5 + ["x"])


def test_complementarity_by_hand(catalog, chosen):
    rows = [
        [0, 1, 0, 1],  # one slot
        [0, 2, 4, -1],  # each slot once, one member missing
        [0, 1, 2, 3],  # two slots evenly
        [0, 1, 2, 4],  # shares 1/2, 1/4, 1/4
        [0, 2, 5, 5],  # two slots; the item without a category fills none
        [5, 5, -1, -1],  # no slot
        [3, -1, -1, -1],
        [-1, -1, -1, -1],
    ]
    # log(min(k, V)) = log(min(4, 3)) = log 3.
    uneven = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(3)
    half = math.log(2) / math.log(3)
    expected = [0, 1, half, uneven, half, 0, 0, 0]
    scores = load_objective("complementarity")(chosen(catalog, rows))
    assert scores.tolist() == pytest.approx(expected)


def test_complementarity_of_few_members_is_scaled_by_their_number(catalog, chosen):
    # k = 2 of three values: log(min(2, 3)) = log 2, so two slots are the most.
    scores = load_objective("complementarity")(chosen(catalog, [[0, 2], [0, 1], [0, -1]]))
    assert scores.tolist() == pytest.approx([1, 0, 0])


@pytest.mark.parametrize(
    "field, rows", [("one", [[0, 1]]), ("none", [[0, 5]]), ("category", [[0]])]
)
def test_it_is_0_if_nothing_can_differ(catalog, chosen, field, rows):
    # One value in the catalog; one value and missing ones; one member asked for.
    assert load_objective("complementarity", field=field)(chosen(catalog, rows)).item() == 0


def test_entropy_equals_a_loop(catalog_of, chosen):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 5, (40,), generator=generator).tolist()
    catalog = catalog_of(torch.randn(40, 3, generator=generator), category=values)
    rows = torch.randint(-1, 40, (30, 8), generator=generator).tolist()
    expected = []
    for row in rows:
        filled = [values[item] for item in row if item >= 0]
        shares = [filled.count(value) / len(filled) for value in set(filled)]
        expected.append(-sum(p * math.log(p) for p in shares) / math.log(5))
    scores = load_objective("complementarity")(chosen(catalog, rows))
    assert scores.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_field_that_does_not_exist_is_named_with_its_nearest(catalog, chosen):
    with pytest.raises(InputError, match=r"found 'categry'\. .* Did you mean 'category'\?"):
        load_objective("complementarity", field="categry")(chosen(catalog, [[0, 1]]))
