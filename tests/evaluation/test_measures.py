import math

import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation import measures
from r4t.sets import SetBatch


@pytest.fixture
def sets():
    """Two queries to the east. First: items at 0, 0 and 90 degrees; second: one item at 60."""
    half = math.sqrt(0.75)
    embeddings = [[[1, 0], [1, 0], [0, 1]], [[0.5, half], [0, 0], [0, 0]]]
    return SetBatch(
        query=torch.tensor([[1.0, 0.0], [1.0, 0.0]]),
        items=torch.tensor([[4, 4, 7], [2, -1, -1]]),
        item_embeddings=torch.tensor(embeddings, dtype=torch.float),
        mask=torch.tensor([[True, True, True], [True, False, False]]),
        pool=torch.tensor([[4, 7, 1, 9], [2, 3, -1, -1]]),
        references=torch.tensor([[1, 5, 9], [6, -1, -1]]),
    )


def test_item_vendi(sets):
    # Eigenvalues of K/3 are 2/3 and 1/3: exp(2/3 ln 3/2 + 1/3 ln 3) = 1.5^(2/3) * 3^(1/3).
    expected = [1.5 ** (2 / 3) * 3 ** (1 / 3), 1.0]
    assert measures.item_vendi(sets).tolist() == pytest.approx(expected, abs=1e-6)


def test_mean_cosine(sets):
    assert measures.mean_cosine(sets).tolist() == pytest.approx([2 / 3, 0.5])


def test_pool_recall_and_hit_eq_5(sets):
    assert measures.pool_recall(sets).tolist() == pytest.approx([2 / 3, 0])
    assert measures.pool_hit(sets).tolist() == [1, 0]


def test_set_recall_is_of_the_members(sets):
    # Of the references 1, 5 and 9 the members 4, 4 and 7 hold none; the second query's is 6.
    assert measures.set_recall(sets).tolist() == [0, 0]
    held = sets.extended(references=torch.tensor([[4, 5, 7, 9], [-1, -1, 2, -1]]))
    assert measures.set_recall(held).tolist() == [0.5, 1]
    assert measures.pool_recall(held).tolist() == [0.75, 1]
    bare = sets.extended(references=torch.tensor([[4], [-1]]))
    assert measures.set_recall(bare)[0] == 1
    assert measures.set_recall(bare)[1].isnan()
    assert list(measures.of_items(held)) == ["vendi", "cosine", "recall", "set recall", "hit"]


def test_recall_and_hit_do_not_apply_without_references(sets):
    sets = sets.extended(references=torch.tensor([[9, -1], [-1, -1]]))
    assert measures.pool_recall(sets)[0] == 1
    assert measures.pool_recall(sets)[1].isnan()
    assert measures.pool_hit(sets)[1].isnan()


def test_recall_asks_for_references(sets):
    sets = SetBatch(sets.query, sets.items, sets.item_embeddings, sets.mask)
    with pytest.raises(TypeError, match="read 'references' and 'pool'"):
        measures.pool_recall(sets)


# Eight items: tops 0 1, shoes 2 3, bags 4 5, a hat 6, and a ring 7 that fits nothing.
SLOTS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])
FITS = torch.tensor([[1, 1, 1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0]]).bool()


@pytest.mark.parametrize(
    ("rows", "recall", "precision"),
    [
        # Slots to fill: top, shoes, bag; and hat.
        ([[0, 1, 3], [6, 6, 6]], [1 / 3, 1], [2 / 3, 1]),
        ([[0, 2, 4], [7, -1, -1]], [1, 0], [1, 0]),
        ([[7, 7, 2], [6, 5, -1]], [1 / 3, 1], [1 / 2, 1 / 2]),
    ],
)
def test_facet_recall_and_fit_precision(rows, recall, precision):
    rows = torch.tensor(rows)
    assert measures.facet_recall(rows, FITS, SLOTS).tolist() == pytest.approx(recall)
    assert measures.fit_precision(rows, FITS).tolist() == pytest.approx(precision)


