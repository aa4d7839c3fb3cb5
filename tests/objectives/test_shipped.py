"""The four shipped objectives by hand; the numbers in the names are the paper's equations."""

import math

import pytest
import torch

from r4t.errors import InputError
from r4t.plugins import load_objective


def test_eq3_groundedness_by_hand(sets_from):
    # Distances 0 and sqrt(2): 1 - (0 + 1.41421)/2 = 0.29289.
    sets = sets_from([[[1, 0], [1, 0]]], [[[1, 0], [0, 1]]])
    assert load_objective("groundedness")(sets).item() == pytest.approx(1 - math.sqrt(2) / 2)
    # Opposite to its nearest item: distance 2, the lower bound.
    sets = sets_from([[[1, 0]]], [[[-1, 0]]])
    assert load_objective("groundedness")(sets).item() == pytest.approx(-1.0)


def test_eq3_groundedness_counts_members_that_are_there(sets_from):
    sets = sets_from([[[1, 0], [0, 0]]], [[[1, 0], [0, 0]]], mask=[[True, False]])
    assert load_objective("groundedness")(sets).item() == pytest.approx(1.0)


def test_eq2_diversity_is_vendi_over_the_members_asked_for(sets_from):
    orthogonal = [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]
    diversity = load_objective("diversity")
    assert diversity(sets_from(orthogonal, orthogonal)).item() == pytest.approx(1.0)
    same = [[[1, 0, 0, 0]] * 4]
    assert diversity(sets_from(same, same)).item() == pytest.approx(0.25)
    # Two of four missing: Vendi 2 of the two that are there, over 4.
    mask = [[True, True, False, False]]
    assert diversity(sets_from(orthogonal, orthogonal, mask)).item() == pytest.approx(0.5)


def test_eq4_alignment_by_hand(sets_from):
    # The query is (1, 0); cosines 1, 0.6 and (masked) -1: mean 0.8.
    sets = sets_from([[[1, 0], [0.6, 0.8], [-1, 0]]], [[[1, 0]] * 3], mask=[[True, True, False]])
    assert load_objective("alignment")(sets).item() == pytest.approx(0.8)


def test_eq5_coverage_by_hand(sets_from):
    sets = sets_from(
        [[[1, 0]]] * 2,
        [[[1, 0]]] * 2,
        pool=torch.tensor([[3, 9, 4, -1], [1, 2, -1, -1]]),
        references=torch.tensor([[9, 3, 7], [5, -1, -1]]),
    )
    # 2 of {9, 3, 7} are in {3, 9, 4}; none of {5}; the padding -1 matches nothing.
    assert load_objective("coverage")(sets).tolist() == pytest.approx([2 / 3, 0.0])


def test_coverage_without_reference_items_is_refused(sets_from):
    sets = sets_from(
        [[[1, 0]]], [[[1, 0]]], pool=torch.tensor([[3]]), references=torch.tensor([[-1]])
    )
    with pytest.raises(
        InputError, match="at least one reference item a query, found none for query 0"
    ):
        load_objective("coverage")(sets)


def test_objectives_do_not_see_the_order_of_members(sets_from):
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(3, 5, 6, generator=generator), dim=-1)
    items = torch.nn.functional.normalize(torch.randn(3, 5, 6, generator=generator), dim=-1)
    order = torch.randperm(5, generator=generator)
    for name in ("groundedness", "diversity", "alignment"):
        objective = load_objective(name)
        plain = objective(sets_from(rows.tolist(), items.tolist()))
        shuffled = objective(sets_from(rows[:, order].tolist(), items[:, order].tolist()))
        torch.testing.assert_close(plain, shuffled)
        alone = objective(sets_from(rows[1:2].tolist(), items[1:2].tolist()))
        torch.testing.assert_close(plain[1:2], alone)
