import dataclasses
import math

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.data.source import Items
from r4t.data.wardrobe import Truth
from r4t.errors import InputError
from r4t.evaluation import measuring
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.measuring import Plan, Scores, returned
from r4t.evaluation.scores import Composite
from r4t.index import TorchIndex
from r4t.methods.nearest import NoFanout
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.search import Searcher
from r4t.sets import Popularity

QUERIES = [
    Query("1", "east", "set", ("a", "d")),
    Query("2", "north", "set", ("c",)),
    Query("3", "west", "set", ("f", "e")),
]
UNTIMED = {"latency_batches": ()}
EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def evaluate(
    methods, queries, searcher, directions, items=None, *, optional=(), truth=None,
    subtopic_field=None, on_sets=None, **plan,
):  # fmt: skip
    """Measure with the groups of arguments built from single ones."""
    known = GroundTruth(searcher, queries, truth, subtopic_field)
    scores = Scores(directions, items, optional)
    return measuring.evaluate(methods, queries, searcher, scores, known, Plan(**plan), on_sets)


class Ways:
    """Looks in the given directions, whatever the query."""

    key, draws = "ways", 1

    def __init__(self, searcher, ways=(EAST, NORTH), name="Ways"):
        self.searcher, self.ways, self.name = searcher, torch.tensor(ways), name

    def __call__(self, queries, vectors, *, draw=0):
        return self.searcher.retrieve(vectors, self.ways.expand(len(vectors), -1, -1), pool_size=3)


@dataclasses.dataclass
class Turning:
    """Draw n looks n quarter turns from the east, twice."""

    searcher: Searcher
    name: str = "Turning"
    draws: int | None = None
    key: str = "turning"

    def __call__(self, queries, vectors, *, draw=0):
        angle = torch.tensor(draw * math.pi / 2)
        way = torch.stack([angle.cos(), angle.sin()])
        return self.searcher.retrieve(vectors, way.expand(len(vectors), 2, 2), pool_size=3)


def alignment(sets):
    return torch.cosine_similarity(sets.directions, sets.query.unsqueeze(1), dim=-1).mean(-1)


def first_row(sets):
    return sets.items[:, 0].float()


@pytest.fixture
def truth():
    items = {name: {"style": ("punk",), "slot": (slot,)} for name, slot in zip("abcd", "tuus")}
    items |= {name: {"style": ("glam",), "slot": ("t",)} for name in "ef"}
    return FacetTruth(
        Truth(items, {"1": {"style": "punk"}, "2": {"style": "glam"}, "3": {"style": "glam"}}),
        list("abcdef"),
    )


@pytest.fixture
def worn(plane, tmp_path):
    """The same items with a category: two hats, shoes, and three without."""
    kinds = ["hat", "hat", None, "shoes", None, None]
    items = Items(list("abcdef"), [f"item {name}" for name in "abcdef"], {"category": kinds})
    catalog = write_catalog(tmp_path / "worn", items, plane.catalog.embeddings, None)
    return Searcher(catalog, plane.encoder, TorchIndex(catalog.embeddings))


@pytest.fixture
def results(plane, truth):
    return evaluate(
        [NoFanout(plane, 2, 3), Ways(plane)],
        QUERIES,
        plane,
        {"alignment": alignment},
        {"first": first_row},
        truth=truth,
        batch_size=2,
        latency_batches=(1,),
    )