def test_facet_measures_that_do_not_apply():
    nothing_fits = torch.zeros(1, 8, dtype=torch.bool)
    assert measures.facet_recall(torch.tensor([[1, 2]]), nothing_fits, SLOTS).isnan().all()
    assert measures.fit_precision(torch.tensor([[-1, -1]]), FITS[:1]).isnan().all()


def test_order_of_members_and_padding_do_not_matter(sets):
    order = torch.tensor([2, 0, 1])
    turned = SetBatch(
        query=sets.query,
        items=sets.items[:, order],
        item_embeddings=sets.item_embeddings[:, order],
        mask=sets.mask[:, order],
        pool=torch.cat([sets.pool.flip(1), torch.full((2, 3), -1)], dim=1),
        references=sets.references.flip(1),
    )
    for measure in (
        measures.item_vendi, measures.mean_cosine, measures.pool_recall, measures.set_recall,
        measures.pool_hit,
    ):  # fmt: skip
        assert torch.allclose(measure(turned), measure(sets), atol=1e-6)


def test_recall_and_hit_equal_a_loop_over_sets():
    generator = torch.Generator().manual_seed(0)
    pool = torch.stack([torch.randperm(60, generator=generator)[:25] for _ in range(50)])
    pool[3, 7:] = -1
    references = torch.stack([torch.randperm(60, generator=generator)[:6] for _ in range(50)])
    references = torch.where(torch.arange(6) < torch.arange(50).unsqueeze(1) % 7, references, -1)
    one = torch.ones(50, 1)
    sets = SetBatch(
        one, pool[:, :1], one.unsqueeze(1), one.bool(), pool=pool, references=references
    )
    recall, hit = measures.pool_recall(sets).tolist(), measures.pool_hit(sets).tolist()
    for row in range(50):
        wanted = set(references[row].tolist()) - {-1}
        pooled = wanted & set(pool[row].tolist())
        if wanted:
            assert recall[row] == pytest.approx(len(pooled) / len(wanted))
            assert hit[row] == bool(pooled)
        else:
            assert math.isnan(recall[row])
            assert math.isnan(hit[row])


def test_a_batch_without_any_reference_has_no_recall(sets):
    sets = sets.extended(references=torch.empty(2, 0, dtype=torch.long))
    assert measures.pool_recall(sets).isnan().all()
    assert measures.pool_hit(sets).isnan().all()


def looking(*ways, mask=None):
    """One query to the east, searched with these directions."""
    directions = torch.tensor([ways], dtype=torch.float)
    present = torch.ones(1, len(ways), dtype=torch.bool) if mask is None else torch.tensor([mask])
    items = torch.zeros(1, len(ways), dtype=torch.long)
    return SetBatch(torch.tensor([[1.0, 0.0]]), items, directions, present, directions=directions)


def test_exposure_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    items = torch.stack([torch.randperm(25, generator=generator)[:4] for _ in range(30)])
    items[4, 2:], items[5] = -1, -1
    lists = [[row for row in line if row >= 0] for line in items.tolist()]
    often = {row for row in range(25) if sum(row in line for line in lists) > 30 / 10}
    expected = [sum(row in often for row in line) / len(line) if line else None for line in lists]
    found = measures.exposure(items)
    assert found[5].isnan()
    assert [x if x == x else None for x in found.tolist()] == pytest.approx(expected)
    assert 0 < found.nanmean() < 1


def test_exactly_a_tenth_is_not_more_than_a_tenth():
    items = torch.arange(10).unsqueeze(1)
    assert measures.exposure(items).tolist() == [0.0] * 10
    items[1] = 0
    assert measures.exposure(items).tolist() == [1.0, 1.0, *[0.0] * 8]
    assert measures.exposure(items[:9]).isnan().all()  # of nine queries, one is more than a tenth


