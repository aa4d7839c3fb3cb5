"""What baselines learn from a judge's verdicts, by hand and against loops."""

import itertools
import math

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.methods.graded import GradedQueries, grade_queries
from r4t.methods.set_regression import (
    Fitted,
    SetRegression,
    SlotSet,
    fit_network,
    kept,
    slot_likelihood,
)
from r4t.methods.training_sets import RidgeMap

QUERIES = [Query("1", "east", "mood"), Query("2", "north", "mood"), Query("3", "west", "mood")]
SLOTS = torch.tensor([0, 0, 1, 1, 2, 2])


class Verdicts:
    """A judge with given grades: query text → one for each item."""

    costly = False

    def __init__(self, **grades):
        self.values = {text: torch.tensor(row) for text, row in grades.items()}

    def grades(self, query_texts, catalog, items):
        return torch.stack([self.values[text] for text in query_texts]).gather(1, items)


@pytest.fixture
def graded(plane):
    judge = Verdicts(east=[1, 1, 0, 0.5, 0, 0], north=[0, 0.4, 1, 0, 1, 1], west=[0.0] * 6)
    return grade_queries(judge, plane, QUERIES, SLOTS)


def test_queries_that_no_item_fits_are_left_out(plane, graded):
    assert graded.queries == QUERIES[:2]
    assert graded.fits.int().tolist() == [[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 1, 1]]
    assert graded.vectors.equal(plane.encode(["east", "north"]))


def test_references_are_the_nearest_fitting_item_of_each_slot(plane, graded):
    cosines = graded.vectors @ plane.catalog.embeddings.T
    first, second = graded.with_references(plane)
    assert (first.id, first.text) == ("1", "east")
    # East: of items 0 and 1 in slot 0 the nearer one, and item 3 in slot 1. North: 2, and 4 or 5.
    near = max((0, 1), key=lambda row: cosines[0, row])
    expected = sorted([near, 3], key=lambda row: -cosines[0, row])
    assert plane.catalog.rows(first.references) == expected
    near = max((4, 5), key=lambda row: cosines[1, row])
    expected = sorted([2, near], key=lambda row: -cosines[1, row])
    assert plane.catalog.rows(second.references) == expected


def test_centers_are_means_of_fitting_items_less_the_mean_of_all(plane, graded):
    items = plane.catalog.embeddings
    for row, fitting in enumerate(([0, 1, 3], [2, 4, 5])):
        expected = normalize(items[fitting].mean(0) - items.mean(0))
        assert graded.centers(items)[row].allclose(expected, atol=1e-6)


def test_the_ridge_map_learns_given_targets(plane, graded):
    targets = graded.centers(plane.catalog.embeddings)
    ridge = RidgeMap(plane, graded.queries, 2, 4, penalties=[1e-9], targets=targets)
    assert ridge.map(graded.vectors).allclose(targets, atol=1e-4)  # two points, a line through both


def test_slot_likelihood_is_the_mean_log_probability_of_a_fitting_item():
    generator = torch.Generator().manual_seed(0)
    directions = normalize(torch.randn(2, 3, 4, generator=generator))
    items = normalize(torch.randn(6, 4, generator=generator))
    fits = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]]).bool()
    total = []
    for row in range(2):
        logs = []
        for slot in range(3):
            fitting = [n for n in range(6) if fits[row, n] and SLOTS[n] == slot]
            if not fitting:
                continue
            mass = 0.0
            for member in range(3):
                odds = [math.exp(float(directions[row, member] @ item) / 0.07) for item in items]
                mass += sum(odds[n] for n in fitting) / sum(odds) / 3
            logs.append(math.log(max(mass, 1e-9)))
        total.append(sum(logs) / len(logs))
    slots = torch.nn.functional.one_hot(SLOTS).float()
    found = slot_likelihood(directions, items, fits, slots)
    assert found.item() == pytest.approx(sum(total) / 2, rel=1e-4)


