"""The model of a judge's grades, and the agreement that it reports."""

import pickle
import zlib

import numpy as np
import pytest
import torch
from r4t_objectives.reward_model import RewardModel
from r4t_objectives.shopper import Shopper

from r4t.catalog import text_encoder


@pytest.fixture(scope="module")
def pairs(wardrobe, shop):
    """Forty queries, each with thirty items near it or anywhere, and their true grades."""
    generator = torch.Generator().manual_seed(0)
    texts = [query.text for query in wardrobe.oar["train"][::30][:40]]
    near = (text_encoder(shop).encode(texts) @ shop.embeddings.T).topk(15).indices
    rows = torch.cat([near, torch.randint(len(shop), (len(texts), 15), generator=generator)], 1)
    grades = Shopper(error=0).grades(texts, shop, rows)
    return {
        (text, shop.ids[row]): grade
        for text, of, given in zip(texts, rows.tolist(), grades.tolist())
        for row, grade in zip(of, given)
    }


def asked(pairs, catalog):
    return [(text, row) for (text, _), row in zip(pairs, catalog.rows(item for _, item in pairs))]


def area(predicted, grades):
    """Share of the pairs of a fitting and another item that are in the right order; ties count half."""
    wins = [
        (one > other) + (one == other) / 2
        for one, high in zip(predicted, grades)
        for other, low in zip(predicted, grades)
        if high >= 0.5 > low
    ]
    return sum(wins) / len(wins)


def test_agreement_is_measured_on_queries_that_it_has_not_seen(pairs, shop):
    model = RewardModel(pairs, shop)
    apart = {pair: g for pair, g in pairs.items() if zlib.crc32(pair[0].encode()) % 5 == 0}
    others = {pair: grade for pair, grade in pairs.items() if pair not in apart}
    assert 0 < len(apart) < len(pairs)
    predicted = RewardModel(others, shop).predict(asked(apart, shop), shop).tolist()
    grades = list(apart.values())
    agreement = model.agreement
    assert agreement["auc"] == pytest.approx(area(predicted, grades), abs=1e-4)
    assert agreement["correlation"] == pytest.approx(np.corrcoef(predicted, grades)[0, 1], abs=1e-4)
    queries = text_encoder(shop).encode([text for text, _ in apart])
    rows = shop.rows(item for _, item in apart)
    cosine = (queries * shop.embeddings[rows]).sum(-1).tolist()
    assert agreement["cosine_auc"] == pytest.approx(area(cosine, grades), abs=1e-4)
    assert (agreement["grades"], agreement["queries"]) == (len(pairs), 40)
    assert agreement["held_out_queries"] == len({text for text, _ in apart})
    assert f"the ROC curve is {agreement['auc']:.2f} (of the cosine" in str(model)


def test_it_learns_what_its_features_say(pairs, shop):
    # The grade is the logistic function of 8 times the cosine less .3.
    queries = text_encoder(shop).encode([text for text, _ in pairs])
    rows = shop.rows(item for _, item in pairs)
    cosine = (queries * shop.embeddings[rows]).sum(-1)
    grades = torch.sigmoid(8 * (cosine - 0.3))
    model = RewardModel(dict(zip(pairs, grades.tolist())), shop)
    assert model.agreement["auc"] > 0.99
    predicted = model.predict(asked(pairs, shop), shop)
    assert np.corrcoef(predicted, grades)[0, 1] > 0.98  # the penalty draws both ends in
    again = pickle.loads(pickle.dumps(model))
    assert again.predict(asked(pairs, shop), shop).equal(predicted)
    assert model.predict(asked(pairs, shop)[3:4], shop).allclose(predicted[3:4])


def test_grades_that_are_all_alike_or_of_one_query_have_no_agreement(pairs, shop):
    alike = RewardModel(dict.fromkeys(pairs, 1.0), shop)
    assert (alike.agreement["auc"], alike.agreement["correlation"]) == (None, None)
    assert alike.predict(asked(pairs, shop), shop).min() > 0.95
    first = next(iter(pairs))[0]
    one = RewardModel({pair: g for pair, g in pairs.items() if pair[0] == first}, shop)
    assert (one.agreement["queries"], one.agreement["auc"]) == (1, None)
    assert "ROC curve is undefined" in str(one)
