import pytest
import torch

from r4t.errors import InputError


@pytest.fixture
def searcher(small_run):
    return small_run.searcher()


def test_pool_equals_a_loop(searcher):
    catalog = searcher.catalog
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(
        torch.randn(3, 4, catalog.dim, generator=generator), dim=-1
    )
    mask = torch.tensor([[True] * 4, [True, False, True, True], [False] * 4])
    query = directions[:, 0]
    sets = searcher.fan_out(query, directions, mask, pool_size=7)
    scores = directions @ catalog.embeddings.T
    for row in range(3):
        ranked = [scores[row, i].argsort(descending=True, stable=True).tolist() for i in range(4)]
        members = [i for i in range(4) if mask[row, i]]
        taken = [ranked[i][depth] for depth in range(7) for i in members]
        slow = list(dict.fromkeys(taken))[:7]
        found = sets.pool[row].tolist()
        # Equal titles score equal: compare what was found by its score.
        assert len(set(found)) == len(found) or found == [-1] * 7
        assert len([i for i in found if i >= 0]) == len(slow)
        tops = [ranked[i][0] if mask[row, i] else -1 for i in range(4)]
        for top, item, i in zip(tops, sets.items[row].tolist(), range(4)):
            assert (item == -1) == (top == -1)
            if top >= 0:
                assert scores[row, i, item] == pytest.approx(scores[row, i, top].item())


def test_texts_of_unknown_words_are_masked(searcher):
    query = searcher.encode_queries(["red linen"])
    sets = searcher.fan_out_texts(query, [["red shirt", "zzzz qqqq", "wool coat"]], 4)
    assert sets.mask.tolist() == [[True, False, True, False]]
    assert sets.items[0, 1] == -1
    assert searcher.catalog.texts[sets.items[0, 2]].endswith("wool coat")
    assert sets.texts == [["red shirt", "zzzz qqqq", "wool coat"]]
    assert (sets.item_embeddings[0, 1] == 0).all()


def test_a_query_without_any_known_word_is_refused(searcher):
    with pytest.raises(InputError, match="of 'zzzz qqqq' the encoder knows none"):
        searcher.encode_queries(["red", "zzzz qqqq"])


def test_a_pool_larger_than_the_catalog_is_refused(searcher):
    query = searcher.encode_queries(["red linen"])
    with pytest.raises(InputError, match="asked for 201 of 200 items"):
        searcher.fan_out_texts(query, [["red"]], 1, pool_size=201)


def test_a_catalog_of_own_vectors_needs_an_encoder(searcher):
    searcher.encoder = None
    with pytest.raises(
        InputError, match="Text queries need a text encoder — catalog .* own vectors"
    ):
        searcher.encode_queries(["red"])
