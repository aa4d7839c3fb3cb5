import copy

import pytest
import torch

from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.objective import load_objective
from r4t.testing import example_sets
from r4t.testing.examples import ExampleCatalog

UP, RIGHT = [0.0, 1.0], [1.0, 0.0]


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def slow_coverage(x, members, catalog, depth, power):
    """The formula, item by item."""
    near = sorted(catalog, key=lambda p: -float(x @ p))[:depth]
    total = sum(max(0.0, float(x @ p)) for p in near)
    covered = 0.0
    for p in near:
        best = max([max(0.0, float(p @ c)) for c in members], default=0.0)
        covered += max(0.0, float(x @ p)) * best**power
    return covered / total if total else 0.0


def slow_score(sets, row, depth=150, power=2.0, anchors=16, seed=0):
    rows = sets.catalog.embeddings.double()
    members = sets.item_embeddings[row][sets.mask[row]].double()
    draws = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=draws)[:anchors]
    own = slow_coverage(sets.query[row].double(), members, rows, depth, power)
    others = [slow_coverage(rows[a], members, rows, depth, power) for a in chosen]
    return own - sum(others) / len(others)


@pytest.fixture
def random_sets(catalog_of, chosen):
    """Twelve sets for four queries, in turn: duplicates, missing members, one member, none."""
    catalog = catalog_of(unit(40, 5))
    rows = torch.randint(0, 40, (12, 4), generator=torch.Generator().manual_seed(1))
    rows[1, 2:], rows[2, 1], rows[3], rows[4, 1:], rows[5, :3] = -1, rows[2, 0], -1, -1, -1
    return chosen(catalog, rows.tolist()).extended(query=unit(4, 5, seed=2).repeat(3, 1))


SETTINGS = [
    {},  # a neighborhood of the whole catalog
    {"depth": 7, "anchors": 3},
    {"depth": 1, "anchors": 100, "power": 1.0, "seed": 5},
]


