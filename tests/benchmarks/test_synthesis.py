"""benchmarks.synthesis at two tiny sizes: every query once, and what the process reports."""

import json

from benchmarks import synthesis
from r4t.data.queries import Query, write_queries
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel


def test_new_queries_are_distinct_and_consist_of_known_words():
    queries = [
        Query(f"q{n}", text, "mood") for n, text in enumerate(["red linen", "blue wool", "hat"])
    ]
    more = synthesis.more_queries(queries, 7)
    assert [query.text for query in more[:3]] == ["red linen", "blue wool", "hat"]
    assert len({query.text for query in more}) == len({query.id for query in more}) == 7
    known = {word for query in queries for word in query.text.split()}
    assert {word for query in more for word in query.text.split()} <= known
    assert more == synthesis.more_queries(queries, 7)


def test_tiny(small_run, tmp_path):
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(["red linen"], None)
    form = Expand(set_size=2, words=1)
    FanoutModel(lm, tokenizer, form, 8).save(small_run.step("tune") / "model")
    queries = [Query(f"q{n}", text, "mood") for n, text in enumerate(["red linen", "blue wool"])]
    write_queries(small_run.queries, {"train": queries})
    out = tmp_path / "results.json"
    words = [str(small_run.folder), "--sizes", "2", "3", "--shard_size", "1", "--out", str(out)]
    synthesis.main(words)
    small, large = json.loads(out.read_text())["sizes"]
    assert (small["queries"], large["queries"]) == (2, 3)
    assert (small["samples"], large["samples"]) == (8, 12)
    assert small["peak MiB"] > 100
    assert large["sets/s"] > 0
