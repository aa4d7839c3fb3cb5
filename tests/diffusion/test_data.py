from types import SimpleNamespace

import pytest
import torch

from r4t.data.queries import Query, write_queries
from r4t.diffusion.data import TargetData, validation_queries
from r4t.errors import InputError
from r4t.targets import TargetBatch, write_targets


@pytest.fixture
def folder(tmp_path):
    """Ten queries with six sets each; every number of a set is its number."""
    batches = [
        TargetBatch(
            condition=n[:, None].expand(-1, 4),
            rows=n[:, None, None].expand(-1, 3, 4),
            items=torch.full((len(n), 3), -1),
            scores={},
            query_ids=[f"q{i % 10:g}" for i in n.tolist()],
            queries=["a query"] * len(n),
            texts=[[]] * len(n),
        )
        for n in torch.arange(60.0).split(25)
    ]
    origin = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny", "dim": 4, "set_size": 3}
    write_targets(tmp_path, batches, shard_size=25, **origin)
    return str(tmp_path)


def numbers(batches):
    """Numbers of the sets in training batches, or in the first of two loaders to validate on."""
    if isinstance(batches, list):
        batches = [(condition, rows) for _, condition, rows in batches[0]]
    batches = list(batches)
    for condition, rows in batches:
        assert torch.equal(condition, rows[:, 0])
    return [int(number) for condition, _ in batches for number in condition[:, 0]]


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


def test_ranks_together_read_what_one_process_reads(folder):
    def epoch(rank, ranks, batch_size):
        data = TargetData(folder, batch_size=batch_size, val_share=0.2)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks)
        data.setup()
        train = [condition[:, 0] for condition, _ in data.train_dataloader()]
        val = [(n, *condition[:, 0].tolist()) for n, condition, _ in data.val_dataloader()[0]]
        return train, val

    alone, (left, right) = epoch(0, 1, 16), (epoch(rank, 2, 8) for rank in range(2))
    for whole, one, other in zip(alone[0], left[0], right[0], strict=True):
        assert torch.equal(whole[0::2], one)
        assert torch.equal(whole[1::2], other)
    # Validation deals whole batches, none twice: 12 sets in batches of at most 12 / 2.
    assert [batch[0] for batch in left[1]] == [0]
    assert [batch[0] for batch in right[1]] == [6]
    assert left[1][0][1:] + right[1][0][1:] == alone[1][0][1:]


def test_more_ranks_than_held_out_sets_are_refused(folder):
    data = TargetData(folder, val_share=0.1)
    data.trainer = SimpleNamespace(global_rank=0, world_size=7)
    data.setup()
    with pytest.raises(
        InputError, match=r"query for each of 7 processes, but found 6\. Raise val_share"
    ):
        data.val_dataloader()


def test_the_runs_validation_queries_come_as_text(small_run):
    n = torch.randn(6, 8)
    origin = {"fingerprint": small_run.fingerprint, "encoder": "lsa", "model": "tiny"}
    batch = TargetBatch(
        n,
        n[:, None].expand(6, 3, 8),
        torch.full((6, 3), -1),
        {},
        list("aabbcc"),
        list("aabbcc"),
        [[]] * 6,
    )
    write_targets(small_run.step("targets"), [batch], dim=8, set_size=3, **origin)
    asked = [Query(f"v{row}", "red linen", "mood") for row in range(5)]
    asked[1] = Query("v1", "qwerty", "mood")  # no word of it is known
    write_queries(small_run.queries, {"val": asked})
    data = TargetData(run=str(small_run.folder), batch_size=3)
    with pytest.warns(UserWarning, match=r"1 of 5 val queries are skipped.*\['qwerty'\]"):
        data.setup()
    batches = [
        (number, [query.id for query in queries]) for number, queries in data.val_dataloader()[1]
    ]
    assert batches == [(0, ["v0", "v2", "v3"]), (3, ["v4"])]
    batch = data.transfer_batch_to_device((0, asked), torch.device("cpu"), 1)
    assert batch == (0, asked)
    few = TargetData(run=str(small_run.folder), batch_size=3, val_queries=0)
    few.setup()
    assert len(few.val_dataloader()[1]) == 0