def test_the_regression_learns_to_cover_slots(plane):
    # East is answered by items at 0 and 90 degrees, north by items at 180 and 270.
    fits = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]]).bool()
    kinds = torch.tensor([0, 0, 1, 1, 2, 3])
    graded = GradedQueries(QUERIES[:2], plane.encode(["east", "north"]), fits, kinds)
    items = plane.catalog.embeddings
    slots = torch.nn.functional.one_hot(kinds).float()
    network = fit_network(graded, items, 3, steps=150)
    torch.manual_seed(5)
    again = fit_network(graded, items, 3, steps=150)
    with torch.no_grad():
        assert network.directions(graded.vectors).equal(again.directions(graded.vectors))
        value = slot_likelihood(
            network.directions(graded.vectors), items, graded.fits, slots
        ).item()
    # The best three of 24 directions around the circle, tried one by one.
    angles = torch.arange(24) * math.pi / 12
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    tried = list(itertools.combinations_with_replacement(range(24), 3))
    best = [
        max(slot_likelihood(circle[list(three)][None], items, fits[None], slots) for three in tried)
        for fits in graded.fits
    ]
    assert value == pytest.approx(sum(best).item() / 2, abs=0.03)
    answers = SetRegression(plane, network, 3, 6)(QUERIES[:2], graded.vectors)
    assert [set(row) for row in answers.items.tolist()] == [{0, 3}, {4, 5}]


def test_a_network_is_fitted_once_for_all_that_it_depends_on(plane, graded, tmp_path):
    fits = []

    def fit():
        fits.append(1)
        network = fit_network(graded, plane.catalog.embeddings, 3, steps=len(fits))
        return Fitted(network, {"number": len(fits)})

    def answer(about=None, vectors=graded.vectors):
        about = graded.facts() if about is None else about
        found = kept(tmp_path / "kept", about, vectors, 3, fit)
        with torch.no_grad():
            return found.network.directions(graded.vectors), found.facts["number"]

    first, number = answer()
    again, same = answer(vectors=graded.vectors + 1e-6)  # round-off of the encoder
    assert again.equal(first)
    assert number == same == 1
    # Another verdict, other slots, other words, or another encoder: fitted anew.
    verdicts = graded.fits.clone()
    verdicts[0, 0] = False
    changed = [
        GradedQueries(graded.queries, graded.vectors, verdicts, SLOTS),
        GradedQueries(graded.queries, graded.vectors, graded.fits, SLOTS.flip(0)),
        GradedQueries(QUERIES[1:], graded.vectors, graded.fits, SLOTS),
    ]
    assert [answer(other.facts())[1] for other in changed] == [2, 3, 4]
    assert answer(vectors=graded.vectors.flip(1) * 0.9)[1] == 5
    assert answer(vectors=graded.vectors.flip(1) * 0.9)[1] == 5
    assert answer()[1] == 6  # the file holds one of them
    assert len(list((tmp_path / "kept").iterdir())) == 4
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        InputError,
        match=r"a method of this run fitted and keeps, .* damaged file at .*\. Delete it; ",
    ):
        answer()


def test_a_direction_leans_to_the_query():
    torch.manual_seed(0)
    network, nearer = SlotSet(4, set_size=3), SlotSet(4, set_size=3, anchor=0.5)
    query = normalize(torch.randn(5, 4))
    nearer.load_state_dict({**network.state_dict(), "anchor": nearer.anchor})
    with torch.no_grad():
        directions = network.directions(query)
        hidden = network.rows + network.query(query * 2).unsqueeze(1)
        free = normalize(network.out(hidden + network.block(hidden)))
    for found, anchor in ((directions, 0.2), (nearer.directions(query), 0.5)):
        assert found.allclose(normalize(anchor * query.unsqueeze(1) + free), atol=1e-6)


def test_graded_queries_without_a_fit_have_no_center(plane):
    graded = GradedQueries(QUERIES[:1], plane.encode(["east"]), torch.zeros(1, 6).bool(), SLOTS)
    assert graded.centers(plane.catalog.embeddings).tolist() == [[0, 0]]
