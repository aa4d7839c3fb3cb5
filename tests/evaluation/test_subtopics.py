import math
import random

import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation import subtopics
from r4t.evaluation.measures import facet_recall, gold_facet_recall
from r4t.evaluation.subtopics import Subtopics, of_fits, of_gold, of_references
from r4t.sets import SetBatch

LOG3 = math.log2(3)
# Tops 1 and 2, shoes 3, a bag 4; everything else is irrelevant.
WANTED = {1: "top", 2: "top", 3: "shoes", 4: "bag"}


@pytest.mark.parametrize(
    ("rows", "gained", "recall"),
    [
        # Gains 1, ½ (second top), 1 (shoes) at ranks 1, 2, 3 over log2 2, 3, 4.
        ([1, 2, 3], 1 + 0.5 / LOG3 + 1 / 2, 2 / 3),
        # An irrelevant item costs its rank.
        ([9, 3, 4], 0 + 1 / LOG3 + 1 / 2, 2 / 3),
        ([4, 3, 1], 1 + 1 / LOG3 + 1 / 2, 1),
        ([2, -1, -1], 1, 1 / 3),
        ([8, 9, -1], 0, 0),
        ([-1, -1, -1], 0, 0),
    ],
)
def test_alpha_ndcg_and_subtopic_recall_by_hand(rows, gained, recall):
    # The best list answers the three subtopics at once: 1 + 1/log2 3 + 1/2 = 2.13093.
    best = 1 + 1 / LOG3 + 1 / 2
    scores = Subtopics([WANTED], 3)(torch.tensor([rows]))
    assert scores["alpha nDCG"].item() == pytest.approx(gained / best)
    assert scores["subtopic recall"].item() == pytest.approx(recall)


def test_alpha_is_what_a_second_answer_loses():
    rows = torch.tensor([[1, 2]])
    only = {1: "top", 2: "top"}
    for alpha in (0.0, 0.25, 0.5, 1.0):
        # The best list is the list itself, so the ratio is 1; against one with shoes it is not.
        assert Subtopics([only], 2, alpha)(rows)["alpha nDCG"].item() == pytest.approx(1)
        scores = Subtopics([WANTED], 2, alpha)(rows)["alpha nDCG"].item()
        assert scores == pytest.approx((1 + (1 - alpha) / LOG3) / (1 + 1 / LOG3))


def test_batches_and_queries_without_a_relevant_item(capfd):
    scores = Subtopics([WANTED, {}, {5: "hat"}], 2)(torch.tensor([[1, 3], [1, 2], [9, 5]]))
    assert scores["subtopic recall"].tolist()[::2] == pytest.approx([2 / 3, 1])
    assert scores["subtopic recall"][1].isnan()
    assert scores["alpha nDCG"][1].isnan()
    assert scores["alpha nDCG"][2].item() == pytest.approx(1 / LOG3)
    Subtopics([{5: "hat"}], 2)  # one subtopic a query is no mistake
    assert capfd.readouterr().err == ""


def test_lists_longer_than_k_are_cut():
    scores = Subtopics([WANTED], 2)(torch.tensor([[9, 1, 3, 4]]))
    assert scores["subtopic recall"].item() == pytest.approx(1 / 3)


def test_subtopic_recall_by_the_latent_slots_is_facet_recall():
    generator = torch.Generator().manual_seed(0)
    fits = torch.rand(20, 40, generator=generator) < 0.3
    fits[7] = False
    slots = torch.randint(5, (40,), generator=generator)
    rows = torch.stack([torch.randperm(40, generator=generator)[:10] for _ in range(20)])
    rows[3, 4:] = -1
    scores = Subtopics(of_fits(fits, slots), 10)(rows)["subtopic recall"]
    expected = facet_recall(rows, fits, slots).double()
    assert torch.allclose(scores, expected, equal_nan=True)


def test_reference_items_without_a_category_are_subtopics_of_their_own():
    references = torch.tensor([[0, 1, 2], [3, -1, -1]])
    relevant = of_references(references, torch.tensor([4, -1, -1, 4]))
    assert relevant == [{0: "value 4", 1: "item 1", 2: "item 2"}, {3: "value 4"}]


def test_refusals(monkeypatch):
    with pytest.raises(
        InputError, match="lists of 1 to 20 items .* but found set_size 21. Evaluate with"
    ):
        Subtopics([WANTED], 21)
    monkeypatch.setattr(subtopics.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"found them not installed\. Install them with pip install 'r4t\[ev"
    ):
        Subtopics([WANTED], 2)


def test_an_item_of_two_subtopics_gains_from_both():
    relevant = [{1: ("x", "y"), 2: ("x",), 3: ("z",)}]
    scores = Subtopics(relevant, 2)(torch.tensor([[2, 1]]))
    # Item 2 gains 1 from x; item 1 then ½ from x and 1 from y. Best: item 1 (2), then 3 (1).
    assert scores["alpha nDCG"].item() == pytest.approx((1 + 1.5 / LOG3) / (2 + 1 / LOG3))
    assert scores["subtopic recall"].item() == pytest.approx(2 / 3)


def slow_alpha_ndcg(listed, subtopics, depth, order):
    """α-nDCG with α = ½ by plain loops; ``subtopics``: item → its subtopics.

    ``order`` says which of equally good items the best list takes first.
    """

    def gain(item, seen):
        return sum(0.5 ** seen.count(s) for s in subtopics.get(item, ()))

    def total(items):
        seen, value = [], 0.0
        for rank, item in enumerate(items[:depth], 1):
            value += gain(item, seen) / math.log2(1 + rank)
            seen += subtopics.get(item, ())
        return value

    best, left, seen = [], [*order], []
    while left and len(best) < depth:
        item = max(left, key=lambda each: gain(each, seen))
        left.remove(item)
        best.append(item)
        seen += subtopics[item]
    return total(listed) / total(best)


def test_gold_facets_against_a_slow_reference():
    generator = torch.Generator().manual_seed(0)
    references = torch.stack([torch.randperm(30, generator=generator)[:8] for _ in range(40)])
    references[5, 4:] = -1
    facets = torch.rand(40, 8, 5, generator=generator) < 0.3
    facets[references < 0] = False
    rows = torch.stack([torch.randperm(30, generator=generator)[:10] for _ in range(40)])
    relevant = of_gold(references, facets)
    for query in range(40):
        of_query = {
            int(references[query, place]): tuple(facets[query, place].nonzero().flatten().tolist())
            for place in range(8)
            if facets[query, place].any()
        }
        assert relevant[query] == of_query
    scores = Subtopics(relevant, 10)(rows)
    drawn = random.Random(0)
    for query, found in enumerate(scores["alpha nDCG"].tolist()):
        # The best list is found greedily, and for a few queries it matters which of equally good
        # items it takes first.
        orders = [drawn.sample(list(relevant[query]), len(relevant[query])) for _ in range(30)]
        expected = [
            slow_alpha_ndcg(rows[query].tolist(), relevant[query], 10, order) for order in orders
        ]
        assert max(expected) - min(expected) < 0.01
        assert any(found == pytest.approx(value) for value in expected)
    sets = SetBatch(
        query=torch.ones(40, 1),
        items=rows,
        item_embeddings=torch.ones(40, 10, 1),
        mask=rows >= 0,
        references=references,
        facets=facets,
    )
    assert torch.allclose(scores["subtopic recall"], gold_facet_recall(sets))
