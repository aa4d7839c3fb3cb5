"""What the benchmarks measure on held-out queries during tuning."""

import json

import pytest

from benchmarks.held_out import FILE, HeldOut
from r4t.errors import InputError
from r4t.support.seeds import query_seed


def test_held_out_queries_are_measured_before_and_along_the_way(tiny):
    held_out = HeldOut(every=2, queries=5, pool_size=20)
    ends = tiny.Ends()
    module = tiny.tuner()
    tiny.fit(ends, held_out, rollouts=4, module=module)
    rows = json.loads((tiny.run.step("tune") / FILE).read_text())
    assert [row["rollout"] for row in rows] == [0, 2, 4]
    assert len(held_out.queries) == 5
    # The last row by hand: the weights are those that the fit ended with.
    searcher, queries = tiny.run.searcher(), held_out.queries
    texts = [query.text for query in queries]
    seeds = [query_seed(query.id, 0) for query in queries]
    written = module.fanout.sample(texts, seeds, 1, module.sampling.temperature).subqueries
    sets = searcher.retrieve_groups(queries, written, 3, 20)
    shares = []
    for row, query in enumerate(queries):
        wanted = set(searcher.catalog.rows(query.references))
        shares.append(len(wanted & set(sets.pool[row].tolist())) / len(wanted))
    assert rows[-1]["recall"] == pytest.approx(sum(shares) / len(shares), abs=1e-5)
    parsed = sum(bool(lists) for lists in written) / len(written)
    assert rows[-1]["parsed"] == pytest.approx(parsed, abs=1e-5)
    assert rows[-1]["letters"] == pytest.approx(float(tiny.Letters().score(sets).mean()), abs=1e-5)
    with pytest.raises(InputError, match="HeldOut to be at least 1, but found 0, 100 and 150"):
        HeldOut(every=0)
