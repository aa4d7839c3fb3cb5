import math

import pytest
import torch

from r4t.errors import InputError
from r4t.objective import load_objective
from r4t.sets import Popularity

# Of S = 7 training sets, item 0 is in all, item 1 in 3, item 2 in 1, item 3 in none.
POPULARITY = Popularity(counts=torch.tensor([7, 3, 1, 0]), sets=7)


def test_novelty_by_hand(catalog_of, chosen):
    catalog = catalog_of(torch.eye(4))
    rows = [[0, 0], [3, 3], [1, 2], [1, -1], [-1, -1]]
    sets = chosen(catalog, rows, popularity=POPULARITY)
    # p = 8/8, 4/8, 2/8, 1/8: 0, 1, 2 and 3 bits of log2(8) = 3.
    expected = [0, 1, (1 / 3 + 2 / 3) / 2, 1 / 3, 0]
    assert load_objective("novelty")(sets).tolist() == pytest.approx(expected)


def test_novelty_is_self_information_in_any_base(catalog_of, chosen):
    sets = chosen(catalog_of(torch.eye(4)), [[1, 2, 3]], popularity=POPULARITY)
    information = [-math.log((count + 1) / 8) for count in (3, 1, 0)]
    expected = sum(information) / 3 / math.log(8)
    assert load_objective("novelty")(sets).item() == pytest.approx(expected)


def test_novelty_needs_a_training_set(catalog_of, chosen):
    sets = chosen(catalog_of(torch.eye(2)), [[0]], popularity=Popularity(torch.zeros(2), 0))
    with pytest.raises(InputError, match="at least one training set .* found 0. Write training q"):
        load_objective("novelty")(sets)