def test_sigma_data_is_the_root_mean_square_of_training_rows(folder):
    data = TargetData(folder, val_share=0.0)
    data.setup()
    # Every coordinate of set n is n: the mean of n² over 0 … 59 is 59 · 119 / 6.
    assert data.sigma_data() == pytest.approx((59 * 119 / 6) ** 0.5)


def test_a_query_keeps_its_side_when_others_leave():
    ids = [f"q{i}" for i in range(40)]
    chosen = validation_queries(set(ids), 0.25, seed=0)
    assert len(chosen) == 10
    assert chosen != validation_queries(set(ids), 0.25, seed=1)
    # Removing a chosen query changes one place only.
    fewer = validation_queries(set(ids) - {min(chosen)}, 0.25, seed=0)
    assert len(fewer & chosen) == 9


def test_unfit_settings_are_refused(folder):
    with pytest.raises(InputError, match=r"val_share in \[0, 1\), but found 1\.0\. Use"):
        TargetData(folder, val_share=1.0)
    with pytest.raises(InputError, match=r"of the catalog xyz, but found those of abc in"):
        TargetData(folder, expected_fingerprint="xyz").setup()


def test_a_single_query_cannot_be_held_out(tmp_path):
    batch = TargetBatch(
        torch.ones(2, 4), torch.ones(2, 3, 4), torch.ones(2, 3), {}, *[["a", "a"]] * 3
    )
    origin = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny", "dim": 4, "set_size": 3}
    write_targets(tmp_path, [batch], **origin)
    with pytest.raises(InputError, match=r"at least 2 queries, to hold out 1, but found 1 in"):
        TargetData(str(tmp_path), val_share=0.5).setup()


@pytest.fixture
def taught(tmp_path):
    """Sets 0 and 1 are references, 2 to 7 a language model's."""
    rows = torch.arange(8.0)[:, None, None].expand(-1, 3, 4)
    batch = TargetBatch(
        condition=rows[:, 0],
        rows=rows,
        items=torch.full((8, 3), -1),
        scores={},
        query_ids=[f"q{row}" for row in range(8)],
        queries=["a query"] * 8,
        texts=[[]] * 8,
        teachers=["references"] * 2 + ["folm"] * 6,
    )
    origin = {"fingerprint": "abc", "encoder": "lsa", "model": "tiny", "dim": 4, "set_size": 3}
    write_targets(tmp_path / "taught", [batch], shard_size=5, **origin)
    return str(tmp_path / "taught")


def test_sets_of_a_teacher_are_repeated_up_to_its_share(taught):
    data = TargetData(taught, batch_size=1, val_share=0.0, shares={"references": 0.6})
    data.setup()
    # 6 others are to be 0.4: 9 of references, so each of the two 4 or 5 times (4.5 rounds to 4).
    assert sorted(numbers(data.train_dataloader())) == [0] * 4 + [1] * 4 + [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("shares", [{"references": 0.0}, {"references": 0.5, "folm": 0.5}])
def test_shares_that_leave_nothing_to_others_are_refused(taught, shares):
    with pytest.raises(InputError, match="leave something to the other teachers"):
        TargetData(taught, shares=shares)


def test_a_share_below_what_a_teacher_has_is_refused(taught):
    data = TargetData(taught, val_share=0.0, shares={"folm": 0.5})
    with pytest.raises(InputError, match="share of folm above .* found 0.5 for 6 of 8 sets"):
        data.setup()


@pytest.mark.parametrize("shares", [{"mmr": 0.5}, {"references": 0.4, "folm": 0.5}])
def test_shares_of_teachers_that_sets_lack_are_refused(taught, shares):
    data = TargetData(taught, val_share=0.0, shares=shares)
    with pytest.raises(InputError, match="found 2 of references, 6 of folm"):
        data.setup()
