"""Words of nearby items as sub-queries, checked against the teacher and the searcher."""

import torch

from r4t.fanout.teachers import NearbyWords
from r4t.methods.context import MethodContext
from r4t.methods.nearby import AddedWords
from r4t.methods.registry import find


def test_words_of_nearby_items_search(small_run):
    searcher, queries = small_run.searcher(), small_run.read_queries("val")
    vectors = searcher.encode([query.text for query in queries])
    method = AddedWords(searcher, 4, 20, NearbyWords(near=3, words=2))
    sets = method(queries, vectors, draw=7)
    _, nearest = searcher.index.search(vectors, 3)
    for query, texts, rows in zip(queries, sets.texts, nearest.tolist()):
        nearby = [searcher.catalog.texts[row] for row in rows]
        assert len(texts) == 4
        for text in texts:
            assert text.startswith(f"{query.text} ")
            added = text.removeprefix(f"{query.text} ").split()
            assert 1 <= len(added) <= 2
            assert any(set(added) <= set(other.split()) for other in nearby)
    written = [text for texts in sets.texts for text in texts]
    assert torch.allclose(sets.directions.flatten(0, 1), searcher.encode(written), atol=1e-6)
    assert sets.pool.shape == (8, 20)
    # Another batch writes the same, another draw does not.
    assert method(queries[3:4], vectors[3:4], draw=7).texts == sets.texts[3:4]
    assert method(queries, vectors, draw=8).texts != sets.texts


def test_the_row_is_the_teacher_of_the_warm_start(small_run):
    (entry,) = find(["Nearby words"])
    method = entry.build(MethodContext(small_run, small_run.searcher(), 4, 20))
    assert (method.key, method.name, method.draws) == ("nearby-words", "Nearby words", None)
    assert method.teacher == NearbyWords(near=50, words=3)
