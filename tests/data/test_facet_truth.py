import pytest
import torch

from r4t.data.facet_truth import FacetTruth, load_truth
from r4t.data.wardrobe import Truth, generate
from r4t.errors import InputError

TRUTH = Truth(
    {
        "boots": {"style": ("punk",), "occasion": ("festival", "party"), "slot": ("shoes",)},
        "heels": {"style": ("glam",), "occasion": ("party",), "slot": ("shoes",)},
        "tee": {"style": ("punk",), "occasion": ("gym", "lounge"), "slot": ("top",)},
    },
    {
        "q1": {"style": "punk"},
        "q2": {"occasion": "party"},
        "q3": {"style": "punk", "occasion": "party"},
        "q4": {"style": "gothic"},
    },
)


def test_an_item_fits_when_it_matches_every_facet():
    truth = FacetTruth(TRUTH, ["tee", "boots", "heels"])
    assert truth.fits(["q1", "q2", "q3", "q4"]).int().tolist() == [
        [1, 1, 0],
        [0, 1, 1],
        [0, 1, 0],
        [0, 0, 0],
    ]
    assert truth.slots.tolist() == [1, 0, 0]


def test_combinations_do_not_depend_on_the_order_of_facets():
    one = {"style": "punk", "occasion": "gym"}
    queries = {"a": one, "b": dict(reversed(one.items())), "c": {"style": "punk"}}
    truth = Truth(TRUTH.items, queries)
    named = FacetTruth(truth, ["tee"]).combinations(["a", "b", "c"])
    assert named == ["occasion=gym style=punk", "occasion=gym style=punk", "style=punk"]
    with pytest.raises(InputError, match="every query, but found one without 'd'"):
        FacetTruth(truth, ["tee"]).combinations(["d"])


def test_written_and_read_again(tmp_path):
    wardrobe = generate(seed=5, size=2000)
    wardrobe.write_truth(tmp_path)
    assert load_truth(tmp_path) == wardrobe.truth
    truth = FacetTruth(wardrobe.truth, wardrobe.items.ids)
    assert sorted(truth.slots.unique().tolist()) == list(range(8))
    # An outfit's items fit its own query, but for accents and quiet colors.
    queries = wardrobe.wscr["test"]
    rows = {item: row for row, item in enumerate(wardrobe.items.ids)}
    fits = truth.fits([query.id for query in queries])
    own = [fits[i, rows[item]] for i, query in enumerate(queries) for item in query.references]
    assert 0.85 < torch.stack(own).float().mean() < 1


def test_unknown_names():
    with pytest.raises(
        InputError, match=r"every item .* found one without 'hat' \(1 of 2 missing\)\. Use"
    ):
        FacetTruth(TRUTH, ["tee", "hat"])
    with pytest.raises(
        InputError, match=r"every query, but found one without 'q9'\. Make the queries with"
    ):
        FacetTruth(TRUTH, ["tee"]).fits(["q9"])


def test_folders_and_files_without_truth(tmp_path):
    with pytest.raises(InputError, match=r"in truth\.json, but found none in .*\. Generate"):
        load_truth(tmp_path)
    (tmp_path / "truth.json").write_text('{"items": 3}')
    with pytest.raises(
        InputError, match=r'facets of "items" and "queries", but found something .*truth\.json\.'
    ):
        load_truth(tmp_path)


def test_training_queries_are_found_by_text_and_test_queries_are_not():
    queries = {"q1": {"style": "punk"}, "q2": {"style": "glam"}, "q3": {"style": "punk"}}
    texts = {"q1": "Punk looks", "q2": "glam", "q3": "glam!", "q4": "glam", "q5": "lounge"}
    splits = {"q1": "train", "q2": "train", "q3": "test", "q4": "val", "q5": "val"}
    truth = FacetTruth(Truth(TRUTH.items, queries, texts, splits), ["tee", "boots"])
    assert truth.taught("punk  LOOKS") == "q1"
    assert truth.taught("lounge") == "q5"
    with pytest.raises(
        InputError, match="training or validation query .* found the test query 'glam'. Measure"
    ):
        truth.taught("glam")
    with pytest.raises(InputError, match="found 'punk', which is none of its queries. Measure"):
        truth.taught("punk")
    with pytest.raises(InputError, match="which queries are for training, but found one without"):
        FacetTruth(TRUTH, ["tee"]).taught("punk looks")


def test_a_truth_of_an_older_version_is_read_without_splits(tmp_path):
    (tmp_path / "truth.json").write_text('{"items": {}, "queries": {"q1": {"style": "punk"}}}')
    assert load_truth(tmp_path) == Truth({}, {"q1": {"style": "punk"}})