def test_vendi_across_runs_by_hand():
    # Means (½, ½) and (½, −½) are orthogonal: Vendi 2 of 2 runs.
    runs = [looking((1, 0), (0, 1)), looking((1, 0), (0, -1))]
    assert measures.vendi_across_runs(runs).tolist() == pytest.approx([1.0])
    # The same set in another order is the same mean: 1 of 2.
    runs = [looking((1, 0), (0, 1)), looking((0, 1), (1, 0))]
    assert measures.vendi_across_runs(runs).tolist() == pytest.approx([0.5])
    # A missing member does not count: (1, 0) and (0, 1).
    runs = [looking((1, 0), (0, 1), mask=[True, False]), looking((0, 1), (0, 1))]
    assert measures.vendi_across_runs(runs).tolist() == pytest.approx([1.0])
    # A run without members adds nothing; none at all is no score.
    empty = looking((1, 0), (0, 1), mask=[False, False])
    assert measures.vendi_across_runs([empty, runs[1]]).tolist() == pytest.approx([0.5])
    assert measures.vendi_across_runs([empty, empty]).isnan().all()


def test_vendi_across_runs_needs_directions(sets):
    with pytest.raises(
        InputError, match="sets with directions for Vendi across runs, but found sets without them"
    ):
        measures.vendi_across_runs([sets, sets])


def slow_gold_recall(rows, references, facets):
    """Plain loops over the facets of one query."""
    hit = known = 0
    for column in range(len(facets[0]) if facets else 0):
        members = {item for item, of in zip(references, facets) if of[column]}
        if members:
            known += 1
            hit += any(row in members for row in rows)
    return hit / known if known else math.nan


def test_gold_facet_recall_by_hand(sets):
    # Facets {1, 5}, {5, 9}, {9}; then {6} alone. Reference 1 of another query is in no facet.
    facets = torch.zeros(2, 3, 4, dtype=torch.bool)
    facets[0, [0, 1, 1, 2, 2], [0, 0, 1, 1, 2]] = True
    facets[1, 0, 3] = True
    some = sets.extended(facets=facets)
    # Items 4, 4, 7 and 2 hit none; the pool 4, 7, 1, 9 has 1 (first facet) and 9 (the other two).
    found = measures.of_gold_facets(some)
    assert found["facet recall"].tolist() == [0, 0]
    assert found["pool facet recall"].tolist() == [1, 0]
    five = some.extended(items=torch.tensor([[5, 4, 7], [6, -1, -1]]))
    assert measures.gold_facet_recall(five).tolist() == pytest.approx([2 / 3, 1])
    assert measures.gold_facet_recall(some, torch.tensor([[9], [-1]])).tolist() == [
        pytest.approx(2 / 3),
        0,
    ]
    without = measures.of_gold_facets(sets.extended(facets=facets & False))
    assert without["facet recall"].isnan().all()
    assert list(measures.of_gold_facets(some.extended(pool=None))) == ["facet recall"]
    with pytest.raises(TypeError, match="reads 'references' and 'facets'"):
        measures.gold_facet_recall(sets)


def test_gold_facet_recall_against_a_slow_loop():
    generator = torch.Generator().manual_seed(1)
    references = torch.stack([torch.randperm(20, generator=generator)[:6] for _ in range(50)])
    references[:25, 4:] = -1
    facets = torch.rand(50, 6, 5, generator=generator) < 0.15
    facets[references < 0] = False
    rows = torch.randint(-1, 20, (50, 7), generator=generator)
    sets = SetBatch(
        query=torch.ones(50, 1),
        items=rows,
        item_embeddings=torch.ones(50, 7, 1),
        mask=rows >= 0,
        references=references,
        facets=facets,
    )
    found = measures.gold_facet_recall(sets)
    expected = [
        slow_gold_recall(*each) for each in zip(rows.tolist(), references.tolist(), facets.tolist())
    ]
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert len({*found[~found.isnan()].tolist()}) > 4
