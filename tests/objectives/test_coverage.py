import pytest
import torch

from r4t.errors import InputError
from r4t.objective import load_objective


def test_eq5_coverage_by_hand(sets_from):
    sets = sets_from(
        [[[1, 0]]] * 2,
        [[[1, 0]]] * 2,
        pool=torch.tensor([[3, 9, 4, -1], [1, 2, -1, -1]]),
        references=torch.tensor([[9, 3, 7], [5, -1, -1]]),
    )
    # {3, 9, 4} holds two of {9, 3, 7}; {1, 2} does not hold 5; the padding -1 matches nothing.
    assert load_objective("coverage")(sets).tolist() == pytest.approx([2 / 3, 0.0])


def test_soft_coverage_by_hand(catalog_of, chosen):
    catalog = catalog_of([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]])
    references = torch.tensor([[0, 2], [1, 3], [2, -1], [1, 2]])
    sets = chosen(catalog, [[1, -1], [0, 2], [1, 1], [-1, -1]], references=references)
    # Members {1}: cosines 0.8 with item 0 and 0.6 with item 2. Members {0, 2}: at most 0.8 with
    # item 1, 0 with item 3. Member 1 twice: 0.6 with item 2. No member: 0.
    assert load_objective("coverage", cosine=0.7)(sets).tolist() == [0.5, 0.5, 0, 0]
    assert load_objective("coverage", cosine=0.6)(sets).tolist() == [1, 0.5, 1, 0]


def test_soft_coverage_at_cosine_1_finds_the_items_themselves(catalog_of, chosen):
    generator = torch.Generator().manual_seed(0)
    catalog = catalog_of(torch.randn(30, 7, generator=generator))
    rows = torch.stack([torch.randperm(30, generator=generator)[:6] for _ in range(20)])
    references = torch.randint(0, 30, (20, 4), generator=generator)
    sets = chosen(catalog, rows.tolist(), references=references, pool=rows)
    exact = load_objective("coverage")(sets)
    assert exact.unique().numel() > 1
    torch.testing.assert_close(load_objective("coverage", cosine=1.0)(sets), exact)


def test_each_form_needs_its_own_fields(catalog_of, chosen):
    catalog = catalog_of([[1, 0], [0, 1]])
    sets = chosen(catalog, [[0]], references=torch.tensor([[0]]))
    with pytest.raises(InputError, match=r"found sets without \['pool'\]"):
        load_objective("coverage")(sets)
    bare = sets.extended(catalog=None)
    with pytest.raises(InputError, match=r"found sets without \['catalog'\]"):
        load_objective("coverage", cosine=0.5)(bare)


@pytest.mark.parametrize("cosine", [None, 0.5])
def test_a_query_without_reference_items_is_named(catalog_of, chosen, cosine):
    sets = chosen(
        catalog_of([[1, 0], [0, 1]]),
        [[0], [1]],
        pool=torch.tensor([[0], [1]]),
        references=torch.tensor([[1], [-1]]),
    )
    coverage = load_objective("coverage", cosine=cosine)
    with pytest.raises(
        InputError, match="reference item per query, .* found none for query 1 of 2\\. L"
    ):
        coverage(sets)
    with pytest.raises(InputError, match=r"found none for query 1 of 2 \('beach day'\)"):
        coverage(sets.extended(query_texts=["city", "beach day"]))


@pytest.mark.parametrize("cosine", [0, -0.2, 1.5])
def test_a_cosine_outside_its_range_is_refused(cosine):
    with pytest.raises(InputError, match=r"soft coverage within \(0, 1\], but found .*\. Use 0.8"):
        load_objective("coverage", cosine=cosine)
