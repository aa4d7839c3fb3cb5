from dataclasses import replace

import pytest
import torch

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.geometry import anchored


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
    sets = searcher.retrieve(query, directions * mask.unsqueeze(-1), pool_size=7)
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
    sets = searcher.retrieve_texts(query, [["red shirt", "zzzz qqqq", "wool coat"]], 4)
    assert sets.mask.tolist() == [[True, False, True, False]]
    assert sets.items[0, 1] == -1
    assert searcher.catalog.texts[sets.items[0, 2]].endswith("wool coat")
    assert sets.texts == [["red shirt", "zzzz qqqq", "wool coat"]]
    assert (sets.item_embeddings[0, 1] == 0).all()


def test_a_query_without_any_known_word_is_refused(searcher):
    with pytest.raises(InputError, match="found 'zzzz qqqq', of which the encoder knows no word"):
        searcher.encode_queries(["red", "zzzz qqqq"])


def test_a_pool_larger_than_the_catalog_is_refused(searcher):
    query = searcher.encode_queries(["red linen"])
    with pytest.raises(InputError, match="at most 200 items, .* found 201"):
        searcher.retrieve_texts(query, [["red"]], 1, pool_size=201)


def test_a_catalog_of_own_vectors_needs_an_encoder(searcher):
    searcher.encoder = None
    with pytest.raises(
        InputError, match="with a text encoder, .* found vectors without one in .*catalog"
    ):
        searcher.encode_queries(["red"])


def test_anchored_directions_by_hand():
    # q = (1, 0); (0, 1) at a = 0.4: (0.4, 0.6)/√0.52; (−0.6, 0.8) at a = 0.4: (0.04, 0.48)/√0.232.
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    directions = torch.tensor([[[0.0, 1.0], [-0.6, 0.8]], [[1.0, 0.0], [0.0, 0.0]]])
    found = anchored(query, directions, 0.4)
    first = [[0.4 / 0.52**0.5, 0.6 / 0.52**0.5], [0.04 / 0.232**0.5, 0.48 / 0.232**0.5]]
    second = [[0.6 / 0.52**0.5, 0.4 / 0.52**0.5], [0.0, 0.0]]
    assert torch.allclose(found, torch.tensor([first, second]), atol=1e-6)
    assert anchored(query, directions, 0.0) is directions
    # Halfway between opposites lies nothing: a zero row, which finds nothing.
    assert (anchored(query[:1], -query[None, :1], 0.5) == 0).all()


def test_anchored_subqueries_search_and_score_between_query_and_text(searcher):
    query = searcher.encode_queries(["red linen", "blue wool"])
    texts = [["wool coat", "zzzz qqqq"], ["silk dress", "red"]]
    plain = searcher.retrieve_texts(query, texts, 3, pool_size=5)
    same = searcher.retrieve_texts(query, texts, 3, pool_size=5, anchor=0.0)
    sets = searcher.retrieve_texts(query, texts, 3, pool_size=5, anchor=0.7)
    assert torch.equal(same.directions, plain.directions)
    assert torch.equal(same.pool, plain.pool)
    # An unknown text and a missing one stay masked, however strong the anchor.
    assert sets.mask.tolist() == plain.mask.tolist() == [[True, False, False], [True, True, False]]
    assert (sets.directions[~sets.mask] == 0).all()
    for row in range(2):
        for member in sets.mask[row].nonzero().flatten().tolist():
            mixed = 0.7 * query[row] + 0.3 * plain.directions[row, member]
            expected = mixed / mixed.norm()
            assert torch.allclose(sets.directions[row, member], expected, atol=1e-6)
            best = (searcher.catalog.embeddings @ expected).max()
            found = searcher.catalog.embeddings[sets.items[row, member]] @ expected
            assert found.item() == pytest.approx(best.item(), abs=1e-6)
    assert sets.texts == plain.texts


def test_groups_are_anchored_to_their_own_query(searcher):
    queries = [Query("q1", "red linen", "set"), Query("q2", "blue wool", "set")]
    texts = [["coat"], ["dress"], ["coat"], ["shirt"]]
    groups = searcher.retrieve_groups(queries, texts, 1, anchor=0.5)
    vectors = searcher.encode_queries(["red linen", "red linen", "blue wool", "blue wool"])
    assert torch.equal(
        groups.directions, searcher.retrieve_texts(vectors, texts, 1, anchor=0.5).directions
    )
    assert not torch.equal(groups.directions[0], groups.directions[2])  # both are "coat"


