"""The readers on the real sets, where they are there; the counts are those of their description."""

import pytest

from r4t.data.queries import normalized, split_sets
from r4t.data.source import read_source
from r4t.encoder import LsaEncoder
from r4t.index import TorchIndex


@pytest.mark.parametrize(
    ("name", "items", "sets", "note"),
    [
        ("bundles/clothing", 4487, 1909, "1 set without a query left out"),
        ("bundles/electronic", 3499, 1750, ""),
        ("playlists", 19232, 250, ""),
        ("recipes", 1530, 376, ""),
    ],
)
def test_counts_of_the_description(shared_data, name, items, sets, note):
    source = read_source(shared_data / name)
    assert (len(source.items), len(source.sets), source.note) == (items, sets, note)


def test_intents_recur_and_splits_keep_them_apart(shared_data):
    source = read_source(shared_data / "bundles/clothing")
    # 1,309 distinct intents with the empty one
    assert len({normalized(entry.query) for entry in source.sets}) == 1308
    splits = split_sets(source.sets, seed=0)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [1527, 191, 191]


def test_lsa_recalls_bundles_nearly_as_minilm_does(shared_data):
    source = read_source(shared_data / "bundles/clothing")
    encoder = LsaEncoder.fit(source.items.texts)
    queries = encoder.encode([entry.query for entry in source.sets])
    _, rows = TorchIndex(encoder.encode(source.items.texts)).search(queries, 150)
    rows[(queries == 0).all(1)] = -1  # of 1.7 % of the intents the catalog knows no word
    row = {item: n for n, item in enumerate(source.items.ids)}
    found = [
        len({row[item] for item in entry.items} & set(pool)) / len(entry.items)
        for entry, pool in zip(source.sets, rows.tolist())
    ]
    recall, hit = sum(found) / len(found), sum(share > 0 for share in found) / len(found)
    # all-MiniLM-L6-v2: 0.464 and 0.676
    assert recall == pytest.approx(0.457, abs=0.005)
    assert hit == pytest.approx(0.639, abs=0.005)
