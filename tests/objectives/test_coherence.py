import copy
import itertools
import pickle
import time

import pytest
import torch

from r4t.errors import InputError
from r4t.objective import load_objective

# Kind on the first two axes, style on the last two; rows are unit after the catalog's scaling.
SHIRT_LINEN, SHIRT_LEATHER, SHOE_LINEN, SHOE_LEATHER, LONE_HAT, NO_KIND = range(6)
ROWS = [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 1, 0]]


@pytest.fixture
def catalog(catalog_of):
    return catalog_of(
        ROWS,
        category=["shirt", "shirt", "shoe", "shoe", "hat", None],
        style=["linen", "leather", "linen", "leather", "linen", None],
        tags=[["a", "b"], ["b", "a", "b"], ["b", "c"], ["d"], [], None],
    )


def test_coherence_of_embeddings_by_hand(catalog, chosen):
    rows = [
        # Mean shirt (1, 0, .5, .5)/√2 leaves (0, 0, ±.5, ∓.5)/√2, and so do the shoes.
        [SHIRT_LINEN, SHOE_LINEN, -1],  # cosine 1, one pair of the three asked for
        [SHIRT_LINEN, SHOE_LEATHER, -1],  # cosine −1, which a missing member does not raise
        [SHIRT_LINEN, SHIRT_LEATHER, SHOE_LINEN],  # −1, 1, −1
        [SHIRT_LINEN, SHOE_LINEN, SHIRT_LINEN],  # the repeated item changes nothing
        [SHIRT_LINEN, SHOE_LEATHER, SHIRT_LINEN],
        [SHIRT_LINEN, SHIRT_LINEN, SHIRT_LINEN],  # no pair of different items
        [SHIRT_LINEN, LONE_HAT, -1],  # nothing remains of the only hat
        [SHIRT_LINEN, SHOE_LINEN, NO_KIND],  # an item without a slot is in no pair
        [SHIRT_LINEN, NO_KIND, -1],
        [SHIRT_LINEN, -1, -1],
        [-1, -1, -1],  # without a member: the lower bound
    ]
    expected = [1 / 3, -1, -1 / 3, 1 / 3, -1, 0, 0, 1 / 3, 0, 0, -1]
    scores = load_objective("coherence")(chosen(catalog, rows))
    assert scores.tolist() == pytest.approx(expected, abs=1e-6)


def test_repeating_a_pair_never_helps(catalog_of, chosen):
    # A hundred shirts and shoes; the first five of each share a style, roughly.
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(100, 16, generator=generator)
    rows[:10] += 2 * torch.randn(16, generator=generator)
    catalog = catalog_of(rows, category=["shirt", "shoe"] * 50)
    pair, missing, last = [0, 1], [-1] * 8, list(range(90, 98))
    sets = [list(range(10)), pair * 5, pair + missing, pair + last, [0] * 9 + [1]]
    distinct, repeated, alone, filled, lopsided = load_objective("coherence")(
        chosen(catalog, sets)
    ).tolist()
    cosine = load_objective("coherence")(chosen(catalog, [pair])).item()
    assert distinct > 0.5
    assert cosine > 0.5
    # One pair of 45 is left, whether the others repeat it or are missing.
    assert repeated == pytest.approx(cosine / 45)
    assert alone == lopsided == pytest.approx(repeated)
    assert abs(filled) < 0.1  # eight unrelated items do not help either
    opposite = load_objective("coherence")(chosen(catalog, [[0, 91], [0, 0]])).tolist()
    again = load_objective("coherence")(chosen(catalog, [[0, 91] * 5, [0] * 10])).tolist()
    assert opposite[0] < 0
    assert again == pytest.approx(opposite)  # nor does repetition make a bad pair better


def test_two_items_of_a_small_slot_are_opposite_on_average(catalog_of, chosen):
    # Unrelated parts within a slot of n sum to zero, so their mean cosine is about −1/(n − 1):
    # exactly for n = 2, and for n = 3 if all are equally far from the mean.
    corners = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    catalog = catalog_of([[1, 0, 0], [0, 1, 0], *corners], category=["a", "a", "b", "b", "b"])
    scores = load_objective("coherence")(chosen(catalog, [[0, 1, -1], [2, 3, 4]]))
    assert scores.tolist() == pytest.approx([-1, -1 / 2])


def test_coherence_is_not_low_diversity(catalog, chosen):
    sets = chosen(
        catalog,
        [[SHIRT_LINEN, SHOE_LINEN], [SHIRT_LINEN, SHIRT_LEATHER], [SHIRT_LINEN, SHIRT_LINEN]],
    )
    # Both pairs have cosine 1/2: eigenvalues 3/4 and 1/4, Vendi 1.7548 of 2. They are equally
    # diverse, but one has one style and the other two. The least diverse set, a repetition, is not
    # coherent.
    diversity = load_objective("diversity")(sets)
    assert diversity.tolist() == pytest.approx([0.8774, 0.8774, 0.5], abs=1e-4)
    assert load_objective("coherence")(sets).tolist() == pytest.approx([1, -1, 0], abs=1e-6)


