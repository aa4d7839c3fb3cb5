"""r4t.data.loader: the order of batches, and how a resumed epoch continues."""

import pytest

from r4t.data.loader import ResumableLoader


def loader(count=11, batch_size=3, **arguments):
    return ResumableLoader(list(range(count)), batch_size, seed=7, collate=list, **arguments)


def epoch(batches, number):
    batches.sampler.set_epoch(number)
    return list(batches)


def test_every_epoch_has_its_own_order_and_drops_an_incomplete_batch():
    first, second = epoch(loader(), 0), epoch(loader(), 1)
    assert [len(batch) for batch in first] == [3, 3, 3]
    assert len({example for batch in first for example in batch}) == 9
    assert first != second
    assert first == epoch(loader(), 0)


def test_too_few_examples_are_one_short_batch():
    assert sorted(epoch(loader(count=2), 0)[0]) == [0, 1]


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_resumed_epoch_continues_after_the_batches_that_are_done(done):
    whole, begun = epoch(loader(), 4), loader()
    begun.sampler.set_epoch(4)
    batches = iter(begun)
    assert [next(batches) for _ in range(done)] == whole[:done]
    resumed = loader()
    resumed.load_state_dict(begun.state_dict())
    # After a finished epoch, the next one starts at its beginning.
    assert epoch(resumed, 4) == (whole[done:] if done < 3 else whole)
    assert epoch(resumed, 5) == epoch(loader(), 5)


def test_ranks_share_the_batches_of_one_process():
    whole = epoch(loader(count=26, batch_size=6), 2)
    ranks = [epoch(loader(count=26, rank=rank, ranks=2), 2) for rank in range(2)]
    assert len(whole) == len(ranks[0]) == len(ranks[1]) == 4
    for batch, first, second in zip(whole, *ranks):
        assert sorted(batch) == sorted(first + second)


def test_an_epoch_may_be_set_after_the_iterator_is_made():
    late = loader()
    batches = iter(late)
    late.sampler.set_epoch(3)
    assert list(batches) == epoch(loader(), 3)
