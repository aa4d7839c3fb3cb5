"""Teachers: candidates grouped by query, in one form, and nobody's own references."""

import json

import pytest
import torch

from r4t.data.queries import Query, write_queries
from r4t.errors import InputError
from r4t.methods.candidates import FOLDS, CrossFitted, build_teachers, fold
from r4t.methods.context import MethodContext
from r4t.methods.training_sets import RidgeMap, keys


def teachers(run, names, samples=3, draws=2, pool_size=20, queries=None, **context):
    queries = run.read_queries("train") if queries is None else queries
    context = {"set_size": 4, "pool_size": 20, "queries": queries, **context}
    return build_teachers(
        names, MethodContext(run, run.searcher(), **context), samples, draws, pool_size
    )


def test_candidates_are_grouped_by_query(untrained_run):
    run, searcher = untrained_run, untrained_run.searcher()
    built = teachers(run, ["mmr", "folm", "zero-shot-rrf", "no-fan-out", "MMR"])
    assert built.keys == ["mmr", *["folm"] * 3, *["zero-shot-rrf"] * 3, "no-fan-out"]
    queries = run.read_queries("train")[:5]
    sets, texts = built(queries)
    assert (len(sets), sets.query_texts[8:16]) == (40, [queries[1].text] * 8)
    vectors = searcher.encode([query.text for query in queries])
    _, nearest = searcher.index.search(vectors, 20)
    assert torch.equal(sets.pool[7::8], nearest)
    assert torch.equal(sets.items[7::8], nearest[:, :4])
    assert torch.equal(sets.directions[7::8], searcher.embeddings(nearest[:, :4]))
    assert sets.references[::8].tolist() == [
        list(searcher.catalog.rows(q.references)) for q in queries
    ]
    # What a language model writes does not depend on the other teachers, nor on the batch.
    alone, written = teachers(run, ["folm"])(queries[1:2])
    assert torch.equal(sets.items[9:12], alone.items)
    assert texts[9:12] == written == alone.texts
    assert (sets.texts, texts[8], texts[15]) == (None, [], [])


def test_sets_have_the_size_of_the_language_model(untrained_run):
    built = teachers(untrained_run, ["folm", "k-means", "mmr"], set_size=6)
    assert built.set_size == 4
    assert [method.set_size for method in built.methods[1:]] == [4, 4]
    built = teachers(untrained_run, ["k-means"], set_size=6)
    assert built(untrained_run.read_queries("val"))[0].items.shape == (8, 6)


def test_pools_come_on_request(small_run):
    queries = small_run.read_queries("val")
    assert teachers(small_run, ["mmr"], pool_size=None)(queries)[0].pool is None


def test_draws_of_a_method_without_a_model(small_run, tmp_path):
    lines = [
        {"id": query.id, "subqueries": [f"{query.text} {noun}"]}
        for query in small_run.read_queries("train")
        for noun in ("shirt", "coat", "hat")
    ]
    path = tmp_path / "written.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    built = teachers(small_run, ["external", "mmr"], draws=2, subqueries=str(path))
    assert built.keys == ["external", "external", "mmr"]
    queries = small_run.read_queries("train")[:2]
    sets, texts = built(queries)
    assert texts[:3] == [[f"{queries[0].text} shirt"], [f"{queries[0].text} coat"], []]
    assert sets.mask.sum(1).tolist() == [1, 1, 4, 1, 1, 4]


@pytest.fixture
def many(small_run):
    """60 training queries with references; some ask the same."""
    items = small_run.searcher().catalog
    queries = [
        Query(f"t{row}", items.texts[row % 50], "set", (items.ids[row], items.ids[row + 99]))
        for row in range(60)
    ]
    write_queries(small_run.queries, {"train": queries})
    return small_run, queries


def test_no_teacher_remembers_the_query_that_it_answers(many):
    run, queries = many
    built = teachers(run, ["ridge-map", "nearest-sets"], queries=queries)
    ridge, nearest = built.methods
    assert isinstance(ridge, CrossFitted)
    for number, part in enumerate(ridge.parts):
        mine = [query for query in queries if fold(query) == number]
        seen = {key for query in mine for key in keys(query)}
        assert mine
        assert part._seen.isdisjoint(seen)
        others = [query for query in queries if seen.isdisjoint(keys(query))]
        assert len(others) + len(mine) == 60
        assert [query.id for query in nearest.parts[number].training] == [q.id for q in others]
        # The same as a map fitted by hand on the other parts.
        map = RidgeMap(run.searcher(), others, 4, 20)
        vectors = run.searcher().encode([query.text for query in mine])
        expected = map(mine, vectors).items
        rows = [queries.index(query) for query in mine]
        assert torch.equal(built(queries)[0].items[0::2][rows], expected)
    assert {fold(query) for query in queries} == set(range(FOLDS))
    one, _ = built(queries[7:8])
    assert torch.equal(one.items, built(queries)[0].items[14:16])


def test_refusals(small_run, untrained_run):
    with pytest.raises(InputError, match=r"at least one teacher, .* found none\. Name some"):
        teachers(small_run, [])
    with pytest.raises(InputError, match=r"found 'kmeens'\. .*Did you mean 'k-means'"):
        teachers(small_run, ["kmeens"])
    few = [Query("a", "red linen", "mood"), Query("b", "blue wool", "mood")]
    with pytest.raises(
        InputError,
        match=r"^Expected teachers that this run has, but found 'references', but 2 of 2 queries "
        r"have no references\. Choose another teacher\.$",
    ):
        teachers(small_run, ["mmr", "references"], queries=few)
    write_queries(small_run.queries, {"train": few})
    with pytest.raises(InputError, match="found 'ridge-map', but too few training queries"):
        teachers(small_run, ["ridge-map"])
    with pytest.raises(InputError, match=r"found 'diffusion', but the run has no model in distill"):
        teachers(small_run, ["diffusion"])
