import pytest
import torch

from r4t.errors import InputError
from r4t.sets import Popularity, SetBatch, facet_members, join_sets


def test_fields_must_fit_the_query(sets_from):
    sets = sets_from([[[1, 0], [0, 1]]], [[[1, 0], [0, 1]]])
    with pytest.raises(
        InputError, match=r"SetBatch.mask of shape \(B, k\), B = 1, k = 2, but found \(1, 3\)"
    ):
        SetBatch(sets.query, sets.items, sets.item_embeddings, torch.ones(1, 3).bool())
    with pytest.raises(
        InputError, match=r"SetBatch.pool of shape \(B, P\), B = 1, but found \(2, 5\)"
    ):
        SetBatch(
            sets.query, sets.items, sets.item_embeddings, sets.mask, pool=torch.zeros(2, 5).long()
        )
    with pytest.raises(
        InputError,
        match=r"SetBatch.texts of shape \(B\), B = 1, but found \(2,\)",
    ):
        SetBatch(sets.query, sets.items, sets.item_embeddings, sets.mask, texts=[["a"], ["b"]])
    with pytest.raises(
        InputError, match=r"SetBatch.query of shape \(B, d\), any size, but found \(2,\)"
    ):
        SetBatch(sets.query[0], sets.items, sets.item_embeddings, sets.mask)


def test_select_takes_every_field(sets_from):
    sets = sets_from(
        [[[1, 0]], [[0, 1]]],
        [[[1, 0]], [[0, 1]]],
        texts=[["a"], ["b"]],
        pool=torch.tensor([[4], [5]]),
    )
    chosen = sets.select(torch.tensor([1, 1, 0]))
    assert chosen.texts == [["b"], ["b"], ["a"]]
    assert chosen.pool.tolist() == [[5], [5], [4]]
    assert chosen.directions[:, 0, 1].tolist() == [1, 1, 0]
    assert chosen.references is None
    assert chosen.present == {"directions", "texts", "pool"}


def test_fields_of_the_whole_batch_are_not_split(sets_from):
    popularity = Popularity(torch.tensor([3, 0]), sets=4)
    sets = sets_from(
        [[[1, 0]], [[0, 1]]],
        [[[1, 0]], [[0, 1]]],
        popularity=popularity,
        query_texts=["x", "y"],
        bank=torch.eye(2)[[0, 1, 0]],
    )
    chosen = sets.select(torch.tensor([1]))
    assert chosen.popularity is popularity
    assert chosen.bank is sets.bank
    assert chosen.query_texts == ["y"]
    assert chosen.query_name(0) == "query 0 of 1 ('y')"
    assert {"popularity", "query_texts", "bank"} <= chosen.present
    with pytest.raises(
        InputError, match=r"SetBatch.bank of shape \(M, d\), M = 4, d = 2, but found \(4, 3\)"
    ):
        sets.extended(bank=torch.ones(4, 3))
    with pytest.raises(
        InputError,
        match=r"SetBatch.query_texts of shape \(B\), B = 2, but found \(1,\)\. Build every",
    ):
        sets.extended(query_texts=["x"])


def test_joined_sets_are_as_wide_as_the_widest(sets_from):
    wide = sets_from([[[1, 0], [0, 1]]], [[[1, 0], [0, 1]]], pool=torch.tensor([[4, 5, 6]]))
    narrow = sets_from([[[0, 1]]], [[[0, 1]]], pool=torch.tensor([[7]]), texts=[["a"]])
    joined = join_sets([narrow, wide])
    assert joined.items.tolist() == [[0, -1], [0, 1]]
    assert joined.mask.tolist() == [[True, False], [True, True]]
    assert joined.directions.tolist() == [[[0, 1], [0, 0]], [[1, 0], [0, 1]]]
    assert joined.pool.tolist() == [[7, -1, -1], [4, 5, 6]]
    assert joined.texts is None  # the wide ones have none
    assert join_sets([narrow, narrow]).texts == [["a"], ["a"]]


def test_facets_follow_their_queries(sets_from):
    members = facet_members([["a", "b", "c"], ["d"], []], [[["a", "c"], ["c"]], [["d"]], []])
    assert members.int().tolist() == [
        [[1, 0], [0, 0], [1, 1]],
        [[1, 0], [0, 0], [0, 0]],
        [[0, 0], [0, 0], [0, 0]],
    ]
    one = sets_from(
        [[[1, 0]]] * 3, [[[1, 0]]] * 3, references=torch.tensor([[0, 1, 2], [3, -1, -1], [-1] * 3]),
        facets=members,
    )  # fmt: skip
    assert one.select(torch.tensor([1])).facets.int().tolist() == [[[1, 0], [0, 0], [0, 0]]]
    other = sets_from(
        [[[1, 0]]], [[[1, 0]]], references=torch.tensor([[7]]), facets=torch.ones(1, 1, 3).bool()
    )
    joined = join_sets([one, other])
    assert joined.references[3].tolist() == [7, -1, -1]
    assert joined.facets[3].int().tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert joined.facets[:3, :, :2].equal(members)
    assert not joined.facets[:3, :, 2].any()
    with pytest.raises(InputError, match=r"facets of shape \(B, R, F\), B = 3, R = 3, but found"):
        one.extended(facets=members[:, :2])
