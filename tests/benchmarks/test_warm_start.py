"""benchmarks.warm_start on the small run."""

import json
import math

import pytest
import torch

from benchmarks import warm_start


def test_both_ways_are_measured(small_run, tmp_path):
    out = tmp_path / "results.json"
    arguments = [str(small_run.folder), "--steps", "1", "3", "--seeds", "1", "--limit", "2"]
    warm_start.main([*arguments, "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [(row["steps"], row["way"]) for row in rows] == [
        (steps, way) for steps in (1, 3) for way in ("word vectors", "random")
    ]
    assert all(row["queries"] == 2 for row in rows)
    assert all(math.isfinite(row["nll"]) and math.isfinite(row["composite"]) for row in rows)


@torch.no_grad()
def test_the_held_out_loss_is_a_mean_over_tokens(small_run):
    module = warm_start.taught(small_run, 0.5, 1, 0)
    queries = small_run.read_queries("val")[:3]
    loss = warm_start.held_out_loss(module, queries)
    texts = [query.text for query in queries]
    vectors = module.searcher.encode_queries(texts)
    losses = []  # one query at a time: no padding
    for row, text in enumerate(texts):
        one = module.teacher.additions(
            module.searcher, queries[row : row + 1], vectors[row : row + 1], 10, seed=0
        )
        taught = module.fanout.teach([text], one)
        log_probs = module.fanout.log_probs(taught, temperature=1.0)
        losses += (-log_probs[taught.completion_mask.bool()]).tolist()
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)
