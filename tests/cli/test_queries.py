"""r4t queries: the four origins of queries, and what each refuses."""

import json
from argparse import ArgumentError
from collections import Counter

import pytest

from r4t.cli import catalog as catalog_verb
from r4t.cli import queries as verb
from r4t.data.phrases import KINDS
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


def test_words_that_no_text_has_are_counted(shop, tmp_path, capsys):
    verb.run([str(tmp_path / "catalog"), "--out", str(tmp_path / "q"), "--sets", str(shop)])
    # "idea" of all; the numbers are in the texts.
    assert (
        "unknown   20 of 20 queries have words that are in no text of the catalog, so LSA "
        "ignores them: idea (20); add them to the texts"
    ) in capsys.readouterr().out


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
    with pytest.raises(
        InputError, match=r"one source of queries, but found --sets and --wardrobe\. Leave out"
    ):
        verb.run([catalog, *out, "--sets", "x", "--wardrobe", "oar"])
    with pytest.raises(InputError, match=r"--endpoint with --model, but found --model alone"):
        verb.run([catalog, *out, "--model", "m"])
    with pytest.raises(InputError, match=r"--count .*at least 10,.* found 3"):
        verb.run([catalog, *out, "--count", "3"])
    with pytest.raises(InputError, match=r"a catalog of the wardrobe .* found one of 'shop' in"):
        verb.run([catalog, *out, "--wardrobe", "oar"])
    with pytest.raises(ArgumentError, match=r"--wardrobe: .*'ora' .*'oar', 'wscr'"):
        verb.run([str(wardrobe), *out, "--wardrobe", "ora"])
    with pytest.raises(InputError, match=r"found none in .*shop\. Name the source"):
        verb.run([str(wardrobe), *out, "--sets", str(shop)])
    verb.run([catalog, *out, "--sets", str(shop)])
    with pytest.raises(InputError, match=r"found test\.jsonl, train\.jsonl, val\.jsonl in"):
        verb.run([catalog, *out, "--sets", str(shop)])
    verb.run([catalog, *out, "--sets", str(shop), "--overwrite"])


def test_folds(shop, tmp_path, capsys):
    arguments = [str(tmp_path / "catalog"), "--out", str(tmp_path / "q"), "--sets", str(shop)]
    verb.run([*arguments, "--folds", "5"])
    printed = capsys.readouterr().out
    assert "fold_4    train 12, val 4, test 4" in printed
    assert "kinds     set 20" in printed
    tested = []
    for fold in range(5):
        folder = tmp_path / "q" / f"fold_{fold}"
        tested += [query.id for query in read_queries(folder, "test")]
        assert len(read_queries(folder, "all")) == 20
    assert sorted(tested) == sorted(f"s{n}" for n in range(20))
    with pytest.raises(InputError, match=r"found fold_0/test\.jsonl, fold_0/train\.jsonl, .* in"):
        verb.run(arguments)
    # Fewer folds leave none of the old ones behind, nor does a single split.
    verb.run([*arguments, "--folds", "3", "--overwrite"])
    assert sorted(path.parent.name for path in (tmp_path / "q").glob("*/test.jsonl")) == [
        "fold_0", "fold_1", "fold_2",
    ]  # fmt: skip
    verb.run([*arguments, "--overwrite"])
    assert not list((tmp_path / "q").glob("fold_*/*.jsonl"))
    assert len(read_queries(tmp_path / "q", "all")) == 20


