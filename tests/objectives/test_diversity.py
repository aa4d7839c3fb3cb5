import json
import math
from pathlib import Path

import pytest
import torch

from r4t.errors import InputError
from r4t.objective import load_objective

ORTHOGONAL = torch.eye(4).tolist()
# Scores of vendi-score: see tests/fixtures/make_vendi_scores.py.
STORED = json.loads((Path(__file__).parents[1] / "fixtures/vendi_scores.json").read_text())


def test_eq2_diversity_is_vendi_over_the_members_asked_for(sets_from):
    diversity = load_objective("diversity")
    assert diversity(sets_from([ORTHOGONAL], [ORTHOGONAL])).item() == pytest.approx(1.0)
    same = [[[1, 0, 0, 0]] * 4]
    assert diversity(sets_from(same, same)).item() == pytest.approx(0.25)
    # Two of four are missing: the others have Vendi 2, over 4.
    mask = [[True, True, False, False]]
    assert diversity(sets_from([ORTHOGONAL], [ORTHOGONAL], mask)).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "q, expected",
    [
        (0.5, (math.sqrt(3 / 4) + math.sqrt(1 / 4)) ** 2),  # (Σ √λ)²
        (1, math.exp(-(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4)))),
        (2, 1 / (9 / 16 + 1 / 16)),  # 1 / Σ λ²
        (100, (0.75**100 + 0.25**100) ** (-1 / 99)),
        (math.inf, 4 / 3),  # 1 / max λ
    ],
)
def test_a_higher_order_depends_more_on_the_largest_group(sets_from, q, expected):
    # Three equal items and one orthogonal to them: eigenvalues of K/4 are 3/4, 1/4, 0, 0.
    items = [[[1, 0]] * 3 + [[0, 1]]]
    assert load_objective("diversity", q=q)(sets_from(items, items)).item() == pytest.approx(
        expected / 4, abs=1e-6
    )


@pytest.mark.parametrize("members, width", [(6, 16), (9, 4)])  # d < k takes the dual form
@pytest.mark.parametrize("q", ["1", "2", "30", "inf"])
def test_eq2_diversity_equals_the_original_implementation(sets_from, members, width, q):
    cases = [case for case in STORED if len(case["vectors"]) == members]
    items = torch.tensor([case["vectors"] for case in cases], dtype=torch.float64)
    assert items.shape == (2, members, width)
    sets = sets_from(items.tolist(), items.tolist()).extended(item_embeddings=items)
    expected = [case["scores"][q] / members for case in cases]
    scores = load_objective("diversity", q=float(q))(sets)
    assert scores.tolist() == pytest.approx(expected, abs=1e-12)


def test_dual_and_primal_form_agree(sets_from):
    generator = torch.Generator().manual_seed(1)
    items = torch.randn(2, 6, 4, generator=generator)
    wide = torch.cat([items, torch.zeros(2, 6, 5)], -1)  # d = 9 > k = 6, the same cosines
    for q in (0.5, 1.0, 2.0, math.inf):
        diversity = load_objective("diversity", q=q)
        narrow = diversity(sets_from(items.tolist(), items.tolist()))
        torch.testing.assert_close(narrow, diversity(sets_from(wide.tolist(), wide.tolist())))


@pytest.mark.parametrize("q", [0, -1.0, math.nan])
def test_an_order_must_be_above_0(q):
    with pytest.raises(InputError, match=r"order q of the diversity above 0, but found .*\. Use 1"):
        load_objective("diversity", q=q)