def test_by_hand(catalog_of, chosen):
    catalog = catalog_of([RIGHT, [0.8, 0.6], UP, [-1, 0]])
    sets = chosen(catalog, [[0, 0], [2, -1], [1, 3], [-1, -1]])
    # The query is RIGHT: its two nearest are items 0 and 1, of weights 1/1.8 and 0.8/1.8.
    query = [(1 + 0.8 * 0.64) / 1.8, 0.8 * 0.36 / 1.8, (0.64 + 0.8) / 1.8]
    # The anchors are all four items, each with its two nearest (a negative cosine has no weight).
    right, tilted = query, [(1 * 0.64 + 0.8 * 1) / 1.8, (0.36 + 0) / 1.8, (1 + 0.8 * 0.64) / 1.8]
    up = [0.6 * 0.64 / 1.6, (1 + 0.6 * 0.36) / 1.6, (0.36 + 0.6) / 1.6]
    left = [0, 0, 1]  # the second nearest of [-1, 0] is UP, with cosine 0
    anchors = [sum(four) / 4 for four in zip(right, tilted, up, left)]
    expected = [own - others for own, others in zip(query, anchors)]
    scores = load_objective("specific_coverage", depth=2, anchors=4)(sets)
    assert scores.tolist() == pytest.approx([*expected, -1.0], abs=1e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_equals_a_slow_loop(random_sets, settings):
    objective = load_objective("specific_coverage", **settings)
    expected = [slow_score(random_sets, row, **settings) for row in range(12)]
    expected[3] = -1.0  # no member
    for _ in range(2):  # the second time from the kept neighborhoods
        assert objective(random_sets).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_marginals_are_the_score_less_that_without_the_member(random_sets, settings):
    objective = load_objective("specific_coverage", **settings)
    shares = objective.marginals(random_sets)
    whole = objective(random_sets)
    for member in range(4):
        rest = torch.arange(4) != member
        without = random_sets.extended(
            mask=random_sets.mask & rest,
            item_embeddings=random_sets.item_embeddings * rest.unsqueeze(-1),
        )
        difference = whole - objective(without)
        present = random_sets.mask[:, member]
        assert shares[present, member].tolist() == pytest.approx(
            difference[present].tolist(), abs=1e-5
        )
        assert (shares[~present, member] == 0).all()
    # Both copies of an item add nothing; the only member is the difference to no member.
    assert shares[2, :2].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert shares[4, 0].item() == pytest.approx(whole[4].item() + 1, abs=1e-6)


def test_duplicates_add_nothing(catalog_of, chosen):
    catalog = catalog_of(unit(30, 4))
    scores = load_objective("specific_coverage", depth=9)(
        chosen(catalog, [[3, 8, -1, -1], [3, 8, 8, 3], [8, 3, 3, 3]])
    )
    assert scores.tolist() == pytest.approx([scores[0].item()] * 3, abs=1e-6)


def test_one_list_for_all_queries_scores_about_0(catalog_of, chosen):
    catalog = catalog_of(unit(2000, 16))
    everyone = torch.randint(0, 2000, (1, 10), generator=torch.Generator().manual_seed(3))
    queries = unit(64, 16, seed=4)
    near = (queries @ catalog.embeddings.T).topk(10).indices
    objective = load_objective("specific_coverage")
    for rows, low, high in ((everyone.expand(64, -1), -0.02, 0.02), (near, 0.2, 1.0)):
        sets = chosen(catalog, rows.tolist()).extended(query=queries)
        assert low < objective(sets).mean().item() < high


def test_a_query_far_from_everything_is_covered_by_nothing(catalog_of, chosen):
    catalog = catalog_of([UP, [-1, 0], [-0.6, 0.8]])
    sets = chosen(catalog, [[0, 1]]).extended(query=torch.tensor([[0.6, -0.8]]))
    # No item has a positive cosine with the query, so cov(q, S) = 0. Of the anchors' three items
    # two are members; the third has cosines 0.8 and 0.6 with them.
    up, left, tilted = [1, 0, 0.8], [0, 1, 0.6], [0.8, 0.6, 1]
    best = [1, 1, 0.64]
    anchors = [sum(w * b for w, b in zip(row, best)) / sum(row) for row in (up, left, tilted)]
    score = load_objective("specific_coverage", anchors=3)(sets)
    assert score.item() == pytest.approx(-sum(anchors) / 3, abs=1e-6)


def test_a_large_catalog_is_searched_in_parts(monkeypatch, random_sets):
    whole = load_objective("specific_coverage", depth=7)(random_sets)
    module = "r4t_objectives.specific_coverage"
    monkeypatch.setattr(f"{module}.SEARCHED", 33)  # of four queries: eight items at a time
    monkeypatch.setattr(f"{module}.ROOM", 1)  # one set at a time
    parts = load_objective("specific_coverage", depth=7)
    assert parts(random_sets).tolist() == pytest.approx(whole.tolist(), abs=1e-6)
    assert parts.marginals(random_sets).shape == (12, 4)


def test_neighborhoods_are_searched_once_and_do_not_grow_without_bound(monkeypatch, random_sets):
    module = "r4t_objectives.specific_coverage"
    monkeypatch.setattr(f"{module}.CACHED", 3)
    objective = load_objective("specific_coverage", depth=7)
    fresh = objective(random_sets)
    assert len(objective._queries) == 4  # those of the last batch, however many
    searched = []
    search = objective.score.__func__.__globals__["neighborhoods"]
    monkeypatch.setattr(
        f"{module}.neighborhoods", lambda *a: searched.append(len(a[1])) or search(*a)
    )
    two = random_sets.select(torch.tensor([0, 1, 4]))  # the first and second query
    assert objective(two).tolist() == pytest.approx(fresh[[0, 1, 4]].tolist(), abs=1e-6)
    assert searched == []
    other = two.extended(query=unit(3, 5, seed=9))
    objective(other)
    assert (searched, len(objective._queries)) == ([1, 1, 1], 3)
    objective(other)
    assert searched == [1, 1, 1]


def test_another_catalog_has_other_neighborhoods(catalog_of, chosen):
    first, second = (catalog_of(unit(30, 4, seed=seed)) for seed in (1, 2))
    objective = load_objective("specific_coverage", depth=5)
    for catalog in (first, second, first):
        sets = chosen(catalog, [[3, 8]])
        assert objective(sets).item() == pytest.approx(slow_score(sets, 0, depth=5), abs=1e-5)


def test_a_copy_leaves_the_catalog_behind():
    sets = example_sets()
    objective = load_objective("specific_coverage", depth=5)
    scores = objective(sets)
    twin = copy.deepcopy(objective)
    assert twin._catalog is None
    assert (twin.depth, twin(sets).tolist()) == (5, scores.tolist())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"depth": 0}, "depth to be at least 1, but found 0"),
        ({"anchors": 0}, "anchors to be at least 1, but found 0"),
        ({"power": 0.0}, "a power above 0, but found 0.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        load_objective("specific_coverage", **arguments)


def test_what_was_scored_before_changes_no_bit():
    """A resumed fit has forgotten the queries before, and products round differently beside others."""
    catalog = ExampleCatalog({"id": [""] * 500, "text": [""] * 500}, unit_rows(500, 64))
    queries = unit_rows(9, 64)
    bands = []
    for warm in ([], [4], [0, 1, 2, 7]):
        objective = load_objective("specific_coverage", depth=50)
        objective._prepare(catalog)
        for _ in objective._bands(catalog, queries[warm]):
            pass
        bands.append(torch.cat([band.weights for band, _ in objective._bands(catalog, queries)]))
    assert torch.equal(bands[0], bands[1])
    assert torch.equal(bands[0], bands[2])


def unit_rows(count, width):
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(count)))
