import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation.measures import gold_facet_recall
from r4t.objective import load_objective
from r4t.testing import example_sets

REFERENCES = torch.tensor([[0, 1, 2, 3], [0, 1, -1, -1]])
# First query: facets {0, 1}, {1, 2} and {2}; item 3 is in none. Second query: one facet {0, 1}.
FACETS = torch.tensor(
    [
        [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]],
        [[0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]],
    ]
).bool()


@pytest.fixture
def sets_of(catalog_of, chosen):
    """Rows of a catalog of six items, −1 for no member → sets of the two queries."""
    catalog = catalog_of(torch.eye(6))
    return lambda rows: chosen(catalog, rows, references=REFERENCES, facets=FACETS)


@pytest.mark.parametrize(
    ("rows", "scores", "marginals"),
    [
        # Item 1 is in two of three facets; 3 and 5 are in none.
        ([[1, 3], [5, 3]], [2 / 3, 0], [[2 / 3, 0], [0, 0]]),
        # 0 adds nothing to 1, and 1 alone hits the second facet. Of 0 and 1 neither is missed.
        ([[0, 1], [0, 1]], [2 / 3, 1], [[0, 1 / 3], [0, 0]]),
        # Together they hit all; twice the same item is missed by nobody.
        ([[0, 2], [1, 1]], [1, 1], [[1 / 3, 2 / 3], [0, 0]]),
        # A missing member hits nothing, although padded references have its number, −1.
        ([[2, -1], [-1, 0]], [2 / 3, 1], [[2 / 3, 0], [0, 1]]),
        ([[-1, -1], [4, 5]], [0, 0], [[0, 0], [0, 0]]),
    ],
)
def test_by_hand(sets_of, rows, scores, marginals):
    sets, objective = sets_of(rows), load_objective("facet_coverage")
    assert objective(sets).tolist() == pytest.approx(scores)
    found = objective.marginals(sets)
    assert found.flatten().tolist() == pytest.approx(torch.tensor(marginals).flatten().tolist())


def test_it_is_facet_recall_of_the_members():
    for seed in range(3):
        sets = example_sets(seed)
        scores = load_objective("facet_coverage")(sets)
        assert scores.tolist() == pytest.approx(gold_facet_recall(sets).tolist())
        # The first two references of the first query are members: facets 0 and 1 of three.
        assert scores[0].item() == pytest.approx(2 / 3)


def test_a_query_without_facets_is_named(sets_of):
    sets = sets_of([[0, 1], [0, 1]]).extended(facets=FACETS & torch.tensor([1, 0]).view(2, 1, 1))
    with pytest.raises(
        InputError, match=r"gold facet per query, .* found none for query 1 of 2\. Leave such"
    ):
        load_objective("facet_coverage")(sets)
    with pytest.raises(InputError, match=r"found sets without \['facets'\]"):
        load_objective("facet_coverage")(sets.extended(facets=None))