def test_values_by_hand(results):
    plain, ways = results.values["No fan-out"], results.values["Ways"]
    # No fan-out: ab(c) for east; dc(b) for north; e and one of d f for west (180 degrees).
    assert plain["items/recall"][:2] == [0.5, 1.0]
    assert plain["items/hit"] == [1.0, 1.0, 1.0]
    assert plain["items/first"] == [0.0, 3.0, 4.0]
    assert plain["directions/alignment"] == [None] * 3
    # Ways: a and d; the pool takes a, d, then b. Cosines with east (1, 0), north, west.
    assert ways["items/cosine"] == pytest.approx([0.5, 0.5, -0.5])
    assert ways["items/vendi"] == pytest.approx([2.0] * 3, abs=1e-6)
    assert ways["items/recall"] == [1.0, 0.0, 0.0]
    assert ways["items/hit"] == [1.0, 0.0, 0.0]
    assert ways["directions/alignment"] == pytest.approx([0.5, 0.5, -0.5])
    # Punk is in the slots t (a), u (b c), s (d): a and d are two of three, with b all three.
    assert ways["items/facet recall"] == pytest.approx([2 / 3, 0, 0], abs=1e-6)
    assert ways["items/pool facet recall"] == [1.0, 0.0, 0.0]
    assert ways["items/fit precision"] == [1.0, 0.0, 0.0]
    # a and d fit and fill two slots: the best that two items can do.
    assert ways["items/alpha nDCG"] == [1.0, 0.0, 0.0]
    # a and b: as good; dc for "north" asks for glam, of which e and f are in one slot.
    assert plain["items/alpha nDCG"][:2] == [1.0, 0.0]
    assert "items/subtopic recall" not in ways  # slots are the subtopics: it is facet recall
    assert results.settings == {
        "set_size": 2, "pool_size": 3, "catalog_items": 6, "left_out": {}, "facts": {},
    }  # fmt: skip
    assert results.queries == ["1", "2", "3"]
    assert results.clusters == ["style=punk", "style=glam", "style=glam"]
    assert results.texts == ["east", "north", "west"]


def test_without_facets_queries_of_one_text_or_one_reference_set_are_a_cluster(plane):
    queries = [Query("1", "east", "set", ("a", "d")), Query("2", "west", "set", ("c",)),
               Query("3", "north", "set", ("d", "a")), Query("4", "west", "set", ("f",))]  # fmt: skip
    found = evaluate([NoFanout(plane, 2, 3)], queries, plane, {}, **UNTIMED)
    assert found.clusters == [0, 1, 0, 1]
    assert found.interval("No fan-out", "items/vendi").clusters == 2


def test_what_is_returned_are_distinct_items_of_the_pool(plane):
    method = Ways(plane, (EAST, EAST))
    sets = method(QUERIES[:1], torch.tensor([EAST]))
    assert sets.items.tolist() == [[0, 0]]
    got = returned(sets, plane)
    assert got.items.tolist() == [[0, 1]]
    assert torch.equal(got.item_embeddings[0], plane.catalog.embeddings[:2])
    assert got.mask.all()
    assert got.directions is None
    assert got.pool.tolist() == sets.pool.tolist() == [[0, 1, 2]]
    # Without a pool: the distinct members, and what is missing is masked.
    alone = returned(plane.retrieve(sets.query, method.ways.unsqueeze(0)), plane)
    assert alone.items.tolist() == [[0, -1]]
    assert alone.mask.tolist() == [[True, False]]


def test_variants_count_once_among_the_items_returned(plane):
    # From the east come a, b, c; a and b are variants, so c is returned before b. Recall of the pool
    # is of items: a, b and c of four references are three quarters.
    plane.catalog._variants["auto"] = torch.tensor([0, 0, 2, 3, 4, 5])
    asked = [dataclasses.replace(QUERIES[0], references=("a", "b", "c", "e"))]
    seen = []

    def size(sets):
        seen.append(sets.items.tolist())
        return torch.ones(len(sets))

    for settings in ({}, {"distinct_by": "none"}):
        found = evaluate(
            [NoFanout(plane, 2, 3)], asked, plane, {}, {"size": size}, **settings, **UNTIMED
        )
        assert found.values["No fan-out"]["items/recall"] == [0.75]
    assert seen == [[[0, 2]], [[0, 1]]]


