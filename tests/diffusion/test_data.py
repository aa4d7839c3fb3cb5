import pytest
import torch

from r4t.diffusion.data import TargetData, validation_queries
from r4t.errors import InputError
from r4t.targets import TargetBatch, write_targets


@pytest.fixture
def folder(tmp_path):
    """Ten queries with six sets each; every number of a set is its number."""
    n = torch.arange(60.0)
    batch = TargetBatch(
        condition=n[:, None].expand(60, 4),
        rows=n[:, None, None].expand(60, 3, 4),
        items=torch.full((60, 3), -1),
        scores={},
        query_ids=[f"q{i % 10}" for i in range(60)],
        queries=["a query"] * 60,
        texts=[[]] * 60,
    )
    origin = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny", "dim": 4, "set_size": 3}
    write_targets(tmp_path, [batch], shard_size=25, **origin)
    return str(tmp_path)


def numbers(loader):
    for condition, rows in loader:
        assert torch.equal(condition, rows[:, 0])
    return [int(number) for condition, _ in loader for number in condition[:, 0]]


def test_the_split_is_by_query_and_loses_nothing(folder):
    data = TargetData(folder, batch_size=6, val_share=0.3)
    data.setup()
    train, val = numbers(data.train_dataloader()), numbers(data.val_dataloader())
    assert sorted(train + val) == list(range(60))
    assert len({i % 10 for i in val}) == 3
    assert not {i % 10 for i in val} & {i % 10 for i in train}


def test_training_batches_are_shuffled_and_full(folder):
    data = TargetData(folder, batch_size=16, val_share=0.1)
    data.setup()
    train = numbers(data.train_dataloader())
    assert len(train) == 48  # three full batches of 54 sets
    assert train != sorted(train)
    val = numbers(data.val_dataloader())
    assert val == sorted(val)
    assert len(val) == 6


def test_a_batch_larger_than_the_data_keeps_the_data(folder):
    data = TargetData(folder, batch_size=100, val_share=0.0)
    data.setup()
    assert sorted(numbers(data.train_dataloader())) == list(range(60))
    assert numbers(data.val_dataloader()) == []


def test_worker_processes_read_the_same(folder):
    data = TargetData(folder, batch_size=6, val_share=0.3, num_workers=1)
    data.setup()
    assert len(numbers(data.val_dataloader())) == 18


def test_a_query_keeps_its_side_when_others_leave():
    ids = [f"q{i}" for i in range(40)]
    chosen = validation_queries(set(ids), 0.25, seed=0)
    assert len(chosen) == 10
    assert chosen != validation_queries(set(ids), 0.25, seed=1)
    # Removing a chosen query changes one place only.
    fewer = validation_queries(set(ids) - {min(chosen)}, 0.25, seed=0)
    assert len(fewer & chosen) == 9


def test_unfit_settings_are_refused(folder):
    with pytest.raises(InputError, match=r"val_share must lie in \[0, 1\), found 1"):
        TargetData(folder, val_share=1.0)
    with pytest.raises(InputError, match=r"catalog xyz were expected"):
        TargetData(folder, expected_fingerprint="xyz").setup()


def test_a_single_query_cannot_be_held_out(tmp_path):
    batch = TargetBatch(
        torch.ones(2, 4), torch.ones(2, 3, 4), torch.ones(2, 3), {}, *[["a", "a"]] * 3
    )
    origin = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny", "dim": 4, "set_size": 3}
    write_targets(tmp_path, [batch], **origin)
    with pytest.raises(InputError, match=r"at least 2 queries are needed to hold out 1, found 1"):
        TargetData(str(tmp_path), val_share=0.5).setup()
