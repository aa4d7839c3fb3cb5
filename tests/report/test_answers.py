"""Records of what methods answer: by hand, and to a file and back."""

import json

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.data.queries import Query
from r4t.data.source import Items
from r4t.errors import InputError
from r4t.report.answers import (
    AnswerItem,
    answer_writer,
    checked_columns,
    make_answers,
    read_answers,
    short_columns,
)

BOTH = Query("q1", "east north", "mood", ("b", "f"))


def fanned_out(plane, *subqueries, set_size=3, pool_size=None):
    z = plane.encode_queries([BOTH.text])
    return plane.retrieve_texts(z, [list(subqueries)], set_size, pool_size=pool_size)


def test_a_fan_out_by_hand(plane):
    sets = fanned_out(plane, "east", "up", "north", set_size=4, pool_size=4)
    (answer,) = make_answers("FOLM", [BOTH], sets, {"items/vendi": [2.5]}, metadata={})
    # East and north in turn: a (0°), d (90°), then b (10°) and c (30°).
    assert [item.id for item in answer.items] == ["a", "d", "b", "c"]
    # The query is at 45°: cos 45°, 45°, 35°, 15°.
    assert [item.cosine for item in answer.items] == [0.7071, 0.7071, 0.8192, 0.9659]
    # c came from the turn of north, but at 30° it is nearer to east.
    assert [item.direction for item in answer.items] == [1, 3, 1, 1]
    assert [item.subquery for item in answer.items] == ["east", "north", "east", "east"]
    assert [item.is_reference for item in answer.items] == [False, False, True, False]
    assert answer.subqueries == ["east", "up", "north"]
    assert answer.directions == 2  # the encoder does not know the word "up"
    assert (answer.query_id, answer.query, answer.method) == ("q1", "east north", "FOLM")
    assert answer.scores == {"items/vendi": 2.5}


def test_a_ranking_has_no_directions(plane):
    sets = plane.ranked_sets(plane.encode_queries([BOTH.text]), torch.tensor([[2, 1, 3]]), 2)
    (answer,) = make_answers("MMR", [BOTH], sets, {}, metadata={"place": list("uvwxyz")})
    assert answer.items == [
        AnswerItem("c", "item c", 0.9659, metadata={"place": "w"}),
        AnswerItem("b", "item b", 0.8192, is_reference=True, metadata={"place": "v"}),
    ]
    assert (answer.directions, answer.subqueries) == (0, [])


def test_without_a_pool_the_distinct_members_are_the_items(plane):
    (answer,) = make_answers(
        "FOLM", [BOTH], fanned_out(plane, "east", "east", "north"), {}, metadata={}
    )
    assert [item.id for item in answer.items] == ["a", "d"]


def test_vectors_have_no_words_and_a_fan_out_of_nothing_no_items(plane):
    z = plane.encode_queries([BOTH.text])
    sets = plane.retrieve(z, plane.encode(["south", "west"]).unsqueeze(0), pool_size=2)
    (answer,) = make_answers("Diffusion", [BOTH], sets, {}, metadata={})
    assert [(item.id, item.direction, item.subquery) for item in answer.items] == [
        ("f", 1, ""),
        ("e", 2, ""),
    ]
    (nothing,) = make_answers("FOLM", [BOTH], fanned_out(plane, "up", pool_size=2), {}, metadata={})
    assert (nothing.items, nothing.directions, nothing.subqueries) == ([], 0, ["up"])


def test_refusals(plane):
    sets = fanned_out(plane, "east")
    with pytest.raises(InputError, match=r"but found 1 sets for 2 queries\. Build the sets"):
        make_answers("FOLM", [BOTH, BOTH], sets, {}, metadata={})
    with pytest.raises(
        InputError, match=r"with its catalog, but found sets without a catalog\. Build"
    ):
        make_answers("FOLM", [BOTH], sets.extended(catalog=None), {}, metadata={})


@pytest.fixture
def goods(tmp_path):
    """A catalog with columns of every sort."""
    metadata = {
        "story": ["long " * 20] * 3,
        "price": [1.5, None, float("nan")],
        "tags": [["a"], ["b", "c"], []],
        "brand": ["acme", None, "zenith"],
        "stock": [1, 2, 3],
        "color": ["red", "blue", "red"],
        "none": [None] * 3,
    }
    items = Items(list("abc"), ["one", "two", "three"], metadata)
    return write_catalog(tmp_path / "goods", items, torch.eye(3), None)


def test_short_columns_are_chosen_by_default(goods):
    assert short_columns(goods) == ["price", "brand", "stock"]
    assert short_columns(goods, most=1) == ["price"]
    with pytest.raises(InputError, match=r"'tags'\], but found 'brnd'\. .* Did you mean 'brand'"):
        checked_columns(goods, ["price", "brnd"])


