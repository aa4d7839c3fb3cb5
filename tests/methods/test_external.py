import json

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import RankFusion
from r4t.methods.external import ExternalSubqueries, read_subqueries

QUERIES = [Query("p", "east", "mood"), Query("q", "north", "mood")]


def ask(plane, method, queries=QUERIES, draw=0):
    vectors = plane.encode_queries([query.text for query in queries])
    return method(queries, vectors, draw=draw)


def written(tmp_path, *rows):
    path = tmp_path / "subqueries.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_given_subqueries(plane, tmp_path):
    path = written(
        tmp_path,
        {"query": "east", "subqueries": ["north", "east", "south"]},
        "",
        {"id": "q", "subqueries": ["west"]},
        {"id": "of another split", "subqueries": ["east"]},
        {"query": "of another split", "subqueries": ["east"]},
    )
    found = read_subqueries(path, QUERIES)
    assert found == {"p": [["north", "east", "south"]], "q": [["west"]]}
    sets = ask(plane, ExternalSubqueries(plane, found, set_size=2, pool_size=3))
    assert sets.texts == [["north", "east"], ["west"]]
    assert sets.mask.tolist() == [[True, True], [True, False]]
    assert sets.items.tolist() == [[3, 0], [4, -1]]
    assert sets.query_texts == ["east", "north"]
    assert (sets.pool >= 0).all()


def test_draw_d_is_line_d(plane, tmp_path):
    lines = [{"query": "east", "subqueries": [name]} for name in ("north", "east", "south")]
    lines += [{"id": "q", "subqueries": [name]} for name in ("west", "east")]
    given = ExternalSubqueries(plane, read_subqueries(written(tmp_path, *lines), QUERIES), 1, 3)
    assert [ask(plane, given, QUERIES[:1], draw=d).texts for d in range(3)] == [
        [["north"]],
        [["east"]],
        [["south"]],
    ]
    assert ask(plane, given).texts == [["north"], ["west"]]
    assert ask(plane, given, draw=1).texts == [["east"], ["east"]]
    # The number of runs that every query has.
    assert given.draws == 2
    assert ExternalSubqueries(plane, {}).draws == 0
    with pytest.raises(InputError, match=r"at least 3 lines .* for 1 of 2, such as 'north'"):
        ask(plane, given, draw=2)


def test_queries_of_one_text_have_their_own_by_id(plane, tmp_path):
    twins = [Query("a", "east", "set"), Query("b", "east", "set"), Query("c", "east", "set")]
    path = written(
        tmp_path,
        {"query": "east", "subqueries": ["east"]},
        {"id": "b", "query": "east", "subqueries": ["north"]},
        {"id": "c", "subqueries": ["west"]},
    )
    sets = ask(plane, ExternalSubqueries(plane, read_subqueries(path, twins), 1, 3), twins)
    assert sets.texts == [["east"], ["north"], ["west"]]


def test_given_subqueries_fused(plane):
    given = {"p": [["north"]], "q": [["nonsense", "west"]]}
    method = ExternalSubqueries(plane, given, 3, 3, RankFusion())
    sets = ask(plane, method)
    assert sets.mask.tolist() == [[True, False, False], [False, True, False]]
    assert sets.pool[0].tolist()[:2] == [3, 2]
    assert sets.pool[1, 0] == 4
    plain = ask(plane, ExternalSubqueries(plane, given, 3, 3))
    assert torch.equal(sets.items, plain.items)


def test_queries_without_given_subqueries(plane, tmp_path):
    path = written(tmp_path, {"query": "east", "subqueries": ["north"]})
    given = ExternalSubqueries(plane, read_subqueries(path, QUERIES), origin=str(path))
    with pytest.raises(
        InputError,
        match=r"fewer in .*\.jsonl for 1 of 2, such as 'north' \(id 'q'\). Add a line",
    ):
        ask(plane, given)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        {"query": "east"},
        {"subqueries": ["north"]},
        {"query": 3, "subqueries": ["north"]},
        {"query": None, "subqueries": ["north"]},
        {"id": None, "query": "east", "subqueries": ["north"]},
        {"id": 7, "subqueries": ["north"]},
        {"query": "east", "subqueries": []},
        {"query": "east", "subqueries": "north"},
        {"query": "east", "subqueries": ["north", " "]},
    ],
)
def test_a_file_that_holds_no_subqueries(plane, tmp_path, line):
    path = written(tmp_path, {"query": "east", "subqueries": ["north"]}, line)
    with pytest.raises(InputError, match=r'(?s)"id" or "query".* at line 2 of .*Correct the line'):
        read_subqueries(path, QUERIES)


def test_no_file_of_subqueries(plane, tmp_path):
    with pytest.raises(
        InputError, match=r"JSONL file of sub-queries, but found no file at .*nowhere"
    ):
        read_subqueries(tmp_path / "nowhere", QUERIES)


def test_a_file_of_other_bytes(tmp_path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"query": "é", "subqueries": ["x"]}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"byte 0xe9 at position 11 of .*latin"):
        read_subqueries(path, QUERIES)
