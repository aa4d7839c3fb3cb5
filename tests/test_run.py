import json
import random
import shutil
from dataclasses import replace

import pytest
import torch

from r4t.catalog import write_catalog
from r4t.data.queries import Query, write_queries
from r4t.data.source import Items
from r4t.encoder.lsa import LsaEncoder
from r4t.errors import InputError
from r4t.run import Run


def test_a_run_can_be_moved_with_its_catalog(small_run, tmp_path):
    shutil.move(small_run.folder, tmp_path / "moved")
    moved = Run.open(tmp_path / "moved")
    assert len(moved.searcher().catalog) == 200
    assert [len(moved.read_queries(split)) for split in ("train", "val", "test")] == [24, 8, 8]


def test_another_catalog_is_refused(small_run, small_items):
    texts = [text + " new" for text in small_items.texts]
    encoder = LsaEncoder.fit(texts, dim=8)
    items = Items(small_items.ids, texts)
    write_catalog(small_run.catalog, items, encoder.encode(texts), encoder, overwrite=True)
    with pytest.raises(InputError, match="was begun with .* found fingerprint .* Restore"):
        Run.open(small_run.folder).searcher()
    with pytest.raises(InputError, match="was begun with .fingerprint .* found fingerprint"):
        Run.begin(small_run.folder)
    written = json.loads((small_run.folder / "run.json").read_text())
    assert written["fingerprint"] == small_run.fingerprint  # the run is as it was


@pytest.mark.parametrize("content", ["{}", "{", "[]", '{"catalog": 1, "queries": 2}'])
def test_a_damaged_run_file_is_named(small_run, content):
    (small_run.folder / "run.json").write_text(content)
    with pytest.raises(
        InputError,
        match="JSON object with catalog, queries and fingerprint, but found something else in .*run.json",
    ):
        Run.open(small_run.folder)


def test_a_run_that_says_so_already_is_not_written_again(small_run):
    """Each process of a fit begins the run, while others read it."""
    paths = [small_run.folder / name for name in ("run.json", "README.md")]
    before = [path.stat().st_mtime_ns for path in paths]
    assert Run.begin(small_run.folder) == small_run
    assert [path.stat().st_mtime_ns for path in paths] == before
    elsewhere = small_run.folder.parent / "queries"
    shutil.copytree(small_run.queries, elsewhere)
    Run.begin(small_run.folder, queries=elsewhere)
    assert Run.open(small_run.folder).queries == elsewhere
    assert not list(small_run.folder.glob("*.part"))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="a folder with run.json, but found no such file in"):
        Run.open(tmp_path)


def test_the_searcher_knows_how_often_training_sets_hold_an_item(small_run):
    # 24 training queries; query r refers to items r and r + 1, so 1 … 23 are in two sets.
    popularity = small_run.searcher().popularity
    assert popularity.sets == 24
    assert popularity.counts[:26].tolist() == [1, *[2] * 23, 1, 0]
    assert popularity.counts.sum() == 48
    # Sets that nobody made do not count.
    queries = small_run.read_queries("train")
    made = replace(queries[0], id="q0+1", kind="recomposed")
    write_queries(small_run.queries, {"train": [*queries, made]})
    again = small_run.searcher().popularity
    assert (again.sets, again.counts.tolist()) == (24, popularity.counts.tolist())
    (small_run.queries / "train.jsonl").unlink()
    assert small_run.searcher().popularity is None


def test_the_searcher_has_a_bank_of_training_queries(small_run):
    searcher = small_run.searcher()
    texts = [query.text for query in small_run.read_queries("train")]
    vectors = {tuple(row) for row in searcher.encode(texts).tolist()}
    assert searcher.bank.shape == (24, 8)
    assert {tuple(row) for row in searcher.bank.tolist()} == vectors
    sets = searcher.retrieve(searcher.bank[:1], searcher.bank[:1].unsqueeze(1))
    ranked = searcher.ranked_sets(searcher.bank[:1], torch.tensor([[0, 1]]), 2)
    assert sets.bank is ranked.bank is searcher.bank
    # Repeats and recomposed queries count once, and unknown words not at all.
    queries = small_run.read_queries("train")
    made = replace(queries[0], id="q0+1", kind="recomposed", text="grey silk boots")
    again = replace(queries[1], id="again")
    unknown = replace(queries[2], id="unknown", text="zyzzyva")
    write_queries(small_run.queries, {"train": [*queries, made, again, unknown]})
    assert {tuple(row) for row in small_run.searcher().bank.tolist()} == vectors
    write_queries(small_run.queries, {"train": [unknown]})
    assert small_run.searcher().bank is None
    (small_run.queries / "train.jsonl").unlink()
    assert small_run.searcher().bank is None


def test_a_bank_has_at_most_256_queries_and_is_drawn_with_a_fixed_seed(small_run, small_items):
    texts = [f"{one} or {two}" for one in small_items.texts[:20] for two in small_items.texts[-16:]]
    queries = [Query(f"q{n}", text, "set") for n, text in enumerate(texts)]
    write_queries(small_run.queries, {"train": queries})
    first, second = (small_run.searcher() for _ in range(2))
    drawn = random.Random(0).sample(texts, 256)
    assert torch.allclose(first.bank, first.encode(drawn), atol=1e-6)
    assert torch.equal(first.bank, second.bank)


def test_a_begun_run_remembers_where_its_catalog_and_queries_lie(small_run, tmp_path):
    places = {"catalog": tmp_path / "elsewhere" / "catalog", "queries": tmp_path / "asked"}
    for name, place in places.items():
        shutil.copytree(getattr(small_run, name), place)
    Run.begin(tmp_path / "other", **places)
    again = Run.begin(tmp_path / "other")
    assert {"catalog": again.catalog, "queries": again.queries} == places
    moved = tmp_path / "moved"
    shutil.copytree(places["queries"], moved)
    assert Run.begin(tmp_path / "other", queries=moved).queries == moved  # said anew, it is kept
    assert Run.open(tmp_path / "other").queries == moved
