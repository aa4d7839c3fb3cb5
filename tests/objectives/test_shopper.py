import copy
import json

import pytest
import torch
from r4t_objectives.shopper import Shopper

from r4t.data.facet_truth import FacetTruth
from r4t.data.wardrobe import SMALLEST
from r4t.errors import InputError
from r4t.evaluation.measures import facet_recall
from r4t.objective import load_objective
from r4t.testing import check_objective
from tests.objectives.wardrobe_sets import drawn, sets_of


def test_score_and_marginals_by_hand(closet):
    # For "punk" two slots can be answered, by two tops and one pair of shoes.
    rows = [[0, 1, 3], [0, 2, -1], [3, 4, -1], [0, 0, 2], [-1, -1, -1], [-1, 2, -1]]
    sets = sets_of(closet, ["punk looks"] * 5 + ["Punk  looks!"], rows)
    shopper = load_objective("shopper", error=0.0)
    assert shopper(sets).tolist() == [0.5, 1, 0, 1, 0, 0.5]
    assert shopper.marginals(sets).tolist() == [
        [0, 0, 0],  # the other top stays
        [0.5, 0.5, 0],
        [0, 0, 0],
        [0, 0, 0.5],  # its twin stays
        [0, 0, 0],
        [0, 0.5, 0],
    ]


def test_one_member_can_fill_one_slot(closet):
    sets = sets_of(closet, ["punk looks", "glam looks"], [[0], [0]])
    shopper = Shopper(error=0)
    assert shopper(sets).tolist() == [1, 0]
    assert shopper.marginals(sets).tolist() == [[1], [0]]


def test_a_query_that_no_item_fits_scores_zero(closet):
    sets = sets_of(closet, ["gothic looks"], [[0, 3]])
    for error in (0, 0.4):
        assert Shopper(error)(sets).tolist() == [0]


def test_without_error_it_is_facet_recall(wardrobe, shop):
    sets = drawn(wardrobe, shop, 80, 10)
    truth = FacetTruth(wardrobe.truth, shop.ids)
    fits = truth.fits([query.id for query in wardrobe.oar["train"][:80]])
    expected = facet_recall(sets.items, fits, truth.slots)
    assert Shopper(error=0)(sets).double().allclose(expected)
    assert 0.2 < expected.mean() < 0.8


@pytest.mark.parametrize("k", [1, 3, 10])
def test_marginals_are_what_the_score_loses_without_each_member(wardrobe, shop, k):
    sets = drawn(wardrobe, shop, 60, max(k, 2))
    sets = sets_of(shop, sets.query_texts, sets.items[:, :k])
    shopper = Shopper(error=0.2, seed=3)
    whole = shopper(sets)
    for place in range(k):
        items = sets.items.clone()
        items[:, place] = -1
        lost = whole - shopper(sets_of(shop, sets.query_texts, items))
        assert shopper.marginals(sets)[:, place].allclose(lost, atol=1e-6)


def test_grades_are_the_truth_flipped_at_the_stated_rate(wardrobe, shop):
    queries = wardrobe.oar["train"][:50]
    texts = [query.text for query in queries]
    truth = FacetTruth(wardrobe.truth, shop.ids).fits([query.id for query in queries])
    every = torch.arange(SMALLEST).expand(50, -1)
    wrong = {e: Shopper(e).grades(texts, shop, every).bool() ^ truth for e in (0.0, 0.1, 0.3)}
    # 100,000 grades: a deviation of the share is at most sqrt(.3 * .7 / 1e5) = .0015.
    for error, flips in wrong.items():
        assert flips.float().mean().item() == pytest.approx(error, abs=0.005)
    assert (wrong[0.3] | ~wrong[0.1]).all()  # who errs more errs in the same pairs, and in others
    other = Shopper(0.1, seed=1).grades(texts, shop, every).bool() ^ truth
    both = (other & wrong[0.1]).float().mean().item()
    assert both == pytest.approx(0.01, abs=0.003)  # independent: .1 * .1


def test_a_pair_has_one_grade_whatever_is_asked_with_it(wardrobe, shop):
    texts = [query.text for query in wardrobe.oar["train"][:6]]
    rows = torch.randint(SMALLEST, (6, 5), generator=torch.Generator().manual_seed(0))
    rows[2, 3] = -1
    grades = Shopper(0.3).grades(texts, shop, rows)
    assert grades.isnan().nonzero().tolist() == [[2, 3]]
    shopper = Shopper(0.3)
    for row in reversed(range(6)):
        alone = shopper.grades([texts[row]], shop, rows[row : row + 1].flip(1)).flip(1)
        assert alone.equal(grades[row : row + 1]) or row == 2
    again = copy.deepcopy(shopper).grades(texts, shop, rows)
    assert again.nan_to_num(-1).equal(grades.nan_to_num(-1))


def test_it_keeps_the_contract(wardrobe, shop):
    sets = drawn(wardrobe, shop, 12, 10)
    items = sets.items.clone()
    items[1] = -1
    items[2, 1:] = -1
    check_objective("shopper", sets=sets_of(shop, sets.query_texts, items))
    facts = Shopper(0.2, 4).facts()
    assert (facts["error"], facts["seed"]) == (0.2, 4)
    assert facts["note"].startswith("a simulated judge, which knows the latent truth")


def test_what_it_refuses(closet, catalog_of):
    sets = sets_of(closet, ["punk looks"], [[0, 1]])
    shopper = Shopper()
    with pytest.raises(InputError, match="found the test query 'secret looks'. Measure"):
        shopper(sets.extended(query_texts=["secret looks"]))
    with pytest.raises(InputError, match="found 'hats', which is none of its queries"):
        shopper.grades(["hats"], closet, torch.tensor([[0]]))
    other = sets.extended(catalog=catalog_of(torch.eye(5)))
    assert shopper.accepts(sets)
    assert not shopper.accepts(other)
    with pytest.raises(InputError, match=r"in the folder truth of its catalog, but found none in"):
        shopper(other)
    with pytest.raises(InputError, match=r"'shopper', but found sets without \['query_texts'\]"):
        shopper(sets.extended(query_texts=None))
    for error in (-0.1, 0.5, float("nan")):
        with pytest.raises(InputError, match=rf"within \[0, 0.5\), but found {error}"):
            Shopper(error)
    path = closet.folder / "truth" / "truth.json"
    older = {name: json.loads(path.read_text())[name] for name in ("items", "queries")}
    path.write_text(json.dumps(older))
    with pytest.raises(InputError, match="found one without splits, from an older version. Write"):
        Shopper()(sets)
