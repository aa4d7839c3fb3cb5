"""The queries of a run as batches: what is skipped, and what is refused."""

from types import SimpleNamespace

import pytest

from r4t.data.queries import Query, write_queries
from r4t.errors import InputError
from r4t.training.query_data import QueryData


def test_queries_without_a_known_word_are_skipped_with_a_warning(small_run):
    queries = [Query("q0", "red linen", "set"), Query("q1", "qwerty", "set")]
    write_queries(small_run.queries, {"val": queries})
    message = r"Skipping 1 of 2 val queries, because the encoder knows none .*: \['qwerty'\]"
    with pytest.warns(UserWarning, match=message):
        (batch,) = QueryData(str(small_run.folder)).val_dataloader()
    assert batch == queries[:1]


def test_more_processes_than_queries_are_refused(small_run):
    write_queries(small_run.queries, {"train": [Query("q0", "red linen", "set")]})
    data = QueryData(str(small_run.folder))
    data.trainer = SimpleNamespace(global_rank=0, world_size=2)
    message = "a query for each of the 2 processes that synthesize, but found 1. Use fewer"
    with pytest.raises(InputError, match=message):
        data.predict_dataloader()


@pytest.mark.parametrize("name", ["batch_size", "val_queries", "synthesize_queries"])
def test_numbers_below_one_are_refused(small_run, name):
    with pytest.raises(InputError, match=f"{name} to be at least 1, but found 0"):
        QueryData(str(small_run.folder), **{name: 0})


def test_written_queries_are_synthesized_for_only_if_asked(small_run):
    written = [Query("w0", "red wool", "written"), Query("w1", "blue silk", "written")]
    write_queries(small_run.queries, {"written": written})
    training = small_run.read_queries("train")
    for asked, extra in ((False, []), (True, written)):
        data = QueryData(str(small_run.folder), batch_size=100, synthesize_queries=3, written=asked)
        (batch,) = data.predict_dataloader()
        assert batch == training[:3] + extra
        (trained,) = data.train_dataloader()
        assert {query.id for query in trained} == {query.id for query in training}
