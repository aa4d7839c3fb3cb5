import io
import json

import pytest
import torch
from rich.console import Console

from r4t.data.queries import Query
from r4t.data.wardrobe import Truth
from r4t.errors import InputError
from r4t.evaluation.baselines import NoFanout
from r4t.evaluation.memory import NearestSets
from r4t.evaluation.results import Results, compare
from r4t.evaluation.table import NOTE, blocks, evaluate, print_results, write_results
from r4t.evaluation.truth import FacetTruth

QUERIES = [
    Query("1", "east", "set", ("a", "d")),
    Query("2", "north", "set", ("c",)),
    Query("3", "west", "set", ("f", "e")),
]


class Ways:
    """Looks east and north, whatever the query."""

    name = "Ways"

    def __init__(self, searcher):
        self.searcher = searcher

    def __call__(self, queries, z):
        return self.searcher.fan_out(z, torch.eye(2).expand(len(z), 2, 2), pool_size=3)


def alignment(sets):
    return torch.cosine_similarity(sets.directions, sets.query.unsqueeze(1), dim=-1).mean(-1)


@pytest.fixture
def truth():
    items = {name: {"style": ("punk",), "slot": (slot,)} for name, slot in zip("abcd", "tuus")}
    items |= {name: {"style": ("glam",), "slot": ("t",)} for name in "ef"}
    return FacetTruth(
        Truth(items, {"1": {"style": "punk"}, "2": {"style": "glam"}, "3": {"style": "glam"}}),
        list("abcdef"),
    )


@pytest.fixture
def results(plane, truth):
    return evaluate(
        [NoFanout(plane, 2, 3), Ways(plane)],
        QUERIES,
        plane,
        {"alignment": alignment},
        truth=truth,
        batch_size=2,
        latency_batches=(1,),
        settings={"encoder": "compass"},
    )


def test_values_by_hand(results):
    plain, ways = results.values["No fan-out"], results.values["Ways"]
    # No fan-out: ab(c) for east; dc(b) for north; e and one of d f for west (180 degrees).
    assert plain["items/recall"][:2] == [0.5, 1.0]
    assert plain["items/hit"] == [1.0, 1.0, 1.0]
    assert plain["directions/alignment"] == [None] * 3
    assert plain["items/distinct"] == [2.0] * 3
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
    assert results.settings == {"set_size": 2, "pool_size": 3, "encoder": "compass"}


def test_batch_size_does_not_matter(plane, truth, results):
    methods = [NoFanout(plane, 2, 3), Ways(plane)]
    again = evaluate(methods, QUERIES, plane, {"alignment": alignment}, truth=truth, batch_size=9,
                     latency_batches=())  # fmt: skip
    assert again.values == results.values


def test_no_recall_without_references_and_no_facets_without_truth(plane):
    found = evaluate([NoFanout(plane, 2, 3)], [Query("1", "east", "mood")], plane, {},
                     latency_batches=())  # fmt: skip
    assert found.measures == ["items/vendi", "items/cosine", "items/distinct"]
    assert found.latency == {"No fan-out": {}}


def test_progress_is_told(plane):
    told = []
    evaluate([NoFanout(plane, 2, 3)], QUERIES, plane, {}, batch_size=2, latency_batches=(),
             on_progress=lambda name, count: told.append((name, count)))  # fmt: skip
    assert told == [("No fan-out", 2), ("No fan-out", 1)]


def test_blocks(results):
    difference = compare(results, "Ways", "No fan-out", "items/recall")
    directions, items, seconds, paired = blocks(results, [difference])
    assert directions.header == ["method", "alignment"]
    assert directions.rows == [["No fan-out", "–"], ["Ways", "0.167"]]
    assert items.title == "Returned items: 2 items, pool of 3, mean of 3 queries"
    assert items.header[:6] == ["method", "vendi", "cosine", "distinct", "recall", "hit"]
    assert items.rows[1][1:6] == ["2.000", "0.167", "2.000", "0.333", "0.333"]
    assert seconds.header[1:] == [
        f"{part}, batch 1" for part in ("encode", "generate", "search", "total")
    ]
    assert paired.rows[0][:2] == ["Ways − No fan-out", "items/recall"]


def test_written_and_printed(results, tmp_path):
    write_results(tmp_path, results)
    text = (tmp_path / "results.md").read_text()
    assert "| Ways | 0.167 |" in text
    assert text.endswith(NOTE + "\n")
    assert Results.load(tmp_path) == results
    assert len(json.loads((tmp_path / "results.json").read_text())["queries"]) == 3
    console = Console(file=io.StringIO(), width=200)
    print_results(console, results)
    shown = console.file.getvalue()
    assert "Returned items: 2 items" in shown
    assert "second block only" in shown


def test_what_cannot_be_compared(plane):
    with pytest.raises(
        InputError, match=r"found \(3, 4\) for 'other' and \(2, 3\) for 'No fan-out'"
    ):
        evaluate([NoFanout(plane, 2, 3), NoFanout(plane, 3, 4, name="other")], QUERIES, plane, {})
    with pytest.raises(InputError, match=r"found methods \['No fan-out', 'No fan-out'\] and 3"):
        evaluate([NoFanout(plane, 2, 3), NoFanout(plane, 2, 3)], QUERIES, plane, {})
    with pytest.raises(InputError, match="and 0 queries — correct"):
        evaluate([NoFanout(plane, 2, 3)], [], plane, {})


def test_nearest_sets_has_directions(plane):
    method = NearestSets(plane, QUERIES, set_size=2, pool_size=3)
    found = evaluate([method], QUERIES[:1], plane, {"alignment": alignment}, latency_batches=())
    assert found.mean("Nearest sets", "directions/alignment") is not None