def test_directions_see_duplicates_and_items_do_not(plane):
    def distinct(sets):
        return torch.tensor([len(set(row)) / len(row) for row in sets.items.tolist()])

    found = evaluate([Ways(plane, (EAST, EAST))], QUERIES[:1], plane, {"distinct": distinct},
                     {"distinct": distinct}, **UNTIMED)  # fmt: skip
    assert found.values["Ways"]["directions/distinct"] == [0.5]
    assert found.values["Ways"]["items/distinct"] == [1.0]
    # Items a and b, 10 degrees apart: eigenvalues (1 ± cos 10°)/2.
    big = (1 + math.cos(math.radians(10))) / 2
    vendi = math.exp(-big * math.log(big) - (1 - big) * math.log(1 - big))
    assert found.values["Ways"]["items/vendi"] == pytest.approx([vendi], abs=1e-6)


def test_exposure_is_measured_over_all_batches(plane):
    """Twelve queries, four a batch: two ask for the north, ten for the east."""
    queries = [Query(f"{n}", "north" if n in (3, 9) else "east", "") for n in range(12)]
    found = evaluate([NoFanout(plane, 2, 3)], queries, plane, {}, batch_size=4, **UNTIMED)
    exposures = found.values["No fan-out"]["items/exposure"]
    # East gets a and b, in ten answers; north gets d and c, in two: more than a tenth of 12 as well.
    assert exposures == [1.0] * 12
    queries = [Query(f"{n}", "north" if n == 3 else "east", "") for n in range(12)]
    found = evaluate([NoFanout(plane, 2, 3)], queries, plane, {}, batch_size=4, **UNTIMED)
    assert found.values["No fan-out"]["items/exposure"] == [1.0] * 3 + [0.0] + [1.0] * 8
    few = evaluate([NoFanout(plane, 2, 3)], queries[:9], plane, {}, **UNTIMED)
    assert "items/exposure" not in few.measures


def test_sets_carry_what_scores_may_read(plane):
    plane.popularity = Popularity(torch.arange(6), 9)

    def seen(sets):
        assert sets.query_texts == ["east", "north", "west"]
        assert sets.catalog is plane.catalog
        assert sets.popularity.sets == 9
        assert sets.references.tolist() == [[0, 3], [2, -1], [5, 4]]
        assert sets.pool.shape == (3, 3)
        return first_row(sets)

    evaluate([Ways(plane)], QUERIES, plane, {"seen": seen}, {"seen": seen}, **UNTIMED)


def test_batch_size_does_not_matter(plane, truth, results):
    methods = [NoFanout(plane, 2, 3), Ways(plane)]
    again = evaluate(methods, QUERIES, plane, {"alignment": alignment}, {"first": first_row},
                     truth=truth, batch_size=9, **UNTIMED)  # fmt: skip
    for name, values in results.values.items():
        assert again.values[name] == {m: pytest.approx(v, abs=1e-6) for m, v in values.items()}


def test_no_recall_without_references_and_no_facets_without_truth(plane):
    found = evaluate([NoFanout(plane, 2, 3)], [Query("1", "east", "mood")], plane, {}, **UNTIMED)
    assert found.measures == ["items/vendi", "items/cosine"]
    assert found.latency == {"No fan-out": {}}
    assert found.settings["left_out"] == {}


class Needy:
    """An objective in all but name: reads some fields, and has no score for the item in row 4."""

    def __init__(self, *needs):
        self.needs = frozenset(needs)

    def accepts(self, sets):
        return self.needs <= sets.present

    def facts(self):
        return {"model": "judge-1"}

    def __call__(self, sets):
        if "references" in self.needs:
            assert (sets.references >= 0).any(-1).all()
        return torch.where(sets.items[:, 0] == 4, torch.nan, 0.5)


def test_none_where_a_score_does_not_apply(plane):
    queries = [*QUERIES, Query("4", "east", "mood")]
    scores = {"texts": Needy("texts"), "references": Needy("references"), "any": Needy()}
    found = evaluate([NoFanout(plane, 2, 3)], queries, plane, {}, scores, **UNTIMED)
    values = found.values["No fan-out"]
    assert values["items/texts"] == [None] * 4
    # The third query's nearest item is e (row 4); the fourth has no reference.
    assert values["items/references"] == [0.5, 0.5, None, None]
    assert values["items/any"] == [0.5, 0.5, None, 0.5]
    assert values["items/recall"][3] is None
    assert found.settings["facts"]["any"] == {"model": "judge-1"}
    alone = evaluate([NoFanout(plane, 2, 3)], queries[3:], plane, {}, scores, **UNTIMED)
    assert alone.values["No fan-out"]["items/references"] == [None]


