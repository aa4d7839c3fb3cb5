import pytest

from r4t.objective import load_objective


def test_eq4_alignment_by_hand(sets_from):
    # The query is (1, 0); cosines 1, 0.6 and (masked) -1: mean 0.8.
    sets = sets_from([[[1, 0], [0.6, 0.8], [-1, 0]]], [[[1, 0]] * 3], mask=[[True, True, False]])
    assert load_objective("alignment")(sets).item() == pytest.approx(0.8)
