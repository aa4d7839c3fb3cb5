import math

import pytest
import torch

from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.objective import load_objective

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def scaled(surprise, rivals):
    return 1 / (1 + surprise / math.log(rivals + 1))


def test_by_hand(catalog_of, chosen):
    catalog = catalog_of([EAST, NORTH, WEST])
    bank = torch.tensor([NORTH, WEST])
    sets = chosen(catalog, [[0, 0], [0, 1], [0, -1], [2, 2], [-1, -1]], bank=bank)
    # The query is EAST. fit(east, north, west) of each set, at temperature 1/2 (so doubled):
    fits = [(1, 0, -1), (1 / 2, 1 / 2, -1 / 2), (1 / 2, 0, -1 / 2), (-1, 0, 1)]
    surprises = [math.log(sum(math.exp(2 * (x - fit[0])) for x in fit)) for fit in fits]
    expected = [*(scaled(surprise, 2) for surprise in surprises), 0]
    scores = load_objective("specificity", temperature=0.5)(sets)
    assert scores.tolist() == pytest.approx(expected)
    # Certain > two members > one member > for everyone > for others.
    assert scores[0] > scores[2] > scores[1] > scores[3]


@pytest.mark.parametrize("rivals", [1, 2, 30])
def test_a_set_that_says_nothing_scores_one_half(catalog_of, chosen, rivals):
    # The item is as near to every query as to the own one.
    angles = torch.arange(1, rivals + 1) / (rivals + 1)
    around = torch.stack([angles.cos(), angles.sin(), torch.ones(rivals)], 1)
    sets = chosen(catalog_of([[0.0, 0.0, 1.0]]), [[0, 0]], bank=normalize(around))
    own = normalize(torch.tensor([[1.0, 0.0, 1.0]]))
    assert load_objective("specificity")(sets.extended(query=own)).item() == pytest.approx(0.5)


def test_the_query_itself_is_no_rival(catalog_of, chosen):
    catalog = catalog_of([EAST, NORTH])
    scores = [
        load_objective("specificity")(chosen(catalog, [[0, 1]], bank=torch.tensor(bank))).item()
        for bank in ([NORTH], [NORTH, EAST], [EAST, NORTH, [1.0, 1e-6]])
    ]
    assert scores == pytest.approx([scores[0]] * 3)
    alone = chosen(catalog, [[1, 1]], bank=torch.tensor([EAST]))
    assert load_objective("specificity")(alone).item() == 1


def test_an_extreme_set_stays_within_the_bounds(catalog_of, chosen):
    sets = chosen(catalog_of([WEST, EAST]), [[0, 0], [1, 1]], bank=torch.tensor([WEST]))
    scores = load_objective("specificity", temperature=1e-4)(sets)
    # −log p = 2/10⁻⁴.
    assert scores[0].item() == pytest.approx(scaled(20_000, 1))
    assert scores[1].item() == 1


def test_equals_a_softmax_over_all_queries_at_once(catalog_of, chosen):
    catalog = catalog_of(unit(30, 6))
    rows = torch.randint(0, 30, (5, 4), generator=torch.Generator().manual_seed(1))
    rows[2, 1:] = -1
    queries, bank = unit(5, 6, seed=2), unit(9, 6, seed=3)
    sets = chosen(catalog, rows.tolist(), bank=bank).extended(query=queries)
    expected = []
    for row in range(5):
        members = sets.item_embeddings[row][sets.mask[row]]
        every = torch.cat([queries[row : row + 1], bank])
        log_p = torch.log_softmax((every @ members.T).sum(1) / 4 / 0.05, 0)[0]
        expected.append(scaled(-log_p.item(), 9))
    assert load_objective("specificity")(sets).tolist() == pytest.approx(expected, abs=1e-5)


def test_marginals_are_the_score_less_that_without_the_member(catalog_of, chosen):
    catalog = catalog_of(unit(30, 6))
    rows = [[3, 5, 5, 9], [2, -1, 7, -1], [-1, 4, -1, -1], [-1, -1, -1, -1]]
    sets = chosen(catalog, rows, bank=unit(9, 6, seed=3)).extended(query=unit(4, 6, seed=2))
    objective = load_objective("specificity", temperature=0.2)
    shares, whole = objective.marginals(sets), objective(sets)
    for member in range(4):
        rest = torch.arange(4) != member
        without = sets.extended(
            mask=sets.mask & rest, item_embeddings=sets.item_embeddings * rest.unsqueeze(-1)
        )
        expected = torch.where(sets.mask[:, member], whole - objective(without), 0.0)
        assert shares[:, member].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert shares[2, 1] == whole[2]  # nothing is left without the only member


def test_bad_temperature():
    with pytest.raises(InputError, match="a temperature above 0, but found 0.0. Use 0.05"):
        load_objective("specificity", temperature=0.0)