def test_coherence_of_a_field_by_hand(catalog, chosen):
    rows = [
        [SHIRT_LINEN, SHOE_LINEN, LONE_HAT],  # 3 of 3 pairs
        [SHIRT_LINEN, SHOE_LINEN, SHOE_LEATHER],  # 1 of 3
        [SHIRT_LINEN, SHIRT_LINEN, SHOE_LEATHER],  # 0 of 1
        [SHIRT_LINEN, SHOE_LINEN, NO_KIND],  # 1 of 1, and 1 of the 3 asked for
        [SHIRT_LINEN, NO_KIND, -1],
        [SHIRT_LINEN, SHIRT_LINEN, -1],
        [-1, -1, -1],
    ]
    coherence = load_objective("coherence", field="style")
    expected = [1, 1 / 3, 0, 1 / 3, 0, 0, 0]
    assert coherence(chosen(catalog, rows)).tolist() == pytest.approx(expected)
    assert coherence.bounds == (0.0, 1.0)
    assert not coherence.differentiable


def test_coherence_of_lists_is_their_jaccard_overlap(catalog, chosen):
    rows = [
        [SHIRT_LINEN, SHIRT_LEATHER, -1],  # {a, b} and {b, a}: 1 of 3 pairs
        [SHIRT_LINEN, SHOE_LINEN, -1],  # {a, b} and {b, c}: 1/3 of 3
        [SHIRT_LINEN, SHOE_LINEN, SHOE_LEATHER],  # 1/3, 0, 0
        [SHIRT_LINEN, SHOE_LINEN, LONE_HAT],  # an empty list counts as no value: 1/3 of 3
    ]
    scores = load_objective("coherence", field="tags")(chosen(catalog, rows))
    assert scores.tolist() == pytest.approx([1 / 3, 1 / 9, 1 / 9, 1 / 9])


@pytest.mark.parametrize("room", [None, 100])
def test_jaccard_equals_a_loop(catalog_of, chosen, room, monkeypatch):
    if room is not None:  # one set at a time
        monkeypatch.setattr("r4t_objectives.coherence.ROOM", room)
    generator = torch.Generator().manual_seed(0)
    tags = [
        torch.randint(0, 6, (size,), generator=generator).tolist()
        for size in torch.randint(0, 5, (40,), generator=generator).tolist()
    ]
    catalog = catalog_of(torch.randn(40, 3, generator=generator), tags=tags)
    rows = torch.randint(-1, 40, (25, 6), generator=generator).tolist()
    expected = []
    for row in rows:
        values = [set(tags[item]) for item in set(row) if item >= 0 and tags[item]]
        overlaps = [len(a & b) / len(a | b) for a, b in itertools.combinations(values, 2)]
        expected.append(sum(overlaps) / 15)  # 6·5/2 pairs are asked for
    scores = load_objective("coherence", field="tags")(chosen(catalog, rows))
    assert scores.tolist() == pytest.approx(expected, abs=1e-6)


def test_one_long_list_does_not_slow_the_others(catalog_of, chosen):
    # An earlier version was quadratic in the longest list of the catalog: minutes for these sets.
    generator = torch.Generator().manual_seed(0)
    tags = [[n % 7, n % 11] for n in range(500)]
    tags[3] = list(range(300))
    catalog = catalog_of(torch.randn(500, 3, generator=generator), tags=tags)
    rows = torch.randint(0, 500, (2000, 10), generator=generator).tolist()
    sets = chosen(
        catalog, [[0, 3] * 5, *rows]
    )  # {0} and {0, …, 299} overlap by 1/300, for 1 of 45 pairs
    coherence = load_objective("coherence", field="tags")
    began = time.perf_counter()
    assert coherence(sets)[0].item() == pytest.approx(1 / 300 / 45)
    assert time.perf_counter() - began < 5


def test_without_values_there_are_no_pairs(catalog_of, chosen):
    catalog = catalog_of(ROWS, category=["x", *[None] * 5], none=[None] * 5 + ["x"])
    sets = chosen(catalog, [[1, 2, 3]])
    for arguments in ({}, {"slot": "none"}, {"field": "none"}):
        assert load_objective("coherence", **arguments)(sets).item() == 0
    empty = catalog_of(ROWS, category=[None] * 6, tags=[[]] * 6)
    for arguments in ({}, {"field": "category"}, {"field": "tags"}):
        assert load_objective("coherence", **arguments)(chosen(empty, [[1, 2]])).item() == 0


def test_each_catalog_is_prepared_once_and_not_copied(catalog, catalog_of, chosen):
    coherence = load_objective("coherence")
    sets = chosen(catalog, [[SHIRT_LINEN, SHOE_LINEN]])
    assert coherence(sets).item() == pytest.approx(1)
    # The same items, each in a slot of its own: nothing remains of any.
    apart = catalog_of(ROWS, category=list("abcdef"))
    assert coherence(chosen(apart, [[SHIRT_LINEN, SHOE_LINEN]])).item() == pytest.approx(0)
    for other in (copy.deepcopy(coherence), pickle.loads(pickle.dumps(coherence))):
        assert other._prepared is None
        assert other(sets).item() == pytest.approx(1)


@pytest.mark.parametrize("arguments", [{"slot": "categry"}, {"field": "categry"}])
def test_a_column_that_does_not_exist_is_named_with_its_nearest(catalog, chosen, arguments):
    with pytest.raises(InputError, match=r"found 'categry'\. .* Did you mean 'category'\?"):
        load_objective("coherence", **arguments)(chosen(catalog, [[0, 1]]))


def test_slots_must_be_single_values(catalog, chosen):
    with pytest.raises(InputError, match="single value per item in column 'tags'"):
        load_objective("coherence", slot="tags")(chosen(catalog, [[0, 1]]))