@pytest.mark.parametrize("anchor", [-0.1, 1.0, float("nan")])
def test_an_anchor_out_of_range_is_refused(searcher, anchor):
    query = searcher.encode_queries(["red linen"])
    with pytest.raises(InputError, match="anchor to be at least 0 .* and below 1 .*, but found"):
        searcher.retrieve_texts(query, [["red"]], 1, anchor=anchor)


def test_what_is_kept_changes_nothing_and_is_found_again(small_run):
    plain, kept = small_run.searcher(), small_run.searcher(cached=50)
    queries = [Query(name, text, "set") for name, text in (("a", "red linen"), ("b", "blue wool"))]
    written = [["red hat", "wool", "red hat"], ["wool", "zzzz qqqq"], [], ["silk coat"]]
    for anchor, pool in ((0.0, None), (0.0, 6), (0.4, 6)):
        asked = [searcher.retrieve_groups(queries, written, 3, pool, anchor) for searcher in
                 (plain, kept, kept)]  # fmt: skip
        for found in asked[1:]:
            for name in ("query", "items", "mask", "directions", "item_embeddings"):
                assert torch.equal(getattr(found, name), getattr(asked[0], name)), (anchor, name)
            assert pool is None or torch.equal(found.pool, asked[0].pool)


def test_texts_are_encoded_once_and_sub_queries_searched_for_once(small_run):
    searcher = small_run.searcher(cached=50)
    encoded, searched = [], []
    encode, search = searcher.encoder.encode, searcher.index.search

    class Encoder:
        def encode(self, texts):
            encoded.extend(texts)
            return encode(texts)

    class Index:
        def search(self, directions, depth):
            searched.append(len(directions))
            return search(directions, depth)

    searcher.encoder, searcher.index = Encoder(), Index()
    queries = [Query("a", "red linen", "set"), Query("b", "blue wool", "set")]
    written = [["red hat", "wool"], ["wool", "silk"]]
    searcher.retrieve_groups(queries, written, 2)
    searcher.retrieve_groups(queries, [["silk", "wool"], ["coat"]], 2)
    assert encoded == ["red linen", "blue wool", "red hat", "wool", "silk", "coat"]
    assert searched == [3, 1]
    # 4 + 3 sub-queries; the texts of both queries are asked for each time.
    assert (searcher.neighbors.take(), searcher.vectors.take()) == ((7, 4), (10, 6))
    # An anchored direction depends on the query: "wool" is searched for once for each.
    searcher.retrieve_groups(queries, [["wool"], ["wool"]], 1, anchor=0.5)
    assert searched == [3, 1, 2]


def test_what_is_kept_is_bounded_and_does_not_hold_on_to_whole_batches(small_run):
    searcher = small_run.searcher(cached=3)
    searcher.encode(["red", "blue", "green", "wool", "silk"])
    assert list(searcher.vectors._values) == ["green", "wool", "silk"]
    assert all(
        kept.untyped_storage().nbytes() == kept.nbytes for kept in searcher.vectors._values.values()
    )


def test_a_negative_number_of_texts_to_keep_is_refused(small_run):
    with pytest.raises(InputError, match="cached to be at least 0, but found -1"):
        small_run.searcher(cached=-1)


def test_what_is_kept_of_one_anchor_is_not_taken_for_another(small_run):
    plain, kept = small_run.searcher(), small_run.searcher(cached=50)
    queries = [Query("a", "red linen", "set")]
    for anchor in (0.2, 0.9, 0.0):
        found, expected = (
            searcher.retrieve_groups(queries, [["green boots", "silk"]], 2, 9, anchor).pool
            for searcher in (kept, plain)
        )
        assert torch.equal(found, expected)


def test_sets_carry_the_facets_of_their_queries(searcher):
    grouped = Query("1", "red wool", "set", ("i3", "i8", "i5"), (("i8",), ("i5", "i8")))
    bare = Query("2", "blue hat", "set", ("i7",))
    sets = searcher.retrieve_groups([grouped, bare], [["red hat"], ["wool"], ["hat"], []], 2)
    assert sets.references.tolist() == [[3, 8, 5]] * 2 + [[7, -1, -1]] * 2
    assert sets.facets.int().tolist() == [[[0, 0], [1, 1], [0, 1]]] * 2 + [[[0, 0]] * 3] * 2
    assert searcher.reference_fields([bare])["facets"] is None
    assert searcher.reference_fields([replace(bare, references=())]) == {
        "references": None,
        "facets": None,
    }
