import math

import pytest

from r4t.objective import load_objective


def test_eq3_groundedness_by_hand(sets_from):
    # Distances 0 and sqrt(2): 1 - (0 + 1.41421)/2 = 0.29289.
    sets = sets_from([[[1, 0], [1, 0]]], [[[1, 0], [0, 1]]])
    assert load_objective("groundedness")(sets).item() == pytest.approx(1 - math.sqrt(2) / 2)
    # Opposite to its nearest item: distance 2, the lower bound.
    sets = sets_from([[[1, 0]]], [[[-1, 0]]])
    assert load_objective("groundedness")(sets).item() == pytest.approx(-1.0)


def test_eq3_groundedness_ignores_missing_members(sets_from):
    sets = sets_from([[[1, 0], [0, 0]]], [[[1, 0], [0, 0]]], mask=[[True, False]])
    assert load_objective("groundedness")(sets).item() == pytest.approx(1.0)
