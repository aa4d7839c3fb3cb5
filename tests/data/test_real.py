"""The readers on the real sets, if available: the counts of their description."""

import pytest
from rich.console import Console

from benchmarks.models import MINILM
from r4t.cli import catalog as catalog_verb
from r4t.cli import queries as queries_verb
from r4t.data.queries import official_sets, split_sets
from r4t.data.readers import read_source
from r4t.encoder import LsaEncoder
from r4t.errors import InputError
from r4t.geometry import vendi
from r4t.index import TorchIndex
from r4t.methods.lineup import MethodOptions
from r4t.report.evaluation import Evaluation
from r4t.run import Run
from r4t.support.text import normalize_text


@pytest.mark.parametrize(
    ("name", "items", "sets", "note"),
    [
        ("bundles/clothing", 4487, 1909, "1 set without a query left out"),
        ("bundles/electronic", 3499, 1750, ""),
        ("playlists", 19232, 250, ""),
        ("recipes", 1530, 376, ""),
        ("perspectrum", 11112, 907, ""),
    ],
)
def test_counts_of_the_description(shared_data, name, items, sets, note):
    source = read_source(shared_data / name)
    assert (len(source.items), len(source.sets), source.note) == (items, sets, note)


def test_intents_recur_and_splits_keep_them_apart(shared_data):
    source = read_source(shared_data / "bundles/clothing")
    # 1,309 distinct intents with the empty one
    assert len({normalize_text(entry.query) for entry in source.sets}) == 1308
    splits = split_sets(source.sets, seed=0)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [1527, 191, 191]


def recall_and_hit(references, pools):
    """Mean share of the references in the pool, and share of queries with at least one."""
    shares = [len({*rows} & {*pool}) / len(rows) for rows, pool in zip(references, pools.tolist())]
    return sum(shares) / len(shares), sum(share > 0 for share in shares) / len(shares)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("bundles/clothing", ["category", "categories"]),
        ("bundles/electronic", ["category", "categories"]),
        ("playlists", ["title", "artists", "album"]),
        ("recipes", []),
        ("perspectrum", ["source"]),
    ],
)
def test_metadata_of_items(shared_data, name, columns):
    items = read_source(shared_data / name).items
    assert list(items.metadata) == columns
    assert not any(None in column for column in items.metadata.values())


def test_metadata_of_sets(shared_data):
    recipe = read_source(shared_data / "recipes").sets[0]
    assert recipe.metadata == {"tags": ["swiss", "pork", "potato", "pasta"]}
    playlist = read_source(shared_data / "playlists").sets[0]
    assert (playlist.metadata["name"], len(playlist.metadata)) == ("2010s Hits", 2)


def test_the_official_split_of_perspectrum(shared_data):
    sets = read_source(shared_data / "perspectrum").sets
    of_split = {
        split: [entry for entry in sets if entry.metadata["split"] == split]
        for split in ("train", "dev", "test")
    }
    assert {split: len(part) for split, part in of_split.items()} == {
        "train": 541, "dev": 139, "test": 227,
    }  # fmt: skip
    clusters = {split: sum(len(e.facets) for e in part) for split, part in of_split.items()}
    assert clusters == {"train": 2977, "dev": 914, "test": 1204}
    several = {s: sum(len(e.facets) > 1 for e in part) for s, part in of_split.items()}
    assert several == {"train": 482, "dev": 119, "test": 200}
    # Four texts and 27 item sets are in two splits.
    splits, note = official_sets(sets)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [518, 131, 227]
    assert note.startswith("23 train sets with the query or the items of a val or test set")
    assert "; 8 val sets with" in note


def test_facet_recall_of_perspectrum(shared_data, tmp_path):
    """No fan-out with LSA, against plain loops; configs/data/perspectrum.yaml has the commands."""
    source, catalog = str(shared_data / "perspectrum"), str(tmp_path / "catalog")
    catalog_verb.run([source, "--out", catalog])
    made = [catalog, "--out", str(tmp_path / "queries"), "--sets", source, "--split", "official"]
    queries_verb.run(made)
    run = Run.begin(tmp_path)
    evaluation = Evaluation(
        str(tmp_path), least_facets=2, audit=False, latency_batches=[], across_runs=0,
        distinct_by="none",
    )  # fmt: skip
    options = MethodOptions(methods=["No fan-out"], curves=[], pool_size=389)
    found = evaluation.measure(options, Console(quiet=True))
    searcher, ids = run.searcher(), run.searcher().catalog.ids
    queries = {query.id: query for query in run.read_queries("test")}
    asked = [queries[name] for name in found.queries]
    known = sum(len(q.facets) > 1 for q in searcher.searchable([*queries.values()])[0])
    assert len(asked) == known > 190
    _, rows = searcher.index.search(searcher.encode([query.text for query in asked]), 10)
    shares = []
    for query, ten in zip(asked, rows.tolist()):
        got = {ids[row] for row in ten}
        shares.append(sum(any(item in got for item in f) for f in query.facets) / len(query.facets))
    assert found.values["No fan-out"]["items/facet recall"] == pytest.approx(shares)
    # all-MiniLM-L6-v2: 0.550; divided by at most ten clusters, which ten items can hit, 0.563
    assert sum(shares) / len(shares) == pytest.approx(0.180, abs=0.005)


def test_lsa_recalls_bundles_nearly_as_minilm_does(shared_data):
    source = read_source(shared_data / "bundles/clothing")
    encoder = LsaEncoder.fit(source.items.texts)
    queries = encoder.encode([entry.query for entry in source.sets])
    _, rows = TorchIndex(encoder.encode(source.items.texts)).search(queries, 150)
    rows[(queries == 0).all(1)] = -1  # 1.7 % of the intents have no word of the catalog
    row = {item: n for n, item in enumerate(source.items.ids)}
    recall, hit = recall_and_hit([[row[i] for i in entry.items] for entry in source.sets], rows)
    # all-MiniLM-L6-v2: 0.464 and 0.676
    assert recall == pytest.approx(0.457, abs=0.005)
    assert hit == pytest.approx(0.639, abs=0.005)


def test_minilm_gives_the_known_figures(shared_data, tmp_path):
    """No fan-out over every bundle; `python -m benchmarks.real_sets` does it for both sources."""
    try:
        model = str(MINILM.source())
    except InputError as error:
        pytest.skip(str(error))
    source, catalog = str(shared_data / "bundles/clothing"), str(tmp_path / "catalog")
    # The known figures come from texts with HTML entities, cut at 64 tokens.
    how = ["--encoder", model, "--max_length", "64", "--verbatim"]
    catalog_verb.run([source, "--out", catalog, *how])
    queries_verb.run([catalog, "--out", str(tmp_path / "queries"), "--sets", source])
    searcher = Run.begin(tmp_path).searcher()
    queries = Run.open(tmp_path).read_queries("all")
    _, rows = searcher.index.search(searcher.encode([query.text for query in queries]), 150)
    recall, hit = recall_and_hit([searcher.catalog.rows(q.references) for q in queries], rows)
    assert (len(queries), round(recall, 3), round(hit, 3)) == (1909, 0.464, 0.676)
    assert round(vendi(searcher.embeddings(rows[:, :10])).mean().item(), 1) == 4.7