def late(sets):
    """Fails at the query "west", which the second batch holds."""
    if "west" in sets.query_texts:
        raise InputError(expected="'brand'", found="no such column", remedy="Name another.")
    return first_row(sets)


def test_optional_scores_are_left_out_for_all_and_others_end_the_evaluation(plane):
    methods = [NoFanout(plane, 2, 3), Ways(plane)]
    found = evaluate(methods, QUERIES, plane, {"late": late}, {"late": late, "first": first_row},
                     optional={"late"}, batch_size=2, **UNTIMED)  # fmt: skip
    assert not [name for name in found.measures if "late" in name]
    assert all(len(numbers) == 3 for v in found.values.values() for numbers in v.values())
    assert found.settings["left_out"]["late"].startswith("Expected 'brand', but found no")
    with pytest.raises(InputError, match="Expected 'brand'"):
        evaluate(methods, QUERIES, plane, {}, {"late": late}, **UNTIMED)


def test_subtopics_are_the_categories_of_the_references(worn):
    found = evaluate([NoFanout(worn, 2, 3)], QUERIES, worn, {}, **UNTIMED)
    values = found.values["No fan-out"]
    # East wants a (hat) and d (shoes) and gets a, b: 1 / (1 + 1/log2 3) = 0.613147, one of two.
    # North wants c, a subtopic of its own at rank 2 of d, c: 1/log2 3 = 0.630930.
    assert values["items/alpha nDCG"][:2] == pytest.approx([0.613147, 0.63093], abs=1e-6)
    assert values["items/subtopic recall"][:2] == [0.5, 1.0]
    again = evaluate([NoFanout(worn, 2, 3)], QUERIES, worn, {}, subtopic_field="category",
                     batch_size=1, **UNTIMED)  # fmt: skip
    assert again.values == found.values
    with pytest.raises(InputError, match=r"\['category'\] of .* found 'brand'"):
        evaluate([NoFanout(worn, 2, 3)], QUERIES, worn, {}, subtopic_field="brand", **UNTIMED)


def test_why_there_are_no_subtopics_is_told(plane, worn, monkeypatch):
    found = evaluate([NoFanout(plane, 2, 3)], QUERIES, plane, {}, **UNTIMED)
    assert set(found.settings["left_out"]) == {"alpha nDCG", "subtopic recall"}
    assert "column 'category', but found none" in found.settings["left_out"]["alpha nDCG"]
    assert "items/alpha nDCG" not in found.measures
    monkeypatch.setattr("r4t.evaluation.subtopics.DEEPEST", 1)
    found = evaluate([NoFanout(worn, 2, 3)], QUERIES, worn, {}, **UNTIMED)
    assert "lists of 1 to 1 items for α-nDCG" in found.settings["left_out"]["alpha nDCG"]


def test_vendi_across_runs(plane):
    methods = [Turning(plane), NoFanout(plane, 2, 3), Ways(plane)]
    results = evaluate(methods, QUERIES, plane, {}, across_runs=2, **UNTIMED)
    name = "directions/vendi across runs"
    # Draws 0 and 1 look east and north: two orthogonal vectors of two.
    assert results.values["Turning"][name] == pytest.approx([1.0] * 3, abs=1e-6)
    assert results.values["No fan-out"][name] == [None] * 3
    assert results.values["Ways"][name] == [None] * 3  # it has one draw
    # Draws 0, 1, 2: east, north, west. K/3 has the eigenvalues 2/3 and 1/3.
    results = evaluate(methods[:1], QUERIES, plane, {}, across_runs=3, **UNTIMED)
    expected = math.exp(2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3)) / 3
    assert results.values["Turning"][name] == pytest.approx([expected] * 3, abs=1e-6)