def test_recomposed_training_queries(wardrobe, tmp_path, capsys):
    arguments = [str(wardrobe), "--wardrobe", "wscr", "--out"]
    verb.run([*arguments, str(tmp_path / "plain")])
    capsys.readouterr()
    verb.run([*arguments, str(tmp_path / "more"), "--recompose", "0.5", "--slot", "category"])
    plain, more = (
        {split: read_queries(tmp_path / name, split) for split in SPLITS}
        for name in ("plain", "more")
    )
    total = len(plain["train"])
    added = more["train"][total:]
    assert more["train"][:total] == plain["train"]
    assert (more["val"], more["test"]) == (plain["val"], plain["test"])
    assert {query.kind for query in added} == {"recomposed"}
    assert len(added) == round(total / 2)
    assert f"recompose {len(added):,} of {round(total / 2):,} requested" in capsys.readouterr().out
    before = {frozenset(query.references) for part in plain.values() for query in part}
    assert not {frozenset(query.references) for query in added} & before
    everything = [query for split in SPLITS for query in plain[split]]
    assert read_queries(tmp_path / "more", "all") == everything
    # Nothing but training sets lends items.
    lent = {item for query in plain["train"] for item in query.references}
    assert all(set(query.references) <= lent for query in added)


def test_recomposed_queries_of_folds(shop, tmp_path):
    source = tmp_path / "two"
    source.mkdir()
    (source / "items.jsonl").write_text((shop / "items.jsonl").read_text())
    sets = [
        {"id": f"s{n}", "query": f"hat {n}", "items": [f"i{n}", f"i{n + 1}"]} for n in range(20)
    ]
    (source / "sets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sets))
    arguments = [str(tmp_path / "catalog"), "--out", str(tmp_path / "q"), "--sets", str(source)]
    verb.run([*arguments, "--folds", "5", "--recompose", "7"])
    for fold in range(5):
        splits = {s: read_queries(tmp_path / "q" / f"fold_{fold}", s) for s in SPLITS}
        assert Counter(query.kind for query in splits["train"]) == {"set": 12, "recomposed": 7}
        lent = {i for q in splits["train"] if q.kind == "set" for i in q.references}
        assert {item for query in splits["train"] for item in query.references} == lent


@pytest.mark.parametrize("amount", ["0", "-3", "0.0", "many", "1e9", "-0.5", ".", "0.001"])
def test_no_number_of_recomposed_queries(amount):
    with pytest.raises(InputError, match=r"a share .* found '.*' for 100 training queries"):
        verb.how_many(amount, 100)


def test_refused_folds_and_recomposition(shop, wardrobe, tmp_path):
    catalog, out = str(tmp_path / "catalog"), ["--out", str(tmp_path / "q")]
    with pytest.raises(
        InputError, match=r"--sets with --folds, but found --folds alone\. Add --sets"
    ):
        verb.run([catalog, *out, "--folds", "5"])
    with pytest.raises(InputError, match=r"at least 3 folds .* found 2\."):
        verb.run([catalog, *out, "--sets", str(shop), "--folds", "2"])
    with pytest.raises(InputError, match=r"found --slot alone\. Add --recompose"):
        verb.run([catalog, *out, "--sets", str(shop), "--slot", "category"])
    with pytest.raises(InputError, match=r"found 'catgory'\. .* Did you mean 'category'\?"):
        verb.run(
            [str(wardrobe), *out, "--wardrobe", "wscr", "--recompose", "9", "--slot", "catgory"]
        )
    with pytest.raises(InputError, match=r"with reference sets .* found none\. Add --sets"):
        verb.run([str(wardrobe), *out, "--recompose", "0.5"])
    collections = str(tmp_path / "collections")
    catalog_verb.run([str(shop), "--out", collections, "--collections", "mean", "--dim", "2"])
    with pytest.raises(InputError, match=r"for --sets.* whose entries are collections"):
        verb.run([collections, *out, "--sets", str(shop)])
    assert not (tmp_path / "q").exists()


def test_a_local_model_adds_training_queries(shop, tmp_path, capsys):
    from r4t.fanout.language_model import TinyQwen3

    lm, tokenizer = TinyQwen3(32, 1, 300).build(["idea wool hat"] * 4, tmp_path)
    lm.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    words = [str(tmp_path / "catalog"), "--out", str(tmp_path / "q"), "--sets", str(shop)]
    writer = ["--writer", str(tmp_path / "lm"), "--count", "12", "--label", "Idea"]
    verb.run([*words, *writer])
    printed = capsys.readouterr().out
    assert "written   12; left out " in printed
    new = read_queries(tmp_path / "q", "written")
    assert len(new) == 12
    others = read_queries(tmp_path / "q", "all")
    assert len(others) == 20
    assert {query.text for query in others}.isdisjoint(query.text for query in new)
    with pytest.raises(InputError, match="--writer with --label, but found --label alone"):
        verb.run([*words[:1], "--out", str(tmp_path / "q3"), "--label", "Idea"])
    message = (
        "--sets or --wardrobe with --writer, whose queries it imitates, but found --writer alone"
    )
    with pytest.raises(InputError, match=message):
        verb.run([words[0], "--out", str(tmp_path / "q2"), *writer])


def test_a_log_adds_queries_before_those_of_a_model(shop, tmp_path, capsys):
    from r4t.fanout.language_model import TinyQwen3

    lm, tokenizer = TinyQwen3(32, 1, 300).build(["idea wool hat"] * 4, tmp_path)
    lm.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    log = tmp_path / "log.txt"
    words = [str(tmp_path / "catalog"), "--out", str(tmp_path / "q"), "--log", str(log)]
    with pytest.raises(InputError, match="--sets or --wardrobe with --log, which it adds to"):
        verb.run(words)
    words += ["--sets", str(shop)]
    with pytest.raises(InputError, match=r"a query on each line for --log, but found no file"):
        verb.run(words)
    log.write_bytes("caf\u00e9s\r\n\r\ncaf\u00e9s\naunts, uncles\n".encode("utf-16"))
    with pytest.raises(InputError, match="UTF-8 text, but found the byte"):
        verb.run(words)
    log.write_text("\ufeffcaf\u00e9s\r\n\r\ncaf\u00e9s\naunts, uncles\n", encoding="utf-8")
    verb.run([*words, "--writer", str(tmp_path / "lm"), "--count", "3"])
    printed = capsys.readouterr().out
    assert "logged    2; left out 1 repeated or blank, 0 near" in printed
    assert "written   3; left out " in printed
    assert "kinds     logged 2, set 20, written 3" in printed
    found = read_queries(tmp_path / "q", "written")
    assert [query.text for query in found[:2]] == ["caf\u00e9s", "aunts, uncles"]
    assert [query.kind for query in found] == ["logged"] * 2 + ["written"] * 3
    verb.run([*words, "--overwrite", "--folds", "3"])
    for fold in range(3):
        folder = tmp_path / "q" / f"fold_{fold}"
        assert [query.kind for query in read_queries(folder, "written")] == ["logged"] * 2


def test_the_official_split_and_facets_are_counted(shop, tmp_path, capsys):
    rows = [
        {"id": f"s{n}", "query": f"hat {n // 2}", "items": [f"i{n}", f"i{n + 1}"]}
        | {"facets": [[f"i{n}"], [f"i{n + 1}"]][: 1 + n % 2]}
        | {"split": ("train", "dev", "test")[min(n // 3, 2)]}
        for n in range(9)
    ]
    (shop / "sets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = ["--out", str(tmp_path / "q"), "--sets", str(shop), "--split", "official"]
    verb.run([str(tmp_path / "catalog"), *out])
    printed = capsys.readouterr().out
    # Pairs share a text: 2 (train) with 3 (val); 5 (val) with 4 (val).
    assert "reference sets of shop, official split)" in printed
    assert "splits    train 2, val 3, test 3" in printed
    assert "facets    12 of 8 queries, 4 with two or more" in printed
    assert "left out  1 train set with the query or the items of a val or test set" in printed
    assert [query.id for query in read_queries(tmp_path / "q", "test")] == ["s6", "s7", "s8"]
    assert read_queries(tmp_path / "q", "test")[1].facets == (("i7",), ("i8",))
    with pytest.raises(InputError, match=r"found --split official and --folds 5\. Leave out one"):
        verb.run([str(tmp_path / "catalog"), *out, "--folds", "5", "--overwrite"])
    with pytest.raises(InputError, match=r"--sets with --split, but found --split alone"):
        verb.run([str(tmp_path / "catalog"), "--out", "x", "--split", "official"])
