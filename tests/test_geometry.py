"""Vendi scores by hand and against vendi-score, distinct ids against a loop."""

import json
import math
from pathlib import Path

import pytest
import torch

from r4t.geometry import cosines, distinct_first, one_of_each, vendi, vendi_without

STORED = json.loads((Path(__file__).parent / "fixtures/vendi_scores.json").read_text())


def test_orders_near_1_give_the_limit():
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    for q in (1 + 3e-16, 1 - 1e-12, 1 + 1e-9):
        assert vendi(x, q=q).item() == pytest.approx(vendi(x).item(), abs=1e-6)
    assert vendi(torch.zeros(2, 0, 4), q=math.inf).tolist() == [0, 0]


def test_eq2_vendi_by_hand():
    # Two equal rows and one orthogonal: eigenvalues of K/3 are 2/3, 1/3, 0.
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    expected = math.exp(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))
    assert vendi(rows).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("q", ["1", "2", "30", "inf"])
def test_eq2_vendi_equals_the_original_implementation(q):
    assert len(STORED) == 7
    for case in STORED:  # see fixtures/make_vendi_scores.py
        rows = torch.tensor(case["vectors"], dtype=torch.float64)
        lengths = torch.arange(1.0, len(rows) + 1).unsqueeze(1)  # which do not matter
        score = vendi(rows * lengths, q=float(q)).item()
        assert score == pytest.approx(case["scores"][q], abs=1e-12)


def test_vendi_ignores_masked_rows_order_and_scale():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(2, 4, 5, generator=generator)
    padded = torch.cat([rows, torch.randn(2, 3, 5, generator=generator)], 1)
    mask = torch.tensor([[True] * 4 + [False] * 3] * 2)
    torch.testing.assert_close(vendi(padded, mask), vendi(rows))
    torch.testing.assert_close(vendi(5 * rows.flip(1)), vendi(rows))
    assert vendi(rows, torch.zeros(2, 4, dtype=torch.bool)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0, math.inf])
def test_vendi_without_a_row_equals_that_of_the_others(q):
    """Unlike rows, near copies, copies, a zero row, more rows than dimensions, missing rows, one."""
    random = torch.Generator().manual_seed(4)
    rows = torch.randn(7, 6, 8, generator=random, dtype=torch.float64)
    rows[1] = rows[1, :1] + 1e-3 * rows[1]
    rows[2, 3:] = rows[2, :3]
    rows[3, 2] = 0
    rows[4, :, 3:] = 0
    mask = torch.ones(7, 6, dtype=torch.bool)
    mask[5, ::2] = False
    mask[6, 1:] = False
    without = vendi_without(cosines(rows, mask), mask.sum(1), q)
    for place in range(6):
        rest = mask.clone()
        rest[:, place] = False
        expected = vendi(rows, rest, q=q)[mask[:, place]]
        torch.testing.assert_close(without[mask[:, place], place], expected, atol=2e-8, rtol=0)


def test_distinct_first_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(-1, 9, (50, 20), generator=generator)
    for row, ids_row in zip(distinct_first(ids, 6).tolist(), ids.tolist()):
        slow = list(dict.fromkeys(i for i in ids_row if i >= 0))[:6]
        assert row == slow + [-1] * (6 - len(slow))


def test_one_of_each_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(0, 12, (40,), generator=generator)
    ids = torch.stack([torch.randperm(40, generator=generator)[:20] for _ in range(50)])
    ids[:, 3::7] = -1
    for row, ids_row in zip(one_of_each(ids, groups).tolist(), ids.tolist()):
        firsts = {groups[i].item(): i for i in reversed(ids_row) if i >= 0}.values()
        kept = [i for i in ids_row if i in firsts]
        slow = kept + [i for i in ids_row if i >= 0 and i not in kept]
        assert row == slow + [-1] * (20 - len(slow))
