import contextlib
import io
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Subset

from r4t.errors import InputError
from r4t.targets import (
    Origin,
    TargetBatch,
    TargetSets,
    TargetWriter,
    as_fetched,
    begin,
    check_begin,
    write_targets,
)

ORIGIN = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny", "dim": 4, "set_size": 3}


def batch(numbers, *, dim=4, scores=("diversity",)):
    """Sets whose numbers all say which set it is."""
    n = torch.tensor(numbers, dtype=torch.float32)
    return TargetBatch(
        condition=n[:, None].expand(-1, dim),
        rows=n[:, None, None] + torch.arange(3.0)[:, None] / 10 + torch.zeros(dim),
        items=torch.stack([torch.tensor([i, i + 1, -1]) for i in numbers]),
        scores=dict.fromkeys(scores, n / 100),
        query_ids=[f"q{i // 4}" for i in numbers],
        queries=[f"query {i // 4} é" for i in numbers],
        texts=[[f"sub {i}", "more"] for i in numbers],
    )


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "targets"
    batches = [batch(range(4)), batch(range(4, 5)), batch(range(5, 10)), batch(range(10, 11))]
    write_targets(path, batches, shard_size=4, **ORIGIN)
    return path


def test_shards_are_full_batches(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    # 4 sets fill a shard; 1 waits for the next 5, and the last one is written at the end.
    assert [shard["sets"] for shard in manifest["shards"]] == [4, 6, 1]
    assert manifest["sets"] == 11
    assert manifest["queries"] == 3
    for shard in manifest["shards"]:
        assert (folder / shard["name"]).stat().st_size == shard["bytes"]


def test_shard_files_hold_what_was_added(folder):
    tensors = load_file(folder / "shard-000-00001.safetensors")
    assert set(tensors) == {"condition", "rows", "items", "query", "score.diversity"}
    assert tensors["condition"][:, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert tensors["items"][0].tolist() == [4, 5, -1]
    assert tensors["query"].tolist() == [0, 0, 0, 0, 1, 1]
    line = (folder / "shard-000-00001.jsonl").read_text(encoding="utf-8").splitlines()[2]
    assert json.loads(line) == {"query_id": "q1", "query": "query 1 é", "texts": ["sub 6", "more"]}
    record = json.loads((folder / "shard-000-00001.json").read_text())
    assert (record["queries"], record["empty"], record["sets"]) == (["q1", "q2"], [], 6)


def test_a_shard_reads_back_as_it_was_written(folder):
    shard, expected = TargetSets.load(folder).shard(1), batch(range(4, 10))
    for name in ("condition", "rows", "items"):
        assert torch.equal(getattr(shard, name), getattr(expected, name))
    assert torch.equal(shard.scores["diversity"], expected.scores["diversity"])
    assert shard.query_ids == expected.query_ids
    assert shard.queries == expected.queries
    assert shard.texts == expected.texts
    assert shard.item_ids is None


def test_texts_may_hold_any_line_break_but_that_of_the_file(tmp_path):
    odd = TargetBatch(**{**vars(batch([0])), "queries": ["one\u2028two\x85three\nfour"]})
    write_targets(tmp_path, [odd], **ORIGIN)
    assert TargetSets.load(tmp_path).shard(0).queries == odd.queries


def test_a_batch_reaches_across_shards(folder):
    numbers = [10, 0, 4, 3, 8]
    condition, rows = TargetSets.load(folder).__getitems__(numbers)
    assert condition[:, 0].tolist() == numbers
    assert torch.equal(rows, batch(numbers).rows)


def test_the_data_set_is_the_same_one_by_one_and_in_batches(folder):
    sets = TargetSets.load(folder)
    assert len(sets) == 11
    together = sets.__getitems__([9, 2, 5])
    for place, number in enumerate((9, 2, 5)):
        assert torch.equal(sets[number][0], together[0][place])
        assert torch.equal(sets[number][1], together[1][place])
    loader = DataLoader(Subset(sets, [9, 2, 5]), batch_size=2, collate_fn=as_fetched)
    assert [condition[:, 0].tolist() for condition, _ in loader] == [[9, 2], [5]]


def test_opened_sets_pickle_without_their_maps(folder):
    sets = TargetSets.load(folder)
    assert sets[1][0][0] == 1
    data = pickle.dumps(sets)
    assert len(data) < 2000
    assert pickle.loads(data)[1][0][0] == 1


def query_ids(folder):
    """Query id of every set, in order."""
    ids, owners = TargetSets.load(folder).queries()
    return [ids[owner] for owner in owners]


def test_queries_are_numbered(folder):
    sets = TargetSets.load(folder)
    ids, owners = sets.queries()
    assert ids == ["q0", "q1", "q2"]
    assert owners.tolist() == [0] * 4 + [1] * 4 + [2] * 3
    assert query_ids(folder) == [f"q{number // 4}" for number in range(11)]


def writer(folder, overwrite=False, rank=0, **arguments):
    """A writer as synthesis opens it: every rank checks, the first one begins."""
    origin = Origin(**{**ORIGIN, **arguments.pop("origin", {})})
    goes_on = check_begin(folder, origin, overwrite)
    if rank == 0:
        begin(folder, origin, goes_on)
    return TargetWriter(folder, origin, rank=rank, **arguments)


def test_counts_add_up(tmp_path):
    writing = writer(tmp_path)
    dropped = {"unparsable": 2, "below floor": 3}
    writing.add(batch(range(3)), ["q0", "q9"], drawn=8, dropped=dropped)
    writing.add(None, ["q8"], drawn=4, dropped={"unparsable": 4})
    writing.close()
    manifest = TargetSets.load(tmp_path, expected_fingerprint="abc").manifest
    assert (manifest.drawn, manifest.sets, manifest.asked, manifest.queries) == (12, 3, 3, 1)
    assert manifest.dropped == {"unparsable": 6, "below floor": 3}


def test_a_crash_leaves_no_manifest_and_committed_shards_stay(tmp_path):
    crashed = writer(tmp_path, shard_size=4)
    for start in (0, 4, 8):
        crashed.add(batch(range(start, start + (4 if start < 8 else 2))))
    del crashed
    assert len(list(tmp_path.glob("shard-*.safetensors"))) == 2
    with pytest.raises(
        InputError, match=r"a manifest.json, but found none in .*\. Run r4t synthesize"
    ):
        TargetSets.load(tmp_path)
    # A kill while a shard is written leaves files without a record: they do not count.
    (tmp_path / "shard-000-00001.json").unlink()
    (tmp_path / "shard-000-00007.safetensors.part").write_bytes(b"half")
    writing = writer(tmp_path, shard_size=4)
    assert writing.done == {"q0"}
    assert sorted(path.name for path in tmp_path.glob("shard-*")) == [
        f"shard-000-00000.{ending}" for ending in ("json", "jsonl", "safetensors")
    ]
    writing.add(batch(range(4, 8)))
    writing.close()
    assert query_ids(tmp_path) == ["q0"] * 4 + ["q1"] * 4


def test_unfinished_sets_go_on_with_the_same_origin_alone(tmp_path):
    writing = writer(tmp_path)
    writing.add(batch([0]))
    writing.flush()
    other = {"origin": {"model": "another", "config": {"samples": 8}}}
    with pytest.raises(
        InputError, match=r"were begun \(.*begun.json\), but found another config, model\. R"
    ):
        writer(tmp_path, **other)
    assert writer(tmp_path, rank=1).done == {"q0"}
    assert writer(tmp_path, overwrite=True).done == {"q0"}  # unfinished and the same: nothing lost
    assert writer(tmp_path, overwrite=True, **other).done == set()
    assert list(tmp_path.glob("shard-*")) == []


def test_each_rank_writes_shards_of_its_own(tmp_path):
    first = writer(tmp_path)
    second = writer(tmp_path, rank=1)
    first.add(batch(range(4)))
    second.add(batch(range(4, 8)))
    second.flush()
    third = writer(tmp_path, rank=1)  # goes on after its own shards
    third.add(batch(range(8, 10)))
    third.flush()
    first.close()
    sets = TargetSets.load(tmp_path)
    names = [shard["name"] for shard in sets.manifest.shards]
    assert names == [
        f"shard-{name}.safetensors" for name in ("000-00000", "001-00000", "001-00001")
    ]
    assert sets.__getitems__(list(range(10)))[0][:, 0].tolist() == list(range(10))


def test_a_folder_without_a_set_is_not_finished(tmp_path):
    writing = writer(tmp_path)
    writing.add(None, ["q0", "q1"], drawn=8, dropped={"below the floor": 8})
    with pytest.raises(
        InputError, match=r"found none of 8 samples of 2 queries .*'below the floor': 8"
    ):
        writing.close()
    with pytest.raises(InputError, match=r"a manifest.json, but found none"):
        TargetSets.load(tmp_path)


def test_numbers_that_are_not_finite_are_neither_written_nor_read(folder):
    rows = batch([3, 4]).rows.clone()
    rows[1, 0, 2] = torch.nan
    with pytest.raises(
        InputError, match=r"found NaN or infinity in the rows of set 1 \(query 'q1'\)"
    ):
        TargetBatch(**{**vars(batch([3, 4])), "rows": rows})
    path = folder / "shard-000-00001.safetensors"
    tensors = load_file(path)
    tensors["condition"][3, 1] = torch.inf
    save_file(tensors, path)
    sets = TargetSets.load(folder)  # nothing is read yet
    assert sets[0][0][0] == 0
    with pytest.raises(InputError, match=r"infinity in the condition of set 3 \(.*-00001.safetens"):
        sets[5]


def test_the_data_card_says_what_is_in_the_folder(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "11 sets of 3 rows for 3 queries" in card
    assert "| catalog | | `abc` |" in card
    # Scores 0, 0.01 … 0.1: the quantiles of 11 values are those at places 0 (0.5), 5 and 10 (9.5).
    assert "| diversity | 0.050 | 0.000 | 0.050 | 0.100 | 0 |" in card
    code = card.split("```python\n")[1].split("```")[0]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue() == "query 0 é ['sub 0', 'more']\n"


def test_finished_sets_are_replaced_only_on_request(folder):
    with pytest.raises(InputError, match=r"found finished ones in .*set overwrite"):
        writer(folder)
    assert len(TargetSets.load(folder)) == 11
    write_targets(folder, [batch([0])], overwrite=True, **ORIGIN)
    assert len(TargetSets.load(folder)) == 1


def test_unfitting_batches_are_refused(tmp_path):
    writing = writer(tmp_path)
    with pytest.raises(InputError, match=r"\(L, d\) = \(3, 4\) .*, but found \(3, 5\) with"):
        writing.add(batch([0], dim=5))
    writing.add(batch([0]))
    with pytest.raises(
        InputError, match=r"scores \['diversity'\], .* with \['a', 'b'\] in a batch"
    ):
        writing.add(batch([0], scores=("a", "b")))
    with pytest.raises(InputError, match=r"items of shape \(1, 3\) .*, but found \(2, 3\)"):
        TargetBatch(**{**vars(batch([0])), "items": batch([0, 1]).items})
    with pytest.raises(InputError, match=r"shape \(n, L, d\), but found \(3, 4\)"):
        TargetBatch(**{**vars(batch([0])), "rows": torch.zeros(3, 4)})


def test_damaged_folders_are_refused(folder):
    def manifest(**changes):
        (folder / "manifest.json").write_text(json.dumps({**whole, **changes}))

    whole = json.loads((folder / "manifest.json").read_text())
    with pytest.raises(InputError, match=r"catalog xyz, but found those of abc in"):
        TargetSets.load(folder, expected_fingerprint="xyz")
    manifest(format_version=1)
    with pytest.raises(InputError, match=r"format 2, but found format 1 in"):
        TargetSets.load(folder)
    manifest(dim=5)
    with pytest.raises(
        InputError, match=r"condition of shape \[4, 5\] in .*, but found shape \[4, 4\]"
    ):
        TargetSets.load(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(
        InputError, match=r"format 2, but found format unknown in .*manifest.json\. Copy"
    ):
        TargetSets.load(folder)
    manifest()
    shard = folder / "shard-000-00001.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-8])
    with pytest.raises(
        InputError, match=r"\d+ bytes in .*shard-000-00001.safetensors, but found \d+ bytes"
    ):
        TargetSets.load(folder)
    shard.write_bytes(b"\xff" * len(content))
    with pytest.raises(
        InputError, match=r"condition, rows, items, query in .*, but found something else"
    ):
        TargetSets.load(folder)
    shard.unlink()
    with pytest.raises(
        InputError, match=r"shard-000-00001.safetensors, which the manifest .* found no such file"
    ):
        TargetSets.load(folder)
    shard.write_bytes(content)
    texts = folder / "shard-000-00002.jsonl"
    texts.write_text(texts.read_text(encoding="utf-8")[:-3], encoding="utf-8")
    with pytest.raises(
        InputError, match=r"\d+ bytes in .*shard-000-00002.jsonl, but found \d+ bytes"
    ):
        TargetSets.load(folder)
    (folder / "shard-000-00000.json").write_text("{")
    (folder / "manifest.json").unlink()
    with pytest.raises(
        InputError, match=r"record of a shard in .*, but found a damaged file.*overwrite"
    ):
        writer(folder)