def test_methods_with_too_few_draws_have_no_vendi_across_runs(plane):
    methods = [Turning(plane, "few", draws=1), Turning(plane, "enough", draws=2)]
    methods.append(Turning(plane, "unrepeated"))
    results = evaluate(
        methods, QUERIES, plane, {}, across_runs=2, unrepeated={"unrepeated"}, **UNTIMED
    )
    name = "directions/vendi across runs"
    assert results.values["few"][name] == results.values["unrepeated"][name] == [None] * 3
    assert results.values["enough"][name] == pytest.approx([1.0] * 3, abs=1e-6)


class Judge:
    """Gives each set a score and a reason, and counts how many it was asked for."""

    def __init__(self, *needs):
        self.needs, self.asked = frozenset(needs), 0

    def __call__(self, sets):
        self.asked += len(sets)
        self._texts = sets.query_texts
        return torch.linspace(0.25, 0.75, len(sets))

    def reasons(self):
        return ["" if text == "north" else f"all {text}" for text in self._texts]


def test_reasons_are_told_beside_the_scores(plane):
    told = []
    queries = [Query("0", "south", "mood"), *QUERIES[:2]]
    evaluate([Ways(plane)], queries, plane, {"judge": Judge()}, {"judge": Judge("references")},
             on_sets=lambda *row: told.append(row), **UNTIMED)  # fmt: skip
    ((_, _, _, scores, reasons),) = told
    # The first query has no references: nobody asked the second judge about it.
    assert reasons == {
        "directions/judge": ["all south", "all east", ""],
        "items/judge": ["", "all east", ""],
    }
    assert scores["items/judge"] == [None, 0.25, 0.75]


def test_a_composite_is_made_of_the_scores_shown(plane):
    """A judge that never says the same twice is asked once for both columns."""
    judge = Judge()
    scores = iter(torch.rand(100, generator=torch.Generator().manual_seed(0)).tolist())

    class Moody(Objective):
        bounds = (0.0, 1.0)

        def score(self, sets):
            judge.asked += len(sets)
            return torch.tensor([next(scores) for _ in range(len(sets))])

    class Rows(Objective):
        bounds = (0.0, 1.0)

        def score(self, sets):
            return sets.items[:, 0] / 5

    reward = Reward({"moody": 2.0, "rows": -1.0}, {"moody": Moody(), "rows": Rows()})
    directions = {**reward.objectives, "composite": Composite(reward)}
    found = evaluate([Ways(plane), NoFanout(plane, 2, 3)], QUERIES, plane, directions,
                     batch_size=2, **UNTIMED)  # fmt: skip
    moody, rows, composite = (
        found.values["Ways"][f"directions/{name}"] for name in ("moody", "rows", "composite")
    )
    assert composite == pytest.approx([2 * a - b for a, b in zip(moody, rows)], abs=1e-8)
    assert judge.asked == 3
    assert found.values["No fan-out"]["directions/composite"] == [None] * 3
    # Without its components it scores by itself.
    alone = evaluate([Ways(plane)], QUERIES, plane, {"composite": Composite(reward)}, **UNTIMED)
    assert None not in alone.values["Ways"]["directions/composite"]
    assert judge.asked == 6


def test_an_observer_sees_every_set(plane):
    shown = []

    def on_sets(name, queries, sets, scores, reasons):
        assert reasons == {}  # no score gives one
        shown.append((name, [query.id for query in queries], sets.items.tolist(), scores))

    evaluate([Ways(plane, (EAST, EAST))], QUERIES, plane, {"alignment": alignment}, batch_size=2,
             on_sets=on_sets, **UNTIMED)  # fmt: skip
    assert [row[:3] for row in shown] == [
        ("Ways", ["1", "2"], [[0, 0], [0, 0]]),
        ("Ways", ["3"], [[0, 0]]),
    ]
    # Cosine of the east with the west.
    assert shown[1][3]["directions/alignment"] == [-1.0]
    assert {"items/vendi", "items/cosine", "items/recall"} <= set(shown[1][3])


