"""r4t queries: the four origins of queries, and what each refuses."""

import json

import pytest

from r4t.cli import catalog as catalog_verb
from r4t.cli import queries as verb
from r4t.data.kinds import KINDS
from r4t.data.queries import SPLITS, read_queries
from r4t.data.wardrobe import SMALLEST, generate
from r4t.errors import InputError


@pytest.fixture(scope="module")
def wardrobe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wardrobe") / "catalog"
    catalog_verb.run(["wardrobe", "--out", str(folder), "--size", str(SMALLEST), "--seed", "2"])
    return folder


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [{"id": f"i{n}", "text": f"hat {n} wool"} for n in range(30)]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [{"id": f"s{n}", "query": f"idea {n}", "items": [f"i{n}", "gone"]} for n in range(20)]
    (folder / "sets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sets))
    catalog_verb.run([str(folder), "--out", str(tmp_path / "catalog"), "--dim", "2"])
    return folder


def test_phrases_of_the_catalog(wardrobe, tmp_path, capsys):
    arguments = [str(wardrobe), "--count", "200", "--out"]
    verb.run([*arguments, str(tmp_path / "a")])
    splits = {split: read_queries(tmp_path / "a", split) for split in SPLITS}
    assert {split: len(part) for split, part in splits.items()} == {
        "train": 160,
        "val": 20,
        "test": 20,
    }
    assert {query.kind for query in splits["train"]} == set(KINDS)
    printed = capsys.readouterr().out
    assert "splits    train 160, val 20, test 20" in printed
    assert "from the catalog's phrases" in printed
    verb.run([*arguments, str(tmp_path / "b")])
    assert {split: read_queries(tmp_path / "b", split) for split in SPLITS} == splits


@pytest.mark.parametrize("task", ["oar", "wscr"])
def test_wardrobe_of_the_same_seed(wardrobe, tmp_path, task):
    verb.run([str(wardrobe), "--out", str(tmp_path / "q"), "--wardrobe", task])
    expected = getattr(generate(2, SMALLEST), task)
    assert {split: read_queries(tmp_path / "q", split) for split in SPLITS} == expected


def test_reference_sets(shop, tmp_path, capsys):
    catalog = str(tmp_path / "catalog")
    verb.run([catalog, "--out", str(tmp_path / "q"), "--sets", str(shop)])
    queries = [query for split in SPLITS for query in read_queries(tmp_path / "q", split)]
    assert {(q.id, q.text, q.references) for q in queries} == {
        (f"s{n}", f"idea {n}", (f"i{n}",)) for n in range(20)
    }
    printed = capsys.readouterr().out
    assert "left out  20 references to items without an entry left out" in printed
    assert "kinds     set 20" in printed


def test_endpoint(shop, tmp_path, monkeypatch):
    from r4t.data import endpoint
    from r4t.data.queries import Query

    def ask(texts, address, model, count, seed):
        assert (len(texts), address, model, count) == (30, "http://x/v1", "m", 10)
        return [Query(f"q{n}", f"query {n}", "mood") for n in range(count)], "2 lines left out"

    monkeypatch.setattr(endpoint, "ask_queries", ask)
    arguments = [str(tmp_path / "catalog"), "--out", str(tmp_path / "q"), "--count", "10"]
    verb.run([*arguments, "--endpoint", "http://x/v1", "--model", "m"])
    assert len(read_queries(tmp_path / "q", "train")) == 8


def test_refusals(shop, wardrobe, tmp_path):
    catalog, out = str(tmp_path / "catalog"), ["--out", str(tmp_path / "q")]
    with pytest.raises(InputError, match=r"one origin — found --sets and --wardrobe — leave out"):
        verb.run([catalog, *out, "--sets", "x", "--wardrobe", "oar"])
    with pytest.raises(InputError, match=r"--endpoint and --model — found only one"):
        verb.run([catalog, *out, "--model", "m"])
    with pytest.raises(InputError, match=r"--count must be at least 10, .* — found 3"):
        verb.run([catalog, *out, "--count", "3"])
    with pytest.raises(InputError, match=r"a catalog of the wardrobe — found one of 'shop' in"):
        verb.run([catalog, *out, "--wardrobe", "oar"])
    with pytest.raises(InputError, match=r"oar or wscr — found 'ora'"):
        verb.run([str(wardrobe), *out, "--wardrobe", "ora"])
    with pytest.raises(InputError, match=r"found none in .*shop — name the source"):
        verb.run([str(wardrobe), *out, "--sets", str(shop)])
    verb.run([catalog, *out, "--sets", str(shop)])
    with pytest.raises(InputError, match=r"found test\.jsonl, train\.jsonl, val\.jsonl in"):
        verb.run([catalog, *out, "--sets", str(shop)])
    verb.run([catalog, *out, "--sets", str(shop), "--overwrite"])
