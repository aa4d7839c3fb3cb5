import math

import pytest
import torch

from r4t.grpo.monitor.history import BestWindow, FirstWindow, History


def history(values, window=2, reference=None):
    found = History(window, FirstWindow() if reference is None else reference)
    found.rows = [{} if value is None else {"x": value} for value in values]
    return found


def test_means_of_windows_leave_out_what_is_not_there():
    told = history([1.0, 3.0, math.nan, 5.0, None, math.inf])
    assert told.mean("x", 0) == 2
    assert told.mean("x", 1) == 3
    assert told.mean("x", 2) == 5
    assert math.isnan(told.now("x"))
    assert math.isnan(told.mean("y", 0))
    assert history([1.0, 3.0, 5.0]).now("x") == 4


def test_judged_once_two_windows_do_not_overlap():
    assert not history([1.0] * 3).judged
    assert history([1.0] * 4).judged


@pytest.mark.parametrize(
    "reference, sign, place",
    # Means of the windows that end before the last two: 2, 6, 7, 3 (the last would be 5.5, 9).
    [(FirstWindow(), 1, 0), (BestWindow(), 1, 2), (BestWindow(), -1, 0)],
)
def test_the_reference_never_overlaps_with_now(reference, sign, place):
    told = history([1.0, 3.0, 9.0, 5.0, 1.0, 10.0, 8.0], reference=reference)
    assert told.before("x", sign) == place


def test_the_best_window_is_not_one_without_a_value():
    assert BestWindow().place(torch.tensor([torch.nan, -3.0, -2.0])) == 2
    assert history([None, None, 1.0, 1.0, 0.0, 0.0], reference=BestWindow()).before("x", 1) == 1