def test_untimed_methods_are_measured_but_not_timed(plane):
    methods = [NoFanout(plane, 2, 3, name=name) for name in ("plain", "oracle")]
    results = evaluate(
        methods, QUERIES, plane, {}, latency_batches=(1,), latency_calls=1, untimed={"oracle"}
    )
    assert list(results.latency) == ["plain"]
    assert results.methods == ["plain", "oracle"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 0}, "batch_size to be at least 1, but found 0. Raise it"),
        ({"across_runs": -1}, "across_runs to be at least 0, but found -1. Raise it"),
        ({"across_runs": 1}, "two or more runs .* found across_runs 1, .* Use 5, .* or 0 for none"),
        ({"latency_batches": (1, 0)}, "latency_batches to be at least 1, but found 0. Raise it"),
        ({"latency_calls": 0}, "latency_calls to be at least 1, but found 0. Raise it"),
    ],
)
def test_numbers_are_checked_before_anything_is_measured(plane, setting, message):
    def never(queries, vectors, *, draw=0):
        raise AssertionError("measured")

    never.name = "never"
    with pytest.raises(InputError, match=message):
        evaluate([never], QUERIES, plane, {}, **setting)


def test_what_cannot_be_compared(plane):
    with pytest.raises(
        InputError, match=r"\(2, 3\) of every method, as of 'No fan-out', .* \(3, 4\) for 'other'"
    ):
        evaluate([NoFanout(plane, 2, 3), NoFanout(plane, 3, 4, name="other")], QUERIES, plane, {})
    with pytest.raises(InputError, match=r"found methods \['No fan-out', 'No fan-out'\] and 3"):
        evaluate([NoFanout(plane, 2, 3), NoFanout(plane, 2, 3)], QUERIES, plane, {})
    with pytest.raises(InputError, match="and 0 queries. Correct"):
        evaluate([NoFanout(plane, 2, 3)], [], plane, {})


def test_gold_facets_are_the_subtopics(plane):
    queries = [
        Query("1", "east", "set", ("a", "b", "d", "f"), (("a", "b"), ("b", "d"), ("d",))),
        Query("2", "north", "set", ("c",)),  # references without facets
        Query("3", "west", "set", ("f", "e"), (("f",),)),
    ]
    read = Needy("facets")
    found = evaluate([Ways(plane)], queries, plane, {}, {"read": read}, batch_size=2, **UNTIMED)
    values = found.values["Ways"]
    # Ways returns a and d for everyone, and b with them in the pool: all three facets of the first
    # query by a and d alone. Only e and f answer the third.
    assert values["items/facet recall"] == [1.0, None, 0.0]
    assert values["items/pool facet recall"] == [1.0, None, 0.0]
    # Gains: a 1, then d 2 of two facets. Best: b 2, then d 1 + 1/2 (or d, then b: the same).
    by_rank = 1 / math.log2(3)
    assert values["items/alpha nDCG"] == [
        pytest.approx((1 + 2 * by_rank) / (2 + 1.5 * by_rank)), None, 0.0,
    ]  # fmt: skip
    assert values["items/recall"] == [0.75, 0.0, 0.0]
    assert "items/subtopic recall" not in values  # it is facet recall
    assert "items/fit precision" not in values
    assert values["items/read"] == [0.5, None, 0.5]
    assert found.settings["left_out"] == {}  # no category is asked for
    plain = evaluate([NoFanout(plane, 2, 3)], queries[:1], plane, {}, **UNTIMED)
    # a and b: two of three facets.
    assert plain.values["No fan-out"]["items/facet recall"] == [pytest.approx(2 / 3)]


def test_latent_facets_come_before_gold_ones(plane, truth):
    queries = [dataclasses.replace(QUERIES[0], facets=(("a",),)), *QUERIES[1:]]
    found = evaluate([Ways(plane)], queries, plane, {}, truth=truth, **UNTIMED)
    expected = evaluate([Ways(plane)], QUERIES, plane, {}, truth=truth, **UNTIMED)
    assert found.values == expected.values
