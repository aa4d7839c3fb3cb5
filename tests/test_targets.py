import json
import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from r4t.errors import InputError
from r4t.targets import (
    TargetBatch,
    TargetDataset,
    TargetSets,
    TargetWriter,
    as_fetched,
    write_targets,
)

ORIGIN = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny", "dim": 4, "set_size": 3}


def batch(numbers, *, dim=4, scores=("diversity",)):
    """Sets whose every number tells which set it is."""
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
    batches = [batch(range(5)), batch(range(5, 6)), batch(range(6, 11))]
    write_targets(path, batches, shard_size=4, **ORIGIN)
    return path


def test_shards_are_filled_across_batches(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [shard["sets"] for shard in manifest["shards"]] == [4, 4, 3]
    assert manifest["sets"] == 11
    assert manifest["queries"] == 3
    for shard in manifest["shards"]:
        assert (folder / shard["name"]).stat().st_size == shard["bytes"]


def test_shard_files_hold_what_was_added(folder):
    tensors = load_file(folder / "shard-00001.safetensors")
    assert set(tensors) == {"condition", "rows", "items", "score.diversity"}
    assert tensors["condition"][:, 0].tolist() == [4, 5, 6, 7]
    assert tensors["items"][0].tolist() == [4, 5, -1]
    line = (folder / "shard-00001.jsonl").read_text(encoding="utf-8").splitlines()[2]
    assert json.loads(line) == {"query_id": "q1", "query": "query 1 é", "texts": ["sub 6", "more"]}


def test_a_shard_reads_back_as_it_was_written(folder):
    found, want = TargetSets.load(folder).shard(2), batch(range(8, 11))
    for name in ("condition", "rows", "items"):
        assert torch.equal(getattr(found, name), getattr(want, name))
    assert torch.equal(found.scores["diversity"], want.scores["diversity"])
    assert found.query_ids == want.query_ids
    assert found.texts == want.texts


def test_gather_reaches_across_shards(folder):
    sets = TargetSets.load(folder)
    numbers = torch.tensor([10, 0, 4, 3, 8])
    condition, rows = sets.gather(numbers)
    assert condition[:, 0].tolist() == [10, 0, 4, 3, 8]
    assert torch.equal(rows, batch(numbers.tolist()).rows)


def test_the_data_set_is_the_same_one_by_one_and_in_batches(folder):
    dataset = TargetDataset(TargetSets.load(folder), torch.tensor([9, 2, 5]))
    assert len(dataset) == 3
    together = dataset.__getitems__([0, 1, 2])
    for i in range(3):
        assert torch.equal(dataset[i][0], together[0][i])
        assert torch.equal(dataset[i][1], together[1][i])
    loader = DataLoader(dataset, batch_size=2, collate_fn=as_fetched)
    assert [condition[:, 0].tolist() for condition, _ in loader] == [[9, 2], [5]]


def test_opened_sets_pickle_without_their_maps(folder):
    sets = TargetSets.load(folder)
    sets.gather(torch.tensor([1]))
    data = pickle.dumps(sets)
    assert len(data) < 2000
    assert pickle.loads(data).gather(torch.tensor([1]))[0][0, 0] == 1


def test_counts_add_up(tmp_path):
    with TargetWriter(tmp_path, **ORIGIN) as writer:
        writer.add(batch(range(3)))
        writer.count(drawn=8, dropped={"unparsable": 2, "below floor": 3})
        writer.count(drawn=4, dropped={"unparsable": 4})
    manifest = TargetSets.load(tmp_path, expected_fingerprint="abc").manifest
    assert (manifest.drawn, manifest.sets) == (12, 3)
    assert manifest.dropped == {"unparsable": 6, "below floor": 3}


def test_a_crash_leaves_no_manifest_and_the_next_run_clears_the_rest(tmp_path):
    def crash():
        with TargetWriter(tmp_path, shard_size=2, **ORIGIN) as writer:
            writer.add(batch(range(6)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert len(list(tmp_path.glob("shard-*.safetensors"))) == 3
    with pytest.raises(InputError, match=r"hold a manifest.json, found none in .*run synthesize"):
        TargetSets.load(tmp_path)
    write_targets(tmp_path, [batch([7])], **ORIGIN)
    assert [path.name for path in tmp_path.glob("shard-*.safetensors")] == [
        "shard-00000.safetensors"
    ]
    assert TargetSets.load(tmp_path).query_ids() == ["q1"]


def test_finished_sets_are_replaced_only_on_request(folder):
    with pytest.raises(InputError, match=r"found finished ones in .*allow overwriting"):
        TargetWriter(folder, **ORIGIN)
    assert len(TargetSets.load(folder)) == 11
    write_targets(folder, [batch([0])], overwrite=True, **ORIGIN)
    assert len(TargetSets.load(folder)) == 1


def test_unfitting_batches_are_refused(tmp_path):
    writer = TargetWriter(tmp_path, **ORIGIN)
    with pytest.raises(InputError, match=r"\(L, d\) = \(3, 4\), found \(3, 5\) in a batch"):
        writer.add(batch([0], dim=5))
    writer.add(batch([0]))
    with pytest.raises(InputError, match=r"scores \['diversity'\], found \['a', 'b'\]"):
        writer.add(batch([0], scores=("a", "b")))
    with pytest.raises(InputError, match=r"need items of shape \(1, 3\), found \(2, 3\)"):
        TargetBatch(**{**vars(batch([0])), "items": batch([0, 1]).items})
    with pytest.raises(InputError, match=r"shape \(n, L, d\), found \(3, 4\)"):
        TargetBatch(**{**vars(batch([0])), "rows": torch.zeros(3, 4)})


def test_damaged_folders_are_refused(folder):
    def manifest(**changes):
        (folder / "manifest.json").write_text(json.dumps({**whole, **changes}))

    whole = json.loads((folder / "manifest.json").read_text())
    with pytest.raises(InputError, match=r"catalog xyz were expected, found those of abc in"):
        TargetSets.load(folder, expected_fingerprint="xyz")
    manifest(format_version=2)
    with pytest.raises(InputError, match=r"format 1, found format 2 in"):
        TargetSets.load(folder)
    manifest(dim=5)
    with pytest.raises(InputError, match=r"condition in .* the shape \[4, 5\], found \[4, 4\]"):
        TargetSets.load(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"A manifest of target sets was expected in .*again"):
        TargetSets.load(folder)
    manifest()
    shard = folder / "shard-00001.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-8])
    with pytest.raises(InputError, match=r"shard-00001.safetensors should be \d+ bytes, found \d+"):
        TargetSets.load(folder)
    shard.write_bytes(b"\xff" * len(content))
    with pytest.raises(InputError, match=r"should hold condition, rows, items, found a file that"):
        TargetSets.load(folder)
    shard.unlink()
    with pytest.raises(InputError, match=r"tells of shard-00001.safetensors and its .jsonl, found"):
        TargetSets.load(folder)