def test_written_answers_are_read_back(plane, tmp_path):
    path = tmp_path / "new" / "sets.jsonl"
    queries = [BOTH, Query("q2", "östlich east", "mood")]
    z = plane.encode_queries([query.text for query in queries])
    sets = plane.retrieve_texts(z, [["east", "north"], ["west"]], 2, pool_size=3)
    ranked = plane.ranked_sets(z, torch.tensor([[0, 1], [1, 0]]), 2)
    with answer_writer(path) as write:
        write("FOLM", queries, sets, {"items/vendi": [1.5, None]}, {})
        write("MMR", queries, ranked, {}, {})
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["method"] for line in lines] == ["FOLM", "FOLM", "MMR", "MMR"]
    assert "östlich" in lines[1]  # and not \u00f6
    answers = read_answers(path)
    expected = make_answers("FOLM", queries, sets, {"items/vendi": [1.5, None]}, metadata={})
    assert answers[:2] == expected
    assert answers[1].scores == {"items/vendi": None}
    assert [item.id for item in answers[3].items] == ["b", "a"]


def test_reasons_are_kept_with_their_scores(plane, tmp_path):
    path = tmp_path / "sets.jsonl"
    queries = [BOTH, Query("q2", "west", "mood")]
    sets = plane.retrieve_texts(
        plane.encode_queries([query.text for query in queries]), [["east"], ["west"]], 1
    )
    scores = {"directions/judge": [4.0, None], "items/judge": [2.0, 3.0]}
    reasons = {"directions/judge": ["“both”\nends", ""], "items/judge": ["alike", "far"]}
    with answer_writer(path) as write:
        write("FOLM", queries, sets, scores, reasons)
        write("FOLM", queries, sets, scores, {})
    first, second, *without = read_answers(path)
    assert first.reasons == {"directions/judge": "“both”\nends", "items/judge": "alike"}
    assert second.reasons == {"items/judge": "far"}
    assert [answer.reasons for answer in without] == [{}, {}]
    assert [first, second] == make_answers(
        "FOLM", queries, sets, scores, metadata={}, reasons=reasons
    )


def test_files_without_reasons_are_read(plane, tmp_path):
    path = tmp_path / "sets.jsonl"
    with answer_writer(path) as write:
        write("FOLM", [BOTH], fanned_out(plane, "east"), {}, {})
    row = json.loads(path.read_text(encoding="utf-8"))
    del row["reasons"]
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (answer,) = read_answers(path)
    assert (answer.query_id, answer.reasons) == ("q1", {})


def test_fields_are_written_as_json_can_hold_them(goods, tmp_path, plane):
    from r4t.index import TorchIndex
    from r4t.methods.nearest import NoFanout
    from r4t.search import Searcher

    searcher = Searcher(goods, None, TorchIndex(goods.embeddings))
    sets = NoFanout(searcher, 3, 3)([BOTH], torch.eye(3)[:1])
    with answer_writer(tmp_path / "sets.jsonl", ["price", "tags"]) as write:
        write("MMR", [BOTH], sets, {}, {})
    (answer,) = read_answers(tmp_path / "sets.jsonl")
    assert {item.id: item.metadata for item in answer.items} == {
        "a": {"price": 1.5, "tags": ["a"]},
        "b": {"price": None, "tags": ["b", "c"]},
        "c": {"price": None, "tags": []},  # NaN is none
    }


def test_an_evaluation_that_ends_early_leaves_the_old_file(plane, tmp_path):
    path = tmp_path / "sets.jsonl"
    path.write_text("old\n", encoding="utf-8")
    sets = fanned_out(plane, "east")
    with pytest.raises(InputError, match="found 1 sets for 2"), answer_writer(path) as write:
        write("FOLM", [BOTH, BOTH], sets, {}, {})
    assert [entry.name for entry in tmp_path.glob("sets*")] == ["sets.jsonl"]
    with answer_writer(path) as write:
        write("FOLM", [BOTH], sets, {}, {})
        (part,) = tmp_path.glob("sets.jsonl.*.part")  # what a killed evaluation would leave
        assert len(part.read_text(encoding="utf-8").splitlines()) == 1
        assert path.read_text(encoding="utf-8") == "old\n"
    assert len(read_answers(path)) == 1
    assert not part.exists()


def test_files_without_answers_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="a JSONL file of answers, but found no file at .*r4t evaluate RUN"
    ):
        read_answers(tmp_path / "sets.jsonl")
    for line in ("not json", "[]", '{"query_id": "q"}', '{"items": [{"id": 1, "size": 2}]}'):
        (tmp_path / "sets.jsonl").write_text(line + "\n", encoding="utf-8")
        with pytest.raises(InputError, match="an answer as JSON, with query_id, .* at line 1 of"):
            read_answers(tmp_path / "sets.jsonl")
